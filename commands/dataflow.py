"""invoke dataflow.*: record a program of yours, show records."""

from __future__ import annotations

from typing import Any

from commands.common import announce, cell_help, make_cell, print_json
from core.program import command


@command(
    positional=[],
    help={
        "run": "a run's name or directory; the latest one by default",
        "workload": "which capture of the run: getpid, open-close, fork, overflow-big, exec, ...",
        "filter": "only the calls of this function, and what they call",
        "json": "one JSON object per call",
    },
)
def show(_c: Any, run: str = "", workload: str = "", filter: str = "", json: bool = False) -> None:  # noqa: A002
    """Show the records of a run as a call tree. Example: ./invoke dataflow.show --workload open-close"""
    from json import dumps

    from ci import captured

    shown = captured.prepare(run, workload)
    from dataflow import show as view

    if json:
        for one in view.objects(shown, filter):
            print(dumps(one))
        return
    for line in view.text(shown, filter):
        print(line)


@command(
    positional=[],
    help=cell_help(
        "no_install",
        "no_guard",
        "json",
        exec="your static program, and its arguments after spaces",
        filter="only the calls of this function, and what they call",
        words="size of the buffer in 8-byte words, a multiple of 512",
    ),
    iterable=["set", "fragment"],
)
def capture(
    _c: Any,
    exec: str = "",  # noqa: A002  (Invoke's flag name)
    filter: str = "",  # noqa: A002
    words: int = 1 << 20,
    profile: str = "all",
    base: str = "tiny",
    arch: str = "",
    linux: str = "7.1.8",
    series: str = "kit",
    toolchain: str = "",
    runtime: str = "auto",
    instrument: str = "",
    set: Any = None,  # noqa: A002
    fragment: Any = None,
    no_install: bool = False,
    no_guard: bool = False,
    json: bool = False,
) -> None:
    """Record a static program in the guest. Example: ./invoke dataflow.capture --exec ./prog --filter do_sys_openat2"""
    from ci import captured
    from core.runtime import choose
    from dataflow import show as view

    cell = make_cell(profile, base, arch, linux, series, toolchain, instrument, set, fragment)
    program, arguments = captured.program(exec)
    where = choose(runtime)
    announce(cell, where, json=json)
    recorded = captured.record(cell, where, program, arguments, words=words, install=not no_install, guard=not no_guard)
    if json:
        print_json({"folder": str(recorded.folder), "calls": list(view.objects(recorded.shown, filter))})
        return
    for line in view.text(recorded.shown, filter):
        print(line)
    print(recorded.summary)
