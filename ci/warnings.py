"""New warnings: those that building a kernel gave and building its control, the same cell with profile `none`, did not.

Takes a matrix and what its jobs left (ci.artifacts): `folder/ID/build.log`. Gives the new warnings of each cell, and
the words that CI systems show at the line of a source. Logs are hostile: nothing of them is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ci.matrices import Matrix, MatrixCell
from core.errors import printable
from kconfig.annotate import Note

CONTROL = "none"
# GitHub shows ten warnings of a step (its documentation, "Workflow commands").
SHOWN = 10
# clang's diagnostics: FILE:LINE:COLUMN: warning: TEXT; objtool's and modpost's: FILE: warning: objtool: TEXT.
_CLANG = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: warning: (?P<text>.+)$")
_OTHER = re.compile(r"^(?P<file>[^\s:]+): warning: (?P<text>(?:objtool|modpost|.*section mismatch).*)$")
_TREE = re.compile(r"^(?:/kdf/tree/|(?:\.\./)+)")
_TEXT_LETTERS = 300


@dataclass(frozen=True)
class Found:
    """One warning of a compiler or of objtool.

    Attributes:
        file: below the kernel's source, or of the build directory.
        line: from 1; 0 if it has none.
    """

    file: str
    text: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def read(lines: Iterable[str]) -> Iterator[Found]:
    """The warnings of a build's log."""
    for raw in lines:
        said = printable(raw.rstrip())
        found = _CLANG.match(said) or _OTHER.match(said)
        if found:
            line = int(found["line"][:9]) if "line" in found.re.groupindex else 0
            yield Found(_TREE.sub("", found["file"]), found["text"][:_TEXT_LETTERS], line)


def _same(one: Found) -> Found:
    """What makes two warnings one: not the line, nor the size of a frame or an offset, which move with any change."""
    return replace(one, line=0, text=re.sub(r"0x[0-9a-f]+|\d+", "N", one.text))


def control_of(matrix: Matrix, one: MatrixCell) -> MatrixCell | None:
    """The cell that differs from another one in its profile alone, which is `none`; None without one."""
    wanted = replace(one.cell, profile=CONTROL, instrument=(), sets=())
    return next((other for other in matrix.cells if other.cell == wanted and other.id != one.id), None)


def fresh(matrix: Matrix, folder: Path) -> Mapping[str, list[Found]]:
    """The new warnings of each cell, by its id; without those whose log or whose control's log is not there."""
    logs: dict[str, dict[Found, Found]] = {}

    def known(one: MatrixCell) -> dict[Found, Found] | None:
        if one.id not in logs:
            try:
                with (folder / one.id / "build.log").open(errors="replace") as log:
                    logs[one.id] = {_same(found): found for found in read(log)}
            except OSError:
                return None
        return logs[one.id]

    found: dict[str, list[Found]] = {}
    for one in matrix.cells:
        control = control_of(matrix, one)
        mine, theirs = known(one), known(control) if control else None
        if mine is not None and theirs is not None:
            found[one.id] = sorted((mine[key] for key in mine.keys() - theirs.keys()), key=str)
    return found


def notes(found: Mapping[str, list[Found]]) -> list[Note]:
    """What CI systems are to show: each warning once, though several cells have it; the first SHOWN."""
    once = {one: cell for cell, warnings in reversed(list(found.items())) for one in warnings}
    told = [
        Note("new-warning", str(one), "new warning", f"{one} ({cell})", one.file, one.line, severe=False)
        for one, cell in once.items()
    ]
    return sorted(told, key=lambda note: note.key)[:SHOWN]


def markdown(found: Mapping[str, list[Found]]) -> str:
    """New warnings as a section of GitHub's and GitLab's markdown, empty if there are none."""
    told = {cell: warnings for cell, warnings in found.items() if warnings}
    if not told:
        return ""
    lines = ["", "#### New warnings, which the control does not have", ""]
    for cell, warnings in told.items():
        lines += [f"`{cell}`: {len(warnings)}", "", "```"]
        lines += [str(one).replace("`", "'") for one in warnings[:SHOWN]]
        lines += [f"and {len(warnings) - SHOWN} more"] if len(warnings) > SHOWN else []
        lines += ["```", ""]
    return "\n".join(lines)
