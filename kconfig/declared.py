"""The symbols that a tree declares, read from its Kconfig files: to say that a name is unknown, and which was meant.

What comes in is an unpacked tree; what goes out are names. This is no parser of Kconfig and answers nothing but names:
values and dependencies are the business of the tree's own programs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from core.errors import nearest
from kconfig.survival import ABSENT, Lost

_DECLARATION = re.compile(rb"^[ \t]*(?:menu)?config[ \t]+([A-Za-z0-9_]+)[ \t]*(?:#.*)?$", re.MULTILINE)
# Documentation and tools of a kernel tree hold examples and Kconfig files of their own.
_OTHERS = frozenset({".git", "Documentation", "tools", "scripts"})


def names(tree: Path) -> frozenset[str]:
    """The names of all symbols that a tree declares, for any architecture."""
    found: set[bytes] = set()
    for folder, folders, files in os.walk(tree):
        if Path(folder) == tree:
            folders[:] = [name for name in folders if name not in _OTHERS]
        for name in files:
            if name.startswith("Kconfig"):
                found.update(_DECLARATION.findall((Path(folder) / name).read_bytes()))
    return frozenset(name.decode() for name in found)


def explain(lost: Iterable[Lost], tree: Path) -> list[Lost]:
    """Say of each lost symbol that the tree does not declare, that it does not, and which name is nearest.

    Args:
        tree: the patched source; it is only read if something was lost without a trace.
    """
    rows = list(lost)
    if all(one.got != ABSENT for one in rows):
        return rows
    known = names(tree)
    return [
        replace(one, note=f"this tree has no such symbol{nearest(one.symbol, known)}")
        if one.got == ABSENT and one.symbol not in known
        else one
        for one in rows
    ]
