"""Series of patches by name: `series.yaml` as data.

What goes out is an ordered list of patch files with their hashes. Nothing here reads what is in a patch:
`patches.hostile` does that before anything is applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.data import Node, load_yaml
from core.errors import UserError, nearest
from core.store import hash_file

FOLDER = Path(__file__).parent
FILE = FOLDER / "series.yaml"


@dataclass(frozen=True)
class PatchFile:
    """One patch of a series.

    Attributes:
        name: its file name.
        sha256: of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Series:
    """An ordered set of patches with where it comes from.

    Attributes:
        source: URL, Message-ID or words.
        generation: of the callbacks that it takes, such as `L0`; None if it takes none.
        layout: of the records that it writes, such as `kit-1`; None if it writes none.
        bases: versions of Linux that it is made for.
    """

    name: str
    subject: str
    author: str
    source: str
    generation: str | None
    layout: str | None
    bases: tuple[str, ...]
    patches: tuple[PatchFile, ...]


def load_all(file: Path = FILE) -> dict[str, Series]:
    """All series.

    Raises:
        UserError: the file is malformed, or a patch is not the one that it pins.
    """
    root = load_yaml(file)
    root.only("series")
    return {name: _series(name, node, file.parent) for name, node in root.mapping("series").items()}


def load(name: str, file: Path = FILE) -> Series:
    """A series by name.

    Raises:
        UserError: there is none of that name, or its entry is malformed.
    """
    root = load_yaml(file)
    root.only("series")
    known = root.mapping("series")
    if name not in known:
        raise UserError(f"there is no series {name}{nearest(name, known)}")
    return _series(name, known[name], file.parent)


def _series(name: str, node: Node, folder: Path) -> Series:
    node.only("subject", "author", "source", "generation", "layout", "bases", "directory", "sha256")
    patches: tuple[PatchFile, ...] = ()
    if node.has("directory"):
        place = folder / node.string("directory")
        if not place.is_dir():
            raise node.get("directory").error(f"{place} is no directory")
        patches = read_directory(place)
    pins = node.mapping("sha256") if node.has("sha256") else {}
    _check_pins(patches, {file: pin.text() for file, pin in pins.items()}, node)
    return Series(
        name,
        node.string("subject"),
        node.string("author"),
        node.string("source"),
        _word_or_none(node, "generation"),
        _word_or_none(node, "layout"),
        tuple(node.strings("bases")),
        patches,
    )


def _word_or_none(node: Node, key: str) -> str | None:
    return None if node.get(key).value is None else node.string(key)


def read_directory(folder: Path) -> tuple[PatchFile, ...]:
    """The patches of a directory, in the order of their names."""
    paths = sorted(folder.glob("*.patch"))
    return tuple(PatchFile(path.name, path, hash_file(path)) for path in paths)


def _check_pins(patches: tuple[PatchFile, ...], pins: Mapping[str, str], node: Node) -> None:
    """Refuse patches that are not the pinned ones.

    Raises:
        UserError: a pinned patch is absent or differs.
    """
    there = {patch.name: patch for patch in patches}
    for file, pin in pins.items():
        if file not in there:
            raise node.get("sha256").error(f"there is no patch {file}{nearest(file, there)}")
        if there[file].sha256 != pin.lower():
            raise UserError(
                f"{there[file].path} is not the patch that series.yaml pins: sha256 {there[file].sha256}, pinned {pin}",
                "restore the file, or pin the new one",
            )
