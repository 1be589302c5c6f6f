"""Tasks dataflow.*: record a program, show and compare records."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command
from commands.tables import print_json, print_table
from commands.task import command


@command(
    positional=[],
    help={
        "run": "name or directory of a run; the latest one if it is not given",
        "workload": "capture to show: getpid, open-close, fork, overflow-big, exec, ...",
        "filter": "show only calls of this function and what they call",
        "json": "one JSON object per call",
    },
)
def show(_c: Any, run: str = "", workload: str = "", filter: str = "", json: bool = False) -> None:  # noqa: A002
    """Show the records of a run as a call tree. Example: ./invoke dataflow.show --workload open-close"""
    from json import dumps

    from cells import recording

    shown = recording.prepare(run, workload)
    from dataflow import listing

    if json:
        for call in listing.objects(shown, filter):
            print(dumps(call))
        return
    for line in listing.text(shown, filter):
        print(line)


@command(
    help={
        "one": "name or directory of a run",
        "other": "another run: of another compiler, series or kernel",
        "workload": "capture to compare: open-close, getpid, ...",
        "json": "print the result as JSON",
    },
    positional=["one", "other"],
)
def compare(_c: Any, one: str, other: str, workload: str = "open-close", json: bool = False) -> None:
    """Compare two runs function by function. Example: ./invoke dataflow.compare RUN-A RUN-B"""
    from cells import recording
    from dataflow import comparison

    both = comparison.compare(recording.prepare(one, workload), recording.prepare(other, workload))
    if json:
        print_json(both.as_json())
        return
    rows = [{"function": d.function, "one": d.calls[0], "other": d.calls[1], "why": d.reason} for d in both.differences]
    if rows:
        print_table(rows, ("function", "one", "other", "why"))
    print(
        f"{both.calls[0]} and {both.calls[1]} calls of {both.functions[0]} and {both.functions[1]} functions; "
        f"{both.common} are in both, {both.equal} of them equal in every call"
    )


@cell_command(
    boots=True,
    defaults={"profile": "all", "base": "tiny"},
    exec="static program to record, with its arguments",
    filter="show only calls of this function and what they call",
    words="size of the buffer in 8-byte words; a multiple of 512",
)
def capture(_c: Any, asked: Asked, exec: str = "", filter: str = "", words: int = 1 << 20) -> None:  # noqa: A002
    """Record a static program in the guest. Example: ./invoke dataflow.capture --exec ./prog --filter do_sys_openat2"""
    from cells import recording
    from dataflow import listing

    program, arguments = recording.program(exec)
    recorded = recording.record(asked.cell, asked.runtime, program, arguments, words=words, guard=asked.guard)
    if asked.json:
        print_json({"folder": str(recorded.folder), "calls": list(listing.objects(recorded.shown, filter))})
        return
    for line in listing.text(recorded.shown, filter):
        print(line)
    print(recorded.summary)
