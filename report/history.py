"""Read runs from disk for reports.

Takes a directory of runs; some may be killed, broken or from other machines. Gives one Run for each, oldest first.
Never leaves a run out: an unreadable result gives a Run with the problem. Checks the type of every value in a file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cells import schema
from cells.result import BOOT, REFUSED, STATUSES, Result
from core import store
from core.data import Node
from core.errors import UnderTest, UserError, nearest
from guest import console, ktap

RESULT, CONSOLE, MATRIX = "result.json", "console.log", "matrix.json"
# The status of a run whose result.json cannot be read; all others are cells.result.STATUSES.
UNREADABLE = "unreadable"
# The name of a run in a list of its own checks or tests.
WHOLE = "(the run)"
# Read at most so many bytes of a file: a guest that prints without end must not fill the memory.
_MOST = 64 << 20
# Directories of runs may contain directories of runs, such as the cells of a matrix.
_DEEPEST = 3
# The names of cells that ci.matrices makes; a path does not match.
_IDENTITY = re.compile(r"[\w+~@,=-][\w.+~@,=-]*")
_STAMP = re.compile(r"\d{8}-\d{6}-")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: the folder's present path; its result.json may have another one.
        status: one of cells.result.STATUSES, or UNREADABLE.
        problem: what is wrong with its result.json, or what the matrix reports for a cell without one; else empty.
        result: content of result.json; None if it does not exist or cannot be read.
    """

    folder: Path
    status: str
    problem: str = ""
    result: Result | None = None

    @property
    def name(self) -> str:
        """Return the folder's name."""
        return self.folder.name

    @property
    def label(self) -> str:
        """Return the folder's name without its time."""
        return _STAMP.sub("", self.name)

    @property
    def started(self) -> int:
        """Return the start, seconds since the epoch; 0 if it is not known."""
        return self.result.started if self.result else 0

    @property
    def reasons(self) -> Sequence[str]:
        """Return why the run did not pass."""
        return self.result.reasons if self.result else (self.problem,)

    def key(self) -> str:
        """Return what it is a run of: runs with one key repeat each other. If unreadable, return the folder's label."""
        if self.result is None:
            return self.label
        cell = self.result.cell
        words = [str(cell[name]) for name in ("profile", "base", "arch", "linux", "series", "toolchain")]
        for name in ("instrument", "fragments", "sets"):
            words += [f"{name}={','.join(map(str, cell[name]))}"] if cell.get(name) else []
        kind = ["test"] if self.tested() else ["boot"] if self.label.startswith(BOOT) else []
        return " ".join([*kind, *words])

    def tested(self) -> bool:
        """Check whether it is a run of test.run; the folder's name decides if it ended before the first suite."""
        return bool(self.result and self.result.suites) or self.label.startswith("test-")

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Return check or test -> status (guest.ktap.STATUSES) and reason. An unbuilt suite counts as lost."""
        outcomes: dict[str, tuple[str, str]] = {}
        if self.result is None:
            return outcomes
        suites = self.result.suites
        # If there are suites, the checks only summarize them.
        for check in () if suites else self.result.checks:
            why = "" if check.ok else f"asked {check.asked}, got {check.got}"
            _put(outcomes, check.name, ktap.PASSED if check.ok else ktap.FAILED, why)
        for suite in suites:
            if not suite.built:
                _put(outcomes, suite.name, ktap.LOST, f"did not build: {suite.reason}")
            for name, test in suite.leaves():
                _put(outcomes, name, test.status, test.reason)
        return outcomes

    def whole(self) -> tuple[str, str]:
        """Return status and reason of the run as if it were a test; a killed or unreadable run counts as lost.

        A refused run keeps its status, because no guest was booted.
        """
        status = self.status if self.status in (ktap.PASSED, ktap.FAILED, REFUSED) else ktap.LOST
        reason = "; ".join(self.reasons) or ("it still runs, or was killed" if self.status == "running" else "")
        return status, reason

    def console(self) -> bytes:
        """Return what the guest printed; empty if there is no console or it is larger than 64 MB."""
        try:
            return _bytes(self.folder / CONSOLE)
        except (OSError, ValueError):
            return b""

    def boot_ms(self) -> float | None:
        """Return the guest time of the line "Freeing unused kernel image (initmem)", ms; None if there is none."""
        try:
            _bytes(self.folder / CONSOLE, 0)
            return console.initmem_us(self.folder / CONSOLE) / 1000
        except (OSError, ValueError, UnderTest):
            return None


@dataclass(frozen=True)
class History:
    """The runs of a directory.

    Attributes:
        runs: oldest first.
        others: directories without a result.json, which other commands made.
        left: number of older runs that were not read.
    """

    runs: Sequence[Run]
    others: Sequence[str] = field(default=())
    left: int = 0


def _put(outcomes: dict[str, tuple[str, str]], name: str, status: str, reason: str) -> None:
    """Add an outcome; if the name is taken, add a number to it."""
    unique, count = name, 1
    while unique in outcomes:
        count += 1
        unique = f"{name} ({count})"
    outcomes[unique] = (status, reason)


def home() -> Path:
    """Return the directory of the runs."""
    return store.home() / "runs"


def load(root: Path, most: int | None = None) -> History:
    """Read the runs in a directory, at most three levels down.

    Args:
        most: read only so many of the newest runs; all of them if None.

    Raises:
        UserError: there is no such directory.
    """
    if not root.is_dir():
        raise UserError(f"there is no directory {root}")
    folders: list[Path] = []
    others: list[Path] = []
    for folder, is_run in _folders(root, 0):
        (folders if is_run else others).append(folder)
    # The names begin with the time, so the newest runs are known without reading all of them.
    folders.sort(key=lambda path: (path.name, str(path)))
    kept = folders if most is None else folders[max(0, len(folders) - most) :]
    return History([read(path) for path in kept], sorted(path.name for path in others), len(folders) - len(kept))


def named(words: str) -> list[Run]:
    """Read a run, the cells of a matrix's run, or all runs of a directory.

    Args:
        words: name of a run, or path of a run or of a directory of runs.

    Raises:
        UserError: there is no such run, or the matrix's list of cells cannot be read.
    """
    for folder in (Path(words), home() / words):
        if os.path.lexists(folder / RESULT):
            return [read(folder)]
        if os.path.lexists(folder / MATRIX):
            return of_matrix(folder)
        if folder.is_dir():
            runs = load(folder).runs
            if not runs:
                raise UserError(f"{folder} contains no runs", f"name a folder with a {RESULT}")
            return list(runs)
    known = sorted(path.name for path in home().iterdir()) if home().is_dir() else []
    raise UserError(f"there is no run and no directory {words}{nearest(words, known)}")


def of_matrix(folder: Path) -> list[Run]:
    """Read the cells of one run of a matrix, with their results unless a later run replaced them.

    Raises:
        UserError: its list of cells cannot be read.
    """
    path = folder / MATRIX
    try:
        cells = Node(json.loads(_bytes(path).decode("utf-8")), path).elements("cells", required=True)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from None
    return [_of_cell(cell) for cell in cells]


def _of_cell(node: Node) -> Run:
    """Read a cell of a matrix; if its result is missing or was replaced, use the status in the matrix's run."""
    identity, reported = node.string("id"), node.string("status").removeprefix("up to date: ")
    if not _IDENTITY.fullmatch(identity):
        raise node.get("id").error(f"{identity!r} is not a cell")
    run = read(store.home() / "cells" / identity)
    if run.result is not None and run.status == reported:
        return run
    status = reported if reported in STATUSES else "lost"
    reason = node.string("reason") or f"the matrix reports {reported}, but its result has {run.status}"
    return Run(run.folder, status, reason)


def _folders(root: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    """Yield the directories below, each with whether it is a run; skip those without runs and files."""
    if os.path.lexists(root / RESULT):
        yield root, True
        return
    inside: list[tuple[Path, bool]] = []
    entries = sorted(root.iterdir())
    if depth < _DEEPEST:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                inside += _folders(entry, depth + 1)
    if depth == 0 or any(is_run for _, is_run in inside):
        yield from inside
    elif entries:
        yield root, False


def read(folder: Path) -> Run:
    """Read one run; a fault of its result.json becomes its `problem`."""
    path = folder / RESULT
    try:
        value = json.loads(_bytes(path).decode("utf-8"))
        result = schema.parse(value, folder)
    except RecursionError:
        return Run(folder, UNREADABLE, f"{RESULT}: nested too deeply")
    except (OSError, ValueError, UserError) as error:
        text = error.message if isinstance(error, UserError) else f"{RESULT}: {getattr(error, 'strerror', '') or error}"
        return Run(folder, UNREADABLE, text)
    return Run(folder, result.status, "", result)


def _bytes(path: Path, most: int = _MOST) -> bytes:
    """Read a regular file; opening a pipe would wait for its writer.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or is too large.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > _MOST:
        raise ValueError(f"it has {status.st_size >> 20} MB; the limit is {_MOST >> 20} MB")
    with path.open("rb") as source:
        return source.read(most)
