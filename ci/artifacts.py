"""Keep what a CI job leaves of a cell, and give the verdict on a matrix of such jobs.

Takes a cell that ran on this machine, or a directory with the files of many cells. Gives a directory with result.json
and the logs, or a verdict in which a cell without a result counts as failed. Never builds anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells import provenance, result
from ci import job
from ci.matrices import Matrix, MatrixCell
from core import store
from core.errors import UnderTest, printable

# Of one log. The end of a longer one is kept, because it has the reason of a failure.
_LIMIT_BYTES = 16 << 20
_FILES = ("console.log", "qemu.log", "build.log", provenance.STATEMENT, provenance.LIST)
_REASON_LETTERS = 200


def keep(identity: str, into: Path) -> list[Path]:
    """Copy a cell's result, the logs and provenance of its run, and the logs of its kernel and of what failed.

    Returns:
        The files, at least one: a cell without a result gets a file with that note.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        text = (job.place(identity) / result.FILE).read_text()
        stored = json.loads(text)
    except (OSError, ValueError):
        stored, text = {}, ""
    kept = []
    if isinstance(stored, dict) and text:
        folder = Path(str(stored.get("folder", "")))
        kernel = Path(str(stored.get("facts", {}).get("kernel", "")))
        shutil.copyfile(job.place(identity) / result.FILE, into / result.FILE)
        kept.append(into / result.FILE)
        kept += [
            _copy(folder_of_log / name, into / name)
            for folder_of_log in (folder, kernel)
            for name in _FILES
            if _is_ours(folder_of_log / name)
        ]
    else:
        note = into / "no-result.txt"
        store.write_text(note, f"{identity} has no result: read the log of the job\n")
        kept.append(note)
    # A kernel that did not compile is not in the store, but the store keeps the log of the failure.
    if not isinstance(stored, dict) or stored.get("status") != "passed":
        logs = sorted((store.home() / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        kept += [_copy(path, into / path.name) for path in logs[-3:]]
    return kept


def _is_ours(path: Path) -> bool:
    return path.is_absolute() and path.is_file() and path.resolve().is_relative_to(store.home().resolve())


def _copy(source: Path, target: Path) -> Path:
    with source.open("rb") as log, target.open("wb") as out:
        log.seek(max(0, source.stat().st_size - _LIMIT_BYTES))
        shutil.copyfileobj(log, out)
    return target


@dataclass(frozen=True)
class Verdict:
    """The verdict on a cell that ran elsewhere.

    Attributes:
        status: of its result; `never reported` without one.
        held, checks: number of checks that hold, and of all checks.
        reason: why it did not pass, one line.
    """

    cell: MatrixCell
    status: str
    held: int
    checks: int
    reason: str


def verdicts(matrix: Matrix, folder: Path) -> list[Verdict]:
    """Return a verdict for each cell of a matrix from `folder/ID/result.json`; trust nothing in these files."""
    return [_verdict(cell, folder / cell.id / result.FILE) for cell in matrix.cells]


def _verdict(cell: MatrixCell, file: Path) -> Verdict:
    try:
        stored: Mapping[str, Any] = json.loads(file.read_bytes())
        checks = [bool(check["ok"]) for check in stored["checks"]]
        status = str(stored["status"])
        reasons = [str(reason) for reason in stored["reasons"]]
        same = stored["facts"]["cell_id"] == cell.id
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Verdict(cell, "never reported", 0, 0, "it left no result")
    if not same:
        return Verdict(cell, "never reported", 0, 0, "what it left is the result of another cell")
    if status == "passed" and not (checks and all(checks)):
        return Verdict(cell, "failed", sum(checks), len(checks), "it says passed, and its checks do not hold")
    return Verdict(cell, status, sum(checks), len(checks), " ".join("; ".join(reasons).split())[:_REASON_LETTERS])


def markdown(matrix: Matrix, verdicts: list[Verdict]) -> str:
    """Return verdicts as a table in the markdown of GitHub and GitLab."""

    def safe(text: str) -> str:
        flat = printable(text).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
        return "".join(f"\\{letter}" if letter in "\\`*_[]|!#@" else letter for letter in flat)

    lines = [
        f"### {safe(matrix.name)}: {safe(matrix.about)}",
        "",
        "| cell | verdict | checks | why |",
        "|---|---|---|---|",
    ]
    for entry in verdicts:
        verdict = entry.status if entry.cell.required else f"{entry.status} (may fail)"
        lines.append(
            f"| {safe(entry.cell.id)} | {safe(verdict)} | {entry.held} of {entry.checks} | {safe(entry.reason)} |"
        )
    return "\n".join(lines) + "\n"


def require(verdicts: list[Verdict]) -> None:
    """Raise unless each required cell passed.

    Raises:
        UnderTest: a required cell did not pass.
    """
    bad = [verdict for verdict in verdicts if verdict.cell.required and verdict.status != "passed"]
    if bad:
        names = ", ".join(f"{verdict.cell.id} {verdict.status}" for verdict in bad)
        raise UnderTest(
            f"{len(bad)} of {len(verdicts)} cells did not pass: {names}", "read the logs that their jobs left"
        )
