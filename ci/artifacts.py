"""Kept: what a job of a CI system leaves behind of a cell, and the verdict on a matrix of such jobs.

What comes in is a cell that was done on this machine, or a directory with the leavings of many; what goes out is a
directory with result.json and the logs, or a verdict in which a cell without a result counts as failed. Nothing is
built here.
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

# Of one log; the end of a longer one is kept, since that is where it says why.
_LIMIT_BYTES = 16 << 20
_FILES = ("console.log", "qemu.log", "build.log", provenance.STATEMENT, provenance.LIST)
_REASON_LETTERS = 200


def keep(identity: str, into: Path) -> list[Path]:
    """Copy a cell's result, the logs and provenance of its run, and the logs of its kernel and of what failed.

    Returns:
        The files. One is always there: a cell that never came to a result has one that says so.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        text = (job.place(identity) / result.FILE).read_text()
        told = json.loads(text)
    except (OSError, ValueError):
        told, text = {}, ""
    kept = []
    if isinstance(told, dict) and text:
        folder = Path(str(told.get("folder", "")))
        kernel = Path(str(told.get("facts", {}).get("kernel", "")))
        shutil.copyfile(job.place(identity) / result.FILE, into / result.FILE)
        kept.append(into / result.FILE)
        kept += [
            _copy(place / name, into / name) for place in (folder, kernel) for name in _FILES if _is_ours(place / name)
        ]
    else:
        note = into / "no-result.txt"
        store.write_text(note, f"{identity} has no result: read the log of the job\n")
        kept.append(note)
    # Of a kernel that did not compile there is no product; the store keeps the log of the failure.
    if not isinstance(told, dict) or told.get("status") != "passed":
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
    """What became of a cell elsewhere.

    Attributes:
        status: of its result; `never reported` without one.
        held, checks: how many checks hold, of how many.
        reason: why it did not pass, one line.
    """

    cell: MatrixCell
    status: str
    held: int
    checks: int
    reason: str


def verdicts(matrix: Matrix, folder: Path) -> list[Verdict]:
    """What became of each cell of a matrix, by `folder/ID/result.json`; what those say is not trusted."""
    return [_verdict(one, folder / one.id / result.FILE) for one in matrix.cells]


def _verdict(one: MatrixCell, file: Path) -> Verdict:
    try:
        told: Mapping[str, Any] = json.loads(file.read_bytes())
        checks = [bool(check["ok"]) for check in told["checks"]]
        status = str(told["status"])
        reasons = [str(reason) for reason in told["reasons"]]
        same = told["facts"]["cell_id"] == one.id
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Verdict(one, "never reported", 0, 0, "it left no result")
    if not same:
        return Verdict(one, "never reported", 0, 0, "what it left is the result of another cell")
    if status == "passed" and not (checks and all(checks)):
        return Verdict(one, "failed", sum(checks), len(checks), "it says passed, and its checks do not hold")
    return Verdict(one, status, sum(checks), len(checks), " ".join("; ".join(reasons).split())[:_REASON_LETTERS])


def markdown(matrix: Matrix, found: list[Verdict]) -> str:
    """Verdicts as a table of GitHub's and GitLab's markdown."""

    def safe(text: str) -> str:
        flat = printable(text).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
        return "".join(f"\\{letter}" if letter in "\\`*_[]|!#@" else letter for letter in flat)

    lines = [
        f"### {safe(matrix.name)}: {safe(matrix.about)}",
        "",
        "| cell | verdict | checks | why |",
        "|---|---|---|---|",
    ]
    for one in found:
        verdict = one.status if one.cell.required else f"{one.status} (may fail)"
        lines.append(f"| {safe(one.cell.id)} | {safe(verdict)} | {one.held} of {one.checks} | {safe(one.reason)} |")
    return "\n".join(lines) + "\n"


def require(found: list[Verdict]) -> None:
    """Raise unless each required cell passed.

    Raises:
        UnderTest: one did not.
    """
    bad = [one for one in found if one.cell.required and one.status != "passed"]
    if bad:
        told = ", ".join(f"{one.cell.id} {one.status}" for one in bad)
        raise UnderTest(f"{len(bad)} of {len(found)} cells did not pass: {told}", "read the logs that their jobs left")
