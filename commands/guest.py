"""invoke guest.*: boot kernels."""

from __future__ import annotations

from typing import Any

from commands.cells import MEMORY_HELP, SMP_HELP, Asked, cell_command
from commands.common import RUNTIME_HELP, print_json
from core.program import command

_COMMAND_HELP = "commands with ; between, instead of a terminal"


@cell_command(smp=SMP_HELP, memory=MEMORY_HELP)
def boot(_c: Any, asked: Asked, smp: str = "", memory: str = "") -> None:
    """Build a kernel, boot it, and say whether it came up. Example: ./invoke guest.boot --profile none --base tiny"""
    from ci import run as cells
    from guest import plan, qemu
    from kconfig import survival
    from kernel import build as kernels

    qemu.size_of(smp, memory)
    kernel = kernels.build(asked.cell, asked.where, install=asked.install, guard=asked.guard)
    folder = cells.new_folder(f"boot-{asked.cell.profile}-{asked.cell.base}-{asked.cell.arch}")
    size = qemu.size_of(smp, memory, survival.values((kernel.path / "config").read_text()))
    booted = cells.boot(asked.cell, kernel, asked.where, plan.draw([]), folder, install=asked.install, size=size)
    verdict, release = booted.verdict, booted.outcome.said.hello.get("release", "")
    if asked.json:
        print_json(
            {
                "status": str(verdict.status),
                "reasons": list(verdict.reasons),
                "release": release,
                "seconds": round(booted.outcome.ended.seconds, 2),
                "accelerator": booted.accelerator,
                "device": booted.outcome.said.device,
                "folder": str(folder),
            }
        )
    verdict.require(booted.outcome.console)
    if not asked.json:
        print(booted.accelerator)
        print(f"{verdict.status}: {release} in {booted.outcome.ended.seconds:.1f} s\n{booted.outcome.console}")


@cell_command(
    smp=SMP_HELP, memory=MEMORY_HELP, files="the user's files that the guest has in /root, with commas between"
)
def shell(_c: Any, asked: Asked, smp: str = "", memory: str = "", files: str = "") -> None:
    """Boot a kernel and work in it, with busybox. Example: ./invoke guest.shell --profile all --base tiny"""
    from pathlib import Path

    from ci import look

    look.shell(asked.cell, asked.where, [Path(one) for one in files.split(",") if one], smp, memory, asked.install)


@cell_command(smp=SMP_HELP, memory=MEMORY_HELP, command=_COMMAND_HELP)
def gdb(_c: Any, asked: Asked, smp: str = "", memory: str = "", command: str = "") -> None:
    """Boot a kernel that waits for gdb, and gdb. Example: ./invoke guest.gdb --profile all --base tiny"""
    from invoke.exceptions import Exit

    from ci import look

    code = look.gdb(asked.cell, asked.where, _words(command), smp, memory, asked.install, _show)
    if code:
        raise Exit(code=code)


@command(
    positional=["run"],
    help={"run": "the folder of a run whose guest hung", "command": _COMMAND_HELP, "runtime": RUNTIME_HELP},
)
def crash(_c: Any, run: str, command: str = "", runtime: str = "auto") -> None:
    """Look into the memory of a guest that hung, with crash. Example: ./invoke guest.crash RUN --command ps"""
    from pathlib import Path

    from invoke.exceptions import Exit

    from ci import look
    from core.runtime import choose

    code = look.crash(Path(run), choose(runtime), _words(command), _show)
    if code:
        raise Exit(code=code)


def _words(commands: str) -> list[str]:
    return [one.strip() for one in commands.split(";") if one.strip()]


def _show(line: str) -> None:
    from core.errors import printable

    print(printable(line), flush=True)
