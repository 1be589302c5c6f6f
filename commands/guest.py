"""Tasks guest.*: boot kernels, work in them, debug them."""

from __future__ import annotations

from typing import Any

from commands.cells import MEMORY_HELP, SMP_HELP, Asked, cell_command
from commands.tables import print_json
from commands.task import command

_COMMAND_HELP = "commands to run instead of a terminal, separated by ;"


@cell_command(boots=True, smp=SMP_HELP, memory=MEMORY_HELP)
def boot(_c: Any, asked: Asked, smp: str = "", memory: str = "") -> None:
    """Build and boot a kernel; report whether it came up. Example: ./invoke guest.boot --profile none --base tiny"""
    from cells import runs

    result = runs.run(asked.cell, asked.runtime, guard=asked.guard, boots_only=True, smp=smp, memory=memory)
    if asked.json:
        print_json(result.as_json())
    else:
        print(result.as_text())
    result.require()


@cell_command(
    without=("no_guard", "json"),
    smp=SMP_HELP,
    memory=MEMORY_HELP,
    files="files of this machine that the guest gets in /root, with commas",
)
def shell(_c: Any, asked: Asked, smp: str = "", memory: str = "", files: str = "") -> None:
    """Boot a kernel and work in it, with busybox. Example: ./invoke guest.shell --profile all --base tiny"""
    from pathlib import Path

    from cells import inspection

    inspection.shell(asked.cell, asked.runtime, [Path(name) for name in files.split(",") if name], smp, memory)


@cell_command(without=("no_guard", "json"), smp=SMP_HELP, memory=MEMORY_HELP, command=_COMMAND_HELP)
def gdb(_c: Any, asked: Asked, smp: str = "", memory: str = "", command: str = "") -> None:
    """Boot a kernel that waits for gdb, and start gdb. Example: ./invoke guest.gdb --profile all --base tiny"""
    from invoke.exceptions import Exit

    from cells import inspection

    code = inspection.gdb(asked.cell, asked.runtime, _words(command), smp, memory, _show)
    if code:
        raise Exit(code=code)


@command(
    positional=["run"],
    help={"run": "folder of a run whose guest hung", "command": _COMMAND_HELP},
)
def crash(_c: Any, run: str, command: str = "", runtime: str = "auto") -> None:
    """Open the memory of a guest that hung in crash. Example: ./invoke guest.crash RUN --command ps"""
    from pathlib import Path

    from invoke.exceptions import Exit

    from cells import inspection
    from core.runtime import choose

    code = inspection.crash(Path(run), choose(runtime), _words(command), _show)
    if code:
        raise Exit(code=code)


def _words(commands: str) -> list[str]:
    return [word.strip() for word in commands.split(";") if word.strip()]


def _show(line: str) -> None:
    from core.errors import printable

    print(printable(line), flush=True)
