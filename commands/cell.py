"""Tasks cell.*: one cell of the matrix."""

from __future__ import annotations

from typing import Any

from commands.tables import print_json
from commands.task import command


@command(
    positional=["id"],
    help={
        "id": "cell of ci/matrix.yaml; ci.plan prints the ids",
        "until": "last stage to do: tree, config or build; on a cluster each stage is a job",
        "again": "run the cell even if its result is up to date",
    },
)
def run(
    _c: Any,
    id: str,  # noqa: A002  (the word of the option)
    runtime: str = "auto",
    until: str = "",
    again: bool = False,
    no_install: bool = False,
    json: bool = False,
) -> None:
    """Build, boot and check a cell, unless its result is up to date. Example: ./invoke cell.run CELL"""
    from cells import result
    from ci import job, matrices
    from kernel.placement import place

    cell = matrices.find_cell(id)
    chosen, _names, _reason = place(cell.cell, runtime, install=not no_install)
    if until:
        job.until(cell, chosen, until)
        print(f"{id}: done until {until}")
        return
    outcome = job.do(cell, chosen, again=again)
    if json:
        print_json(outcome)
    else:
        held = sum(check["ok"] for check in outcome["checks"])
        print(f"{id}: {outcome['status']}, {held} of {len(outcome['checks'])} checks hold")
        print(job.place(id) / result.FILE)
    job.require(outcome)


@command(
    positional=["id", "into"],
    help={
        "id": "cell of ci/matrix.yaml; ci.plan prints the ids",
        "into": "directory to copy to; it is created if needed",
    },
)
def keep(_c: Any, id: str, into: str) -> None:  # noqa: A002  (the word of the option)
    """Copy the result and the logs of a cell, passed or not. Example: ./invoke cell.keep CELL kdf-cells/CELL"""
    from pathlib import Path

    from ci import artifacts, matrices

    for path in artifacts.keep(matrices.find_cell(id).id, Path(into)):
        print(path)


@command(
    positional=["result"],
    help={
        "result": "folder of a run that built a kernel, or a file in it",
    },
)
def reproduce(_c: Any, result: str, no_install: bool = False, json: bool = False) -> None:
    """Build the kernel of a run again without a cache, and compare the bytes. Example: ./invoke cell.reproduce RUN"""
    from pathlib import Path

    from cells import reproduction
    from cells.runs import new_folder
    from commands.tables import print_table

    recorded = reproduction.load(Path(result))
    made = reproduction.run(recorded, new_folder(f"reproduce-{recorded.cell.profile.name}"), install=not no_install)
    if json:
        print_json(made.as_json())
    else:
        rows = [
            {"file": file.name, "same": "yes" if file.same else "NO", "then": file.then[:16], "now": file.now[:16]}
            for file in made.compared
        ]
        print_table(rows, ("file", "same", "then", "now"))
        print(f"{made.objects} objects compiled without a cache in {made.directory}, {made.cpu_seconds:.0f} s of CPU")
        print(made.folder / reproduction.FILE)
    made.require()
