"""Declare the options that name a cell: the command line, the matrix and docs/commands.md are made from this table."""

from __future__ import annotations

from dataclasses import dataclass

from core.arch import ARCHES


@dataclass(frozen=True)
class Axis:
    """One option of a cell.

    Attributes:
        name: with underscores, as in JSON; the command line has dashes.
        help: one sentence for `--help`.
        default: value if the user gives none; an empty text if something else decides, which `help` names.
        repeats: whether the option may be given several times.
        matrix: whether a matrix has it as an axis; cell ids have these axes, in this order.
    """

    name: str
    help: str
    default: str | bool = ""
    repeats: bool = False
    matrix: bool = False


AXES = (
    Axis("toolchain", "toolchain of toolchain.list; llvm-23 if the store has it, else plugin-19", matrix=True),
    Axis("series", "patch series of patches.list, or none", "kit", matrix=True),
    Axis("profile", "profile of kconfig.list: none, dataflow, all, kasan-all, ...", matrix=True),
    Axis("base", "starting configuration: tiny, defconfig or path:FILE", "defconfig", matrix=True),
    Axis("arch", f"architecture: {' or '.join(ARCHES)}; the one of this machine if it is not given", matrix=True),
    Axis(
        "linux",
        "version in sources/sources.yaml, path:DIR or git:REPOSITORY@COMMIT; the file's default if it is not given",
        matrix=True,
    ),
    Axis("instrument", "objects and directories to instrument, with commas: fs/open.o,net/"),
    Axis("set", "one more SYMBOL=VALUE; may be given several times", repeats=True),
    Axis("fragment", "one more fragment file; may be given several times", repeats=True),
    Axis("runtime", "where to build: docker, host or auto", "auto"),
    Axis("no_install", "print the command that installs missing host packages; do not run it", default=False),
    Axis("no_guard", "build even if compiler and series use different callback generations", default=False),
    Axis("json", "print the result as JSON", default=False),
)

BY_NAME = {axis.name: axis for axis in AXES}
# The axes of a matrix, in the order in which the id of a cell has them.
MATRIX = tuple(axis.name for axis in AXES if axis.matrix)


def helps(*names: str) -> dict[str, str]:
    """Return name -> help of some options.

    Raises:
        KeyError: an option has no such name.
    """
    return {name: BY_NAME[name].help for name in names}
