"""Check whether two builds of a compiler have the same files.

Takes two products. Gives the entries that differ, each with a reason. An entry that cannot change the compiler's
output, such as a log, is listed but marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import store
from core.errors import UserError
from sources import archive
from sources.archive import Entry

# Logs of one run, with its container, times and paths.
_LOGS = ("build.log",)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Difference:
    """An entry that differs between two products.

    Attributes:
        matters: whether it can make the toolchains behave differently.
    """

    name: str
    reason: str
    matters: bool


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two products.

    Attributes:
        compared: number of entries of both products together.
    """

    compared: int
    differences: tuple[Difference, ...]


def find(word: str) -> Path:
    """Return the directory of a product, by its path or by the first digits of its key.

    Raises:
        UserError: no toolchain fits, or more than one.
    """
    if "/" in word and Path(word).is_dir():
        return Path(word)
    folders = [p.path for p in store.products() if p.kind == "toolchain" and word and p.key.startswith(word)]
    if len(folders) != 1:
        raise UserError(
            f"{len(folders)} toolchains have a key that begins with {word}", "see ./invoke toolchain.list --json"
        )
    return folders[0]


def compare(left: Path, right: Path) -> Comparison:
    """Compare all entries of two products except their metadata, which contains times."""
    ours, theirs = ({entry.name: entry for entry in archive.entries(root)} for root in (left, right))
    differences: list[Difference] = []
    for name in sorted(ours.keys() | theirs.keys()):
        entry, other = ours.get(name), theirs.get(name)
        if entry == other:
            continue
        log = name in _LOGS
        differences.append(
            Difference(name, "the log of one run" if log else _reason(entry, other, left, right), not log)
        )
    return Comparison(len(ours.keys() | theirs.keys()), tuple(differences))


def _reason(entry: Entry | None, other: Entry | None, left: Path, right: Path) -> str:
    if entry is None or other is None:
        return f"only in {left if other is None else right}"
    if entry.kind != other.kind:
        return f"is a {entry.kind} here, a {other.kind} there"
    if entry.kind == "link":
        return f"leads to {entry.goal} here, to {other.goal} there"
    folders = [root for root in (left, right) if _mentions(root / entry.name, str(store.home()), str(root.parent))]
    if folders:
        return f"contains the path of the build ({folders[0]})"
    at = _first_difference(left / entry.name, right / other.name)
    return f"{entry.size} bytes here, {other.size} there, first difference at byte {at}"


def _mentions(path: Path, *words: str) -> bool:
    content = path.read_bytes()
    return any(word.encode() in content for word in words)


def _first_difference(left: Path, right: Path) -> int:
    at = 0
    with left.open("rb") as file, right.open("rb") as other:
        while True:
            here, there = file.read(_CHUNK), other.read(_CHUNK)
            if here != there or not here:
                same = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
                return at + (min(len(here), len(there)) if same is None else same)
            at += len(here)
