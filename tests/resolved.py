"""Cells for tests: resolved from names, or made up where no such thing need exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kconfig.profiles import Base, Profile
from kernel.cell import Cell, CellNames
from patches.series import PatchFile, Series
from toolchain.specs import ToolchainSpec

_USUAL = {"toolchain": "t", "series": "s", "profile": "none", "base": "tiny", "arch": "x86_64", "linux": "7.1.8"}


def series_of(*patches: str, name: str = "s") -> Series:
    """A series whose patches have these names, with the name as their hash too."""
    files = tuple(PatchFile(patch, Path(patch), patch) for patch in patches)
    return Series(name, "", "", "", None, None, (), files)


def made_up(*patches: str, **names: Any) -> Cell:
    """A cell of things that do not exist: toolchain `t`, series `s` with some patches.

    Args:
        names: names of the cell that differ from the usual.
    """
    own = CellNames(**{**_USUAL, **names})
    return Cell(
        own,
        ToolchainSpec(own.toolchain, "", "stock", 19, "kernel"),
        series_of(*patches, name=own.series),
        Profile(own.profile, "", (), {}, "plain", ()),
        Base(own.base, "", "tinyconfig", ()),
    )
