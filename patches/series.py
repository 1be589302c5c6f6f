"""Load series of patches by name: those that are shipped, and those that the user imported.

Takes the `series.yaml` files and gives ordered lists of patch files with their hashes. An imported series never hides a
shipped one. Never reads the content of a patch: `patches.hostile` does that before a patch is applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.data import Node, load_yaml
from core.errors import UserError, nearest
from core.store import hash_file, home

FOLDER = Path(__file__).parent
FILE = FOLDER / "series.yaml"
# Callback generations that compilers speak, and layouts of records (docs/architecture.md).
GENERATIONS = ("L0", "L1", "L2", "L3", "G1")
LAYOUTS = ("kit-1", "kit-2", "K1", "K2", "K3", "K4", "K5")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
    """An ordered set of patches, and where it comes from.

    Attributes:
        source: URL, Message-ID or other text.
        generation: of the callbacks that it takes, such as `L0`; None if it takes none.
        layout: of the records that it writes, such as `kit-1`; None if it writes none.
        bases: Linux versions that it is made for.
        fetch: Message-ID of a posting that is not shipped; empty for all others.
        message_id: of an imported series; empty if it has none.
        content: hash of all changes of its patches, whoever sent them; empty for shipped series.
        imported: whether the user imported it.
    """

    name: str
    subject: str
    author: str
    source: str
    generation: str | None
    layout: str | None
    bases: tuple[str, ...]
    patches: tuple[PatchFile, ...]
    fetch: str = ""
    message_id: str = ""
    content: str = ""
    imported: bool = False

    @property
    def here(self) -> str:
        """Return where it is: shipped, imported, or not here."""
        return "imported" if self.imported else "not here" if self.fetch else "shipped"


def imported_place(name: str) -> Path:
    """Return the directory of an imported series."""
    return home() / "series" / name


def load_all(file: Path = FILE) -> dict[str, Series]:
    """Return all series, those of `file` first; a series that is not here has no patches.

    Raises:
        UserError: a file is malformed, or a patch differs from its pin.
    """
    shipped, mine = _shipped(file), _imported()
    series = {name: _series(name, node, file.parent) for name, node in shipped.items()}
    for name in mine:
        series[name] = _own(name, series.get(name))
    return series


def load(name: str, file: Path = FILE) -> Series:
    """Return a series by name; `NAME@K` is its first K patches.

    Raises:
        UserError: it does not exist, its entry is malformed, or it has to be imported first.
    """
    whole, at, count = name.partition("@")
    if at:
        longer = load(whole, file)
        if not re.fullmatch(r"\d{1,4}", count):
            raise UserError(f"{name} is not a prefix: {whole} has {len(longer.patches)} patches")
        return prefix(longer, int(count))
    shipped, mine = _shipped(file), _imported()
    if name not in shipped and name not in mine:
        raise UserError(f"there is no series {name}{nearest(name, [*shipped, *mine])}", "see ./invoke patches.list")
    series = _series(name, shipped[name], file.parent) if name in shipped else None
    if name in mine:
        return _own(name, series)
    assert series is not None  # noqa: S101  (the name is in one of the two files)
    if series.fetch:
        raise UserError(
            f"the series {name} is not here: it is not shipped and must be fetched",
            f"./invoke patches.import {name} --from {series.fetch}, or --from a file that contains that thread",
        )
    return series


def prefix(series: Series, count: int) -> Series:
    """Return the first patches of a series, without a generation: the first patches may not use the callbacks yet.

    Raises:
        UserError: it has fewer patches.
    """
    whole = series.name.partition("@")[0]
    if count > len(series.patches):
        raise UserError(f"{whole}@{count} is not a prefix: {series.name} has {len(series.patches)} patches")
    return replace(series, name=f"{whole}@{count}", patches=series.patches[:count], generation=None)


def entry(name: str, file: Path = FILE) -> Series | None:
    """Return the entry of a series in the shipped file, even if its patches are not here."""
    node = _shipped(file).get(name)
    return None if node is None else _series(name, node, file.parent)


def _shipped(file: Path) -> dict[str, Node]:
    root = load_yaml(file)
    root.only("series")
    return root.mapping("series")


def _imported() -> list[str]:
    """Return the names of the imported series, without what a killed import left."""
    folder = home() / "series"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path.name for path in paths if NAME.fullmatch(path.name) and (path / FILE.name).is_file()]


def _own(name: str, shipped: Series | None) -> Series:
    """Load an imported series.

    Raises:
        UserError: its file is malformed, or a shipped series has the same name.
    """
    folder = imported_place(name)
    entries = _shipped(folder / FILE.name)
    if list(entries) != [name]:
        raise UserError(f"{folder / FILE.name}: expected exactly the series {name}")
    try:
        series = replace(_series(name, entries[name], folder), imported=True)
    except UserError as error:
        raise UserError(error.message, f"remove {folder} and import it again") from None
    if shipped is not None and (not shipped.fetch or shipped.fetch != series.message_id):
        raise UserError(
            f"{folder} has the name of the shipped series {name}, but is a different one",
            "rename or remove that directory",
        )
    return series


def _series(name: str, node: Node, folder: Path) -> Series:
    node.only(
        *("subject", "author", "source", "generation", "layout", "bases", "directory", "sha256", "fetch", "after"),
        *("message_id", "revision", "content", "trailers", "attestation"),
    )
    if node.has("fetch") and node.has("directory"):
        raise node.error("give either fetch or directory: a posting of others is never shipped")
    patches: tuple[PatchFile, ...] = ()
    if node.has("directory"):
        directory = folder / node.string("directory")
        if not directory.is_dir():
            raise node.get("directory").error(f"{directory} is not a directory")
        patches = read_directory(directory)
    own = patches
    if node.has("after"):
        patches = _before(node, folder / FILE.name) + own
    pins = node.mapping("sha256") if node.has("sha256") else {}
    _check_pins(own, {file: pin.text() for file, pin in pins.items()}, node)
    if pins and len(pins) != len(own):
        extra = next(patch.name for patch in own if patch.name not in pins)
        raise node.get("sha256").error(f"the patch {extra} has no hash")
    return Series(
        name,
        node.string("subject"),
        node.string("author"),
        node.string("source"),
        _known_or_none(node, "generation", GENERATIONS),
        _known_or_none(node, "layout", LAYOUTS),
        tuple(node.strings("bases")),
        patches,
        node.string("fetch", ""),
        node.string("message_id", ""),
        node.string("content", ""),
    )


def _before(node: Node, file: Path) -> tuple[PatchFile, ...]:
    """Return the patches of the series that an entry names with `after`."""
    known = _shipped(file)
    word = node.string("after")
    if word not in known or known[word].has("after") or not known[word].has("directory"):
        raise node.get("after").error(f"there is no series {word} with patches of its own{nearest(word, known)}")
    return _series(word, known[word], file.parent).patches


def _known_or_none(node: Node, key: str, known: tuple[str, ...]) -> str | None:
    if node.get(key).value is None:
        return None
    word = node.string(key)
    if word not in known:
        raise node.get(key).error(f"{word} is not known{nearest(word, known)}")
    return word


def read_directory(folder: Path) -> tuple[PatchFile, ...]:
    """Return the patches of a directory, in the order of their names."""
    paths = sorted(folder.glob("*.patch"))
    return tuple(PatchFile(path.name, path, hash_file(path)) for path in paths)


def _check_pins(patches: tuple[PatchFile, ...], pins: Mapping[str, str], node: Node) -> None:
    """Raise if a patch differs from its pin.

    Raises:
        UserError: a pinned patch is missing or differs.
    """
    by_name = {patch.name: patch for patch in patches}
    for file, pin in pins.items():
        if file not in by_name:
            raise node.get("sha256").error(f"there is no patch {file}{nearest(file, by_name)}")
        patch = by_name[file]
        if patch.sha256 != pin.lower():
            raise UserError(
                f"{patch.path} is not the patch that series.yaml pins: sha256 {patch.sha256}, pinned {pin}",
                "restore the file, or pin the new one",
            )
