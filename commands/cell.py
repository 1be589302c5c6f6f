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
    from core.runtime import choose

    if until:
        job.until(matrices.find_cell(id), choose(runtime, install=not no_install), until)
        print(f"{id}: done until {until}")
        return
    found = job.do(matrices.find_cell(id), choose(runtime, install=not no_install), again=again)
    if json:
        print_json(found)
    else:
        held = sum(check["ok"] for check in found["checks"])
        print(f"{id}: {found['status']}, {held} of {len(found['checks'])} checks hold")
        print(job.place(id) / result.FILE)
    job.require(found)


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
    found = reproduction.run(recorded, new_folder(f"reproduce-{recorded.cell.profile.name}"), install=not no_install)
    if json:
        print_json(found.as_json())
    else:
        rows = [
            {"file": one.name, "same": "yes" if one.same else "NO", "then": one.then[:16], "now": one.now[:16]}
            for one in found.compared
        ]
        print_table(rows, ("file", "same", "then", "now"))
        print(
            f"{found.objects} objects compiled without a cache in {found.directory}, {found.cpu_seconds:.0f} s of CPU"
        )
        print(found.folder / reproduction.FILE)
    found.require()
