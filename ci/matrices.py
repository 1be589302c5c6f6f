"""Read the matrix: the cells that a project wants to build and boot.

Takes `matrix.yaml`. Gives its cells in the order of the file. Checks all names on load, so that a wrong one is found
before an hour of building. Never looks at the machine.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from core.arch import ARCHES
from core.data import Node, load_yaml
from core.errors import UserError, nearest
from kernel.axes import MATRIX as AXES
from kernel.cell import CellNames

FILE = Path(__file__).parent / "matrix.yaml"
# A project that uses this toolkit keeps its matrix among its own files.
VARIABLE = "KDF_MATRIX"
_OPTIONS = ("instrument", "sets", "time")


@dataclass(frozen=True)
class Time:
    """The limits of a class of cells.

    Attributes:
        minutes: time after which a cell is stopped.
        memory_mb: memory reserved for it while it runs, MB.
    """

    name: str
    minutes: Annotated[int, msgspec.Meta(ge=1)]
    memory_mb: Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True)
class MatrixCell:
    """One cell of a matrix.

    Attributes:
        id: the values of the axes as a file name; a hash of further options follows a `+`.
        required: whether its failure fails the matrix.
    """

    id: str
    cell: CellNames
    required: bool
    time: Time

    @property
    def command(self) -> list[str]:
        """Return the command that runs this cell alone."""
        return ["./invoke", "cell.run", self.id]


@dataclass(frozen=True)
class Matrix:
    """Cells that belong together."""

    name: str
    about: str
    cells: tuple[MatrixCell, ...]


def usual() -> Path:
    """Return the default file: that of `$KDF_MATRIX`, or the one in this directory."""
    named = os.environ.get(VARIABLE, "")
    return Path(named) if named else FILE


def load(file: Path | None = None) -> dict[str, Matrix]:
    """Return all matrices by name.

    Args:
        file: to read; `usual()` if None.

    Raises:
        UserError: the file is malformed, or a name in it is not known.
    """
    root = load_yaml(file or usual())
    root.only("defaults", "times", "matrices")
    root.get("defaults").only(*AXES, "time")
    times = {name: node.convert(Time, name=name) for name, node in root.mapping("times").items()}
    known = _known()
    found: dict[str, Matrix] = {}
    for name, node in root.mapping("matrices").items():
        node.only("about", "axes", "exclude", "include", "optional", "options")
        cells = tuple(_cells(node, root.get("defaults"), times, known))
        ids = [cell.id for cell in cells]
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice:
            raise node.error(f"the cell {twice} is there twice")
        if not cells:
            raise node.error("it has no cell")
        found[name] = Matrix(name, node.string("about"), cells)
    return found


def find(name: str, file: Path | None = None) -> Matrix:
    """Return a matrix by name.

    Raises:
        UserError: it does not exist, or the file is malformed.
    """
    matrices = load(file)
    if name not in matrices:
        raise UserError(f"there is no matrix {name}{nearest(name, matrices)}", f"see {file or usual()}")
    return matrices[name]


def find_cell(identity: str, file: Path | None = None) -> MatrixCell:
    """Return a cell of any matrix by its id.

    Raises:
        UserError: it does not exist, or the file is malformed.
    """
    cells = {cell.id: cell for matrix in load(file).values() for cell in matrix.cells}
    if identity not in cells:
        raise UserError(f"there is no cell {identity}{nearest(identity, cells)}", "see ./invoke ci.plan")
    return cells[identity]


def _known() -> dict[str, Iterable[str]]:
    """Return axis -> valid names."""
    from kconfig import profiles
    from patches import series
    from toolchain import specs

    bases, known_profiles = profiles.load()
    return {
        "toolchain": specs.load()[0],
        "series": series.load_all(),
        "profile": known_profiles,
        "base": bases,
        "arch": ARCHES,
    }


def _check(node: Node, axis: str, value: str, known: Mapping[str, Iterable[str]]) -> str:
    """Return a value of an axis after checking it.

    Raises:
        UserError: there is no such name.
    """
    if value.startswith(("path:", "git:")) and axis in ("base", "linux"):
        return value
    if axis == "linux":
        from sources import catalogue

        try:
            catalogue.find(value)
        except UserError as error:
            raise node.error(error.message) from error
        return value
    bare = value.partition("@")[0] if axis == "series" else value
    if bare not in known[axis]:
        raise node.error(f"there is no {axis} {value}{nearest(value, known[axis])}")
    return value


def _filters(node: Node, key: str, known: Mapping[str, Iterable[str]]) -> list[dict[str, str]]:
    """Return the entries of a list that select cells by the values of their axes."""
    return [_filter(entry, known) for entry in node.elements(key)]


def _filter(entry: Node, known: Mapping[str, Iterable[str]]) -> dict[str, str]:
    entry.only(*AXES)
    values = {axis: _check(entry.get(axis), axis, entry.string(axis), known) for axis in AXES if entry.has(axis)}
    if not values:
        raise entry.error(f"it names no axis ({', '.join(AXES)})")
    return values


def _matches(values: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(values[axis] == value for axis, value in wanted.items())


def _cells(
    node: Node, defaults: Node, times: Mapping[str, Time], known: Mapping[str, Iterable[str]]
) -> Iterable[MatrixCell]:
    """Return the cells of one matrix, in order."""
    usual = {
        axis: _check(defaults.get(axis), axis, defaults.string(axis), known) for axis in AXES if defaults.has(axis)
    }
    found: list[dict[str, str]] = []
    if node.has("axes"):
        axes = node.get("axes")
        axes.only(*AXES)
        for axis in AXES:
            if axis not in usual and not axes.has(axis):
                raise axes.error(f"the axis {axis} is missing, and it has no default")
        each = [
            [_check(axes.get(axis), axis, one, known) for one in axes.strings(axis)]
            if axes.has(axis)
            else [usual[axis]]
            for axis in AXES
        ]
        found = [dict(zip(AXES, words, strict=True)) for words in itertools.product(*each)]
    excluded = _filters(node, "exclude", known)
    for wanted, entry in zip(excluded, node.elements("exclude"), strict=True):
        if not any(_matches(values, wanted) for values in found):
            raise entry.error("it excludes no cell")
    found = [values for values in found if not any(_matches(values, wanted) for wanted in excluded)]
    for entry in node.elements("include"):
        whole = {**usual, **_filter(entry, known)}
        if missing := [axis for axis in AXES if axis not in whole]:
            raise entry.error(f"the axis {missing[0]} is missing, and it has no default")
        found.append(whole)
    optional = _filters(node, "optional", known)
    options = [(_filter(one.get("where"), known), one) for one in node.elements("options")]
    for values in found:
        more = [one for wanted, one in options if _matches(values, wanted)]
        yield _cell(values, more, defaults, times, required=not any(_matches(values, one) for one in optional))


def _cell(
    values: Mapping[str, str], options: Sequence[Node], defaults: Node, times: Mapping[str, Time], *, required: bool
) -> MatrixCell:
    """Return the cell of one combination, with what `options` add."""
    instrument: list[str] = []
    sets: list[str] = []
    time, node = defaults.string("time"), defaults
    for option in options:
        option.only("where", *_OPTIONS)
        instrument += option.strings("instrument") if option.has("instrument") else []
        sets += option.strings("sets") if option.has("sets") else []
        if option.has("time"):
            time, node = option.string("time"), option
    if time not in times:
        raise node.error(f"there is no class {time}{nearest(time, times)}")
    cell = CellNames(
        toolchain=values["toolchain"],
        series=values["series"],
        profile=values["profile"],
        base=values["base"],
        arch=values["arch"],
        linux=values["linux"],
        instrument=tuple(instrument),
        sets=tuple(sets),
    )
    return MatrixCell(_identity(values, cell), cell, required, times[time])


def _identity(values: Mapping[str, str], cell: CellNames) -> str:
    """Return the id of a cell; a cell with further options never has the id of one without."""
    from core.store import key_of

    name = "_".join(re.sub(r"[^A-Za-z0-9._-]+", "-", values[axis]).strip("-") for axis in AXES)
    if any(re.sub(r"[^A-Za-z0-9._-]+", "-", values[axis]) != values[axis] for axis in AXES):
        name += f"_{key_of(dict(values))[:6]}"
    if cell.instrument or cell.sets:
        name += f"+{key_of({'instrument': list(cell.instrument), 'sets': list(cell.sets)})[:6]}"
    return name
