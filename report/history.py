"""History: runs as they lie on disk, read for reports.

What comes in is a directory of runs, some of them killed, broken or from elsewhere; what goes out is one Run each,
oldest first. A result that cannot be read is a Run that says so: none is ever left out, and nothing in a file is
believed before its type was checked.
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
# The name of a run among its checks or tests, where it stands beside them.
WHOLE = "(the run)"
# What is read of one file at most, bytes: a guest that prints without end must not fill the memory.
_MOST = 64 << 20
# Directories of runs may hold directories of runs: a matrix has its cells there.
_DEEPEST = 3
# ci.matrices makes such names; a path is none.
_IDENTITY = re.compile(r"[\w+~@,=-][\w.+~@,=-]*")
_STAMP = re.compile(r"\d{8}-\d{6}-")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: where it lies now, whatever its result.json says.
        status: one of cells.result.STATUSES, or UNREADABLE.
        problem: what is wrong with its result.json, or what a matrix says of a cell without one; else empty.
        result: what result.json says; None if there is none, or it cannot be read.
    """

    folder: Path
    status: str
    problem: str = ""
    result: Result | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def label(self) -> str:
        """The folder's name without its time."""
        return _STAMP.sub("", self.name)

    @property
    def started(self) -> int:
        """Seconds since the epoch; 0 if it is not known."""
        return self.result.started if self.result else 0

    @property
    def reasons(self) -> Sequence[str]:
        """Why it has not passed."""
        return self.result.reasons if self.result else (self.problem,)

    def key(self) -> str:
        """What it is a run of: runs of one key repeat each other. The folder's label if result.json is unreadable."""
        if self.result is None:
            return self.label
        cell = self.result.cell
        words = [str(cell[name]) for name in ("profile", "base", "arch", "linux", "series", "toolchain")]
        for name in ("instrument", "fragments", "sets"):
            words += [f"{name}={','.join(map(str, cell[name]))}"] if cell.get(name) else []
        kind = ["test"] if self.tested() else ["boot"] if self.label.startswith(BOOT) else []
        return " ".join([*kind, *words])

    def tested(self) -> bool:
        """Whether it is one of test.run; by its folder's name if it ended before the first suite."""
        return bool(self.result and self.result.suites) or self.label.startswith("test-")

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Check or test -> its status (guest.ktap.STATUSES) and reason. A suite that did not build never reported."""
        found: dict[str, tuple[str, str]] = {}
        if self.result is None:
            return found
        suites = self.result.suites
        # With suites, checks only sum them up.
        for check in () if suites else self.result.checks:
            why = "" if check.ok else f"asked {check.asked}, got {check.got}"
            _put(found, check.name, ktap.PASSED if check.ok else ktap.FAILED, why)
        for suite in suites:
            if not suite.built:
                _put(found, suite.name, ktap.LOST, f"did not build: {suite.reason}")
            for name, test in suite.leaves():
                _put(found, name, test.status, test.reason)
        return found

    def whole(self) -> tuple[str, str]:
        """The run itself as if it were a test: one that was killed or cannot be read never reported.

        A refused run keeps its status, because no guest was asked to report.
        """
        status = self.status if self.status in (ktap.PASSED, ktap.FAILED, REFUSED) else ktap.LOST
        reason = "; ".join(self.reasons) or ("it still runs, or was killed" if self.status == "running" else "")
        return status, reason

    def console(self) -> bytes:
        """What the guest printed; empty if there is no console, 64 MB of it at most."""
        try:
            return _bytes(self.folder / CONSOLE)
        except (OSError, ValueError):
            return b""

    def boot_ms(self) -> float | None:
        """Guest time at the kernel's "Freeing unused kernel image (initmem)" line, ms; None if it never came."""
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
        others: directories without a result.json: other commands keep their own there.
        left: how many older runs were not read.
    """

    runs: Sequence[Run]
    others: Sequence[str] = field(default=())
    left: int = 0


def _put(found: dict[str, tuple[str, str]], name: str, status: str, reason: str) -> None:
    """Two tests of one name are told apart by their number."""
    unique, count = name, 1
    while unique in found:
        count += 1
        unique = f"{name} ({count})"
    found[unique] = (status, reason)


def home() -> Path:
    """Where runs are."""
    return store.home() / "runs"


def load(root: Path, most: int | None = None) -> History:
    """The runs in a directory, at most three levels down.

    Args:
        most: so many of the newest ones; all of them if None.

    Raises:
        UserError: there is no such directory.
    """
    if not root.is_dir():
        raise UserError(f"there is no directory {root}")
    found: list[Path] = []
    others: list[Path] = []
    for folder, holds in _folders(root, 0):
        (found if holds else others).append(folder)
    # Runs are named by their time, so that the newest can be known without reading all of them.
    found.sort(key=lambda path: (path.name, str(path)))
    kept = found if most is None else found[max(0, len(found) - most) :]
    return History([read(path) for path in kept], sorted(path.name for path in others), len(found) - len(kept))


def named(words: str) -> list[Run]:
    """A run, the cells of a matrix's run, or all runs of a directory.

    Args:
        words: the name of a run, or the path of one or of a directory of runs.

    Raises:
        UserError: there is none, or the list of a matrix's cells cannot be read.
    """
    for folder in (Path(words), home() / words):
        if os.path.lexists(folder / RESULT):
            return [read(folder)]
        if os.path.lexists(folder / MATRIX):
            return of_matrix(folder)
        if folder.is_dir():
            runs = load(folder).runs
            if not runs:
                raise UserError(f"{folder} holds no runs", f"a run has a {RESULT}")
            return list(runs)
    known = sorted(path.name for path in home().iterdir()) if home().is_dir() else []
    raise UserError(f"there is no run and no directory {words}{nearest(words, known)}")


def of_matrix(folder: Path) -> list[Run]:
    """The cells of one run of a matrix, with their results as long as no later run replaced them.

    Raises:
        UserError: its list of cells cannot be read.
    """
    path = folder / MATRIX
    try:
        cells = Node(json.loads(_bytes(path).decode("utf-8")), path).elements("cells", required=True)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from None
    return [_of_cell(one) for one in cells]


def _of_cell(node: Node) -> Run:
    """A cell that came to no result of its own, or whose result is another one by now, is told by what the run says."""
    identity, told = node.string("id"), node.string("status").removeprefix("up to date: ")
    if not _IDENTITY.fullmatch(identity):
        raise node.get("id").error(f"{identity!r} is no cell")
    found = read(store.home() / "cells" / identity)
    if found.result is not None and found.status == told:
        return found
    status = told if told in STATUSES else "lost"
    return Run(found.folder, status, node.string("reason") or f"it is {told}, and its result says {found.status}")


def _folders(root: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    """The directories below, each with whether it is a run; those that hold neither runs nor files are not told."""
    if os.path.lexists(root / RESULT):
        yield root, True
        return
    inside: list[tuple[Path, bool]] = []
    entries = sorted(root.iterdir())
    if depth < _DEEPEST:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                inside += _folders(entry, depth + 1)
    if depth == 0 or any(holds for _, holds in inside):
        yield from inside
    elif entries:
        yield root, False


def read(folder: Path) -> Run:
    """One run; whatever is wrong with its result.json is its `problem`."""
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
    """The content of a regular file; opening a pipe would wait for its writer.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or is larger than this reads.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no regular file")
    if found.st_size > _MOST:
        raise ValueError(f"it has {found.st_size >> 20} MB, and {_MOST >> 20} are read at most")
    with path.open("rb") as source:
        return source.read(most)
