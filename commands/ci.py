"""Tasks ci.*: plan, run and publish a matrix."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from commands.tables import print_json, print_table
from commands.task import command

if TYPE_CHECKING:
    from ci.schedule import MatrixRun, Outcome

_HELP = {
    "matrix": "matrix of ci/matrix.yaml",
    "since": "revision of this repository; run only cells whose inputs differ from it",
}
_COLUMNS = ("id", "required", "time", "state", "seconds", "command")


@command(help={"matrix": _HELP["matrix"]})
def plan(_c: Any, matrix: str = "tiny", runtime: str = "auto", json: bool = False) -> None:
    """List the cells of a matrix, their cost, and what the store has. Example: ./invoke ci.plan --matrix tiny"""
    from ci import matrices, plans
    from core.runtime import choose

    rows = [planned.as_row() for planned in plans.plan(matrices.find(matrix), choose(runtime))]
    if json:
        print_json({"matrix": matrix, "cells": rows})
        return
    print_table([{**row, "seconds": "?" if row["seconds"] is None else row["seconds"]} for row in rows], _COLUMNS)
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    more = f", and {len(rows) - len(known)} that were never done here" if len(known) < len(rows) else ""
    print(f"{len(rows)} cells, about {sum(known):.0f} s one after the other{more}")


@command(help=_HELP)
def run(_c: Any, matrix: str = "tiny", runtime: str = "auto", since: str = "", json: bool = False) -> None:
    """Run the cells of a matrix that are not up to date. Example: ./invoke ci.run --matrix tiny"""
    from cells import runs
    from ci import changes, matrices, plans, schedule
    from core.runtime import choose

    chosen = choose(runtime)
    planned = plans.plan(matrices.find(matrix), chosen)
    if since:
        planned, same = changes.changed(planned, matrix, since, chosen)
        for cell in same:
            print(f"{cell.cell.id}: the same as in {since}", file=sys.stderr)
    folder = runs.new_folder(f"matrix-{matrix}")
    finished = _watched(lambda show: schedule.run(matrix, planned, chosen, folder, told=show), json=json)
    page = schedule.report(finished)
    if json:
        print_json(finished.as_json())
    else:
        print_table([_row(cell) for cell in finished.outcomes], ("id", "required", "status", "seconds", "reason"))
        idle = "" if finished.idle is None else f", processors idle {100 * finished.idle:.0f}% of it"
        print(f"{finished.seconds:.0f} s{idle}, {finished.slots} job slots")
        print(page)
        print(finished.folder / schedule.FILE)
    finished.require()


def _of_matrix(position: str, **texts: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task about a matrix that takes one argument by position."""
    return command(short={"output": "o"}, positional=[position], help={**texts, "matrix": _HELP["matrix"]})


@_of_matrix(
    "system",
    system="github or gitlab",
    output="file to write; if it is not given, the file that the CI system reads",
    check="write nothing; fail if the file differs",
)
def generate(_c: Any, system: str, matrix: str = "tiny", output: str = "", check: bool = False) -> None:
    """Write the matrix as a pipeline of a CI system. Example: ./invoke ci.generate github"""
    from pathlib import Path

    from ci import matrices, pipeline
    from core import store

    chosen = matrices.find(matrix)
    text = pipeline.generate(system, chosen)
    file = Path(output) if output else pipeline.FILES[system]
    if check:
        pipeline.check(system, chosen, file)
        print(f"{file} is what ci/matrix.yaml says")
        return
    store.write_text(file, text)
    print(file)


@_of_matrix(
    "folder",
    folder="directory that cell.keep filled, with one directory per cell",
    output="file to append the table to",
)
def verdict(_c: Any, folder: str, matrix: str = "tiny", output: str = "") -> None:
    """Give the verdict on a matrix whose cells ran as separate jobs. Example: ./invoke ci.verdict kdf-cells"""
    from pathlib import Path

    from ci import artifacts, matrices, warnings
    from kconfig import annotate

    chosen = matrices.find(matrix)
    verdicts = artifacts.verdicts(chosen, Path(folder))
    new = warnings.fresh(chosen, Path(folder))
    annotate.tell(warnings.notes(new))
    text = artifacts.markdown(chosen, verdicts) + warnings.markdown(new)
    if output:
        with Path(output).open("a") as out:
            out.write(text)
    print(text, end="")
    artifacts.require(verdicts)


def _row(outcome: Outcome) -> dict[str, Any]:
    return {**outcome.as_row(), "required": "yes" if outcome.cell.required else "no"}


def _watched(work: Callable[[Callable[[MatrixRun], None]], MatrixRun], *, json: bool) -> MatrixRun:
    """Run `work` and show its progress: a live table on a terminal, else a line for each change.

    Args:
        work: runs the matrix; it gets a function to call with each new state.
    """
    from core.progress import on_terminal

    printed: dict[str, str] = {}

    def line(state: MatrixRun) -> None:
        for outcome in state.outcomes:
            if printed.get(outcome.cell.id) != outcome.status:
                printed[outcome.cell.id] = outcome.status
                why = f": {outcome.reason}" if outcome.reason else ""
                print(f"{outcome.cell.id}: {outcome.status}{why}", file=sys.stderr if json else sys.stdout, flush=True)

    if not on_terminal():
        return work(line)
    from rich.live import Live

    with Live(refresh_per_second=4, transient=True) as live:
        return work(lambda state: live.update(_table(state)))


def _table(state: MatrixRun) -> Any:
    """Return the state as a table for a terminal."""
    from rich.table import Table

    from core.errors import printable

    table = Table("cell", "status", "seconds", "what it says", title=f"matrix {state.name}")
    for outcome in state.outcomes:
        table.add_row(
            outcome.cell.id, outcome.status, f"{outcome.seconds:.0f}", printable(outcome.reason or outcome.note)[:80]
        )
    return table
