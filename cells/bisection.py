"""Find the patch or commit that breaks a cell, by bisection.

Takes a cell and a list of candidates; the first must be good and the last bad. Gives the first bad one. If the machine
fails, that candidate is skipped. Every verdict is saved, so that a call that was killed continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cells import prefixes, runs
from cells.prefixes import Row
from core import store
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Runtime
from kernel import kernels
from kernel.cell import Cell
from sources import checkout

GOOD, BAD, WRONG, SKIP = "good", "bad", "wrong", "skip"


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        first_bad: the first candidate that is bad.
        between: candidates right before it that could not be judged; each of them may be the first bad one.
        verdicts: candidate -> `good`, `bad`, `wrong` (it boots, but its records are wrong) or `skip`.
        reason: why the first bad one is bad.
        trouble: why the last one of `between` could not be judged; empty if `between` is empty.
        patch: file name of the patch that the first bad prefix ends with; empty for a commit.
    """

    first_bad: str
    between: tuple[str, ...]
    verdicts: Mapping[str, str]
    reason: str
    trouble: str = ""
    patch: str = ""

    def require(self) -> None:
        """Raise if the search did not end with one candidate.

        Raises:
            InfraError: some candidates could not be judged; the error names them.
        """
        if self.between:
            raise InfraError(
                f"the first bad one is {self.first_bad}, or one of {', '.join(self.between)}, "
                f"which could not be judged: {self.trouble}",
                "run the same command again: it tries only these",
            )


def search(
    candidates: Sequence[str],
    judge: Callable[[str], tuple[str, str]],
    state: Path,
    told: Callable[[str, str], None] = lambda _name, _verdict: None,
) -> Found:
    """Find the first bad candidate.

    Args:
        candidates: in order; at least two, each name once.
        judge: gives `good`, `bad`, `wrong` (it boots, but its records are wrong) or `skip`, and the reason. A wrong
            candidate counts as bad if the last one is wrong too, else as good.
        state: file with the verdicts so far. Skipped candidates are tried again. The file is removed once the search
            ends with one candidate.
        told: called with each new verdict.

    Raises:
        UserError: the first is not good, or the last is not bad.
        InfraError: the first or the last could not be judged.
    """
    known: dict[str, tuple[str, str]] = {}
    if state.is_file():
        saved = json.loads(state.read_text())
        known = {name: (v, why) for name, (v, why) in saved.items() if v != SKIP and name in candidates}

    def verdict(index: int) -> str:
        name = candidates[index]
        if name not in known:
            known[name] = judge(name)
            store.write_json(state, known)
            told(name, known[name][0])
        return known[name][0]

    def settled(index: int) -> str:
        status = verdict(index)
        if status != WRONG:
            return status
        # The records of early prefixes are wrong anyway; a search for a failed boot must not stop at them.
        return BAD if verdict(len(candidates) - 1) == WRONG else GOOD

    for index, expected in ((0, GOOD), (len(candidates) - 1, BAD)):
        status = settled(index)
        if status == SKIP:
            raise InfraError(f"{candidates[index]} could not be judged: {known[candidates[index]][1]}", "try again")
        if status != expected:
            raise UserError(f"{candidates[index]} is {status}, not {expected}", "choose other ends: --good, --bad")
    low, high = 0, len(candidates) - 1
    while True:
        middle = _middle([i for i in range(low + 1, high) if known.get(candidates[i], ("",))[0] != SKIP], low, high)
        if middle is None:
            break
        status = settled(middle)
        low, high = (middle, high) if status == GOOD else (low, middle) if status == BAD else (low, high)
    name, between = candidates[high], tuple(candidates[low + 1 : high])
    if not between:
        state.unlink(missing_ok=True)
    trouble = known[between[-1]][1] if between else ""
    return Found(name, between, {n: v for n, (v, _why) in known.items()}, known[name][1], trouble)


def _middle(open_: Sequence[int], low: int, high: int) -> int | None:
    """Return the index of the open candidate nearest to the middle; None if none is open."""
    return min(open_, key=lambda index: abs(2 * index - low - high), default=None)


def run(
    cell: Cell,
    runtime: Runtime,
    good: str,
    bad: str,
    *,
    repository: str = "",
    boot: bool = False,
    guard: bool = True,
    told: Callable[[str, str], None] = lambda _name, _verdict: None,
) -> Found:
    """Find the patch of a cell's series, or the commit of a repository, that breaks the cell.

    Args:
        good, bad: numbers of patches, or revisions of the repository.
        repository: a git repository of Linux; it and its work tree are only read.
        boot: boot each kernel too; one that does not boot, or whose records are wrong, counts as bad.

    Raises:
        UserError: a revision or number is unknown, or an end is not what the caller claims.
        InfraError: the machine failed at one of the ends.

    Returns:
        The result. `Found.require` raises if the search did not end with one candidate.
    """
    if not good or not bad:
        ends = "--good REV --bad REV" if repository else f"--good 0 --bad {len(cell.series.patches)}"
        raise UserError("--good and --bad must both be given", f"to search all of it: {ends}")
    names = checkout.git_between(repository, good, bad) if repository else _prefixes(cell, good, bad)
    first = cell.with_linux(f"git:{repository}@{names[0]}") if repository else prefixes.prefix(cell, int(good))
    folder = runs.new_folder(f"bisect-{cell.series.name}-{cell.label}")
    asked = {
        "cell": asdict(cell.names),
        "names": names,
        "boot": boot,
        "where": runtime.name,
        # Names are not enough: a series may be imported again and compilers change, and then old verdicts do not hold.
        "patches": [patch.sha256 for patch in cell.series.patches],
        "inputs": _inputs(first, runtime, guard=guard),
    }
    state = store.home() / "bisect" / f"{store.key_of(asked)[:24]}.json"

    def judge(name: str) -> tuple[str, str]:
        try:
            if repository:
                commit = cell.with_linux(f"git:{repository}@{name}")
                row = _commit(commit, name, runtime, folder, boot=boot, guard=guard)
            else:
                number = int(name.rpartition("@")[2])
                row = prefixes.judge(cell, number, runtime, folder, set(), boot=boot, reuse=True, guard=guard)
        except InfraError as error:
            return SKIP, str(error)
        if row.status != "passed":
            return BAD, row.reason
        return (WRONG, row.wrong) if row.wrong else (GOOD, "")

    with store.lock(f"bisect-{state.stem}"):
        result = search(names, judge, state, told)
    if not repository:
        patches = cell.series.patches
        result = replace(result, patch=patches[int(result.first_bad.rpartition("@")[2]) - 1].name)
    store.write_json(folder / "bisect.json", asdict(result))
    return result


def _commit(cell: Cell, name: str, runtime: Runtime, folder: Path, *, boot: bool, guard: bool) -> Row:
    """Build the cell at a commit, and boot it if `boot` is set."""
    try:
        kernel = kernels.build(cell, runtime, guard=guard)
    except UnderTest as error:
        return Row(0, name, "failed", reason=str(error))
    row = Row(0, name, "passed")
    return prefixes.boot_row(cell, kernel, runtime, row, folder / name[:12]) if boot else row


def _inputs(first: Cell, runtime: Runtime, *, guard: bool) -> dict[str, Any]:
    """Return the inputs of the good end's kernel; empty if it cannot be prepared, which its verdict will report."""
    try:
        return dict(kernels.prepare(first, runtime, guard=guard).inputs)
    except UnderTest:
        return {}


def _prefixes(cell: Cell, good: str, bad: str) -> list[str]:
    """Return the prefixes from good to bad, as `NAME@K`."""
    count = len(cell.series.patches)
    for word in (good, bad):
        if not word.isdigit() or int(word) > count:
            raise UserError(
                f"{word} is not a prefix of {cell.series.name}: it has {count} patches", "use --good 0 --bad N"
            )
    if int(good) >= int(bad):
        raise UserError(f"--good {good} does not come before --bad {bad}")
    whole = cell.series.name.partition("@")[0]
    return [f"{whole}@{number}" for number in range(int(good), int(bad) + 1)]
