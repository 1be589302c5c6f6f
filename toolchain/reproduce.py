"""Reproduce: are two builds of one compiler the same files?

What comes in are two products; what goes out are the names of what differs, each with its reason. A difference
that changes no output of the compiler (a log) is named as well, but is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import store
from core.errors import UserError
from sources import archive
from sources.archive import Entry

# Written for people, about one run: container, times, paths.
_LOGS = ("build.log",)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Difference:
    """An entry that two products do not share.

    Attributes:
        matters: whether the toolchains could do different things because of it.
    """

    name: str
    reason: str
    matters: bool


@dataclass(frozen=True)
class Comparison:
    """What became of comparing two products.

    Attributes:
        compared: entries of either.
    """

    compared: int
    differences: tuple[Difference, ...]


def find(word: str) -> Path:
    """The directory of a product, by its path or by the first digits of its key.

    Raises:
        UserError: there is none, or more than one.
    """
    if "/" in word and Path(word).is_dir():
        return Path(word)
    there = [p.path for p in store.products() if p.kind == "toolchain" and word and p.key.startswith(word)]
    if len(there) != 1:
        raise UserError(
            f"{len(there)} toolchains have a key that begins with {word}", "see ./invoke toolchain.list --json"
        )
    return there[0]


def compare(left: Path, right: Path) -> Comparison:
    """Compare all entries of two products, their metadata left out: that says when and how long."""
    ours, theirs = ({entry.name: entry for entry in archive.entries(root)} for root in (left, right))
    found: list[Difference] = []
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if one == other:
            continue
        log = name in _LOGS
        found.append(Difference(name, "the log of one run" if log else _reason(one, other, left, right), not log))
    return Comparison(len(ours.keys() | theirs.keys()), tuple(found))


def _reason(one: Entry | None, other: Entry | None, left: Path, right: Path) -> str:
    if one is None or other is None:
        return f"only in {left if other is None else right}"
    if one.kind != other.kind:
        return f"is a {one.kind} here, a {other.kind} there"
    if one.kind == "link":
        return f"leads to {one.goal} here, to {other.goal} there"
    places = [root for root in (left, right) if _mentions(root / one.name, str(store.home()), str(root.parent))]
    if places:
        return f"the path of the build is in it ({places[0]})"
    at = _first_difference(left / one.name, right / other.name)
    return f"{one.size} bytes here, {other.size} there, first difference at byte {at}"


def _mentions(path: Path, *words: str) -> bool:
    content = path.read_bytes()
    return any(word.encode() in content for word in words)


def _first_difference(left: Path, right: Path) -> int:
    at = 0
    with left.open("rb") as one, right.open("rb") as other:
        while True:
            here, there = one.read(_CHUNK), other.read(_CHUNK)
            if here != there or not here:
                same = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
                return at + (min(len(here), len(there)) if same is None else same)
            at += len(here)
