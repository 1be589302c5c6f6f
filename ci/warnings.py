"""Find new warnings: those of a kernel's build that its control, the same cell with profile `none`, does not have.

Takes a matrix and the logs that its jobs left (`ci.artifacts`): `folder/ID/build.log`. Gives the new warnings of each
cell, and notes that CI systems show at a line of the source. Never trusts the text of a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ci.matrices import Matrix, MatrixCell
from core import diagnostics
from core.errors import printable
from kconfig.annotate import Note

CONTROL = "none"
# GitHub shows ten warnings of a step (its documentation, "Workflow commands").
SHOWN = 10
_TEXT_LETTERS = 300


@dataclass(frozen=True)
class Found:
    """One warning of a compiler, a linker, modpost or objtool.

    Attributes:
        file: path below the kernel's source or the build directory.
        line: from 1; 0 if it is unknown.
    """

    file: str
    text: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def read(lines: Iterable[str]) -> Iterator[Found]:
    """Return the warnings in a build log (core.diagnostics)."""
    for warning in diagnostics.read(lines).warnings:
        yield Found(printable(warning.file), printable(warning.text)[:_TEXT_LETTERS], warning.line)


def _same(warning: Found) -> Found:
    """Return a warning without its line and numbers, which move with any change, to compare it with others."""
    return replace(warning, line=0, text=re.sub(r"0x[0-9a-f]+|\d+", "N", warning.text))


def control_of(matrix: Matrix, cell: MatrixCell) -> MatrixCell | None:
    """Return the cell that differs only in its profile, which is `none`; None without one."""
    wanted = replace(cell.cell, profile=CONTROL, instrument=(), sets=())
    return next((other for other in matrix.cells if other.cell == wanted and other.id != cell.id), None)


def fresh(matrix: Matrix, folder: Path) -> Mapping[str, list[Found]]:
    """Return id -> new warnings; cells are left out if their log or their control's log is missing."""
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


def notes(fresh_warnings: Mapping[str, list[Found]]) -> list[Note]:
    """Return notes for CI systems: each warning once, even if several cells have it; at most SHOWN."""
    once = {warning: cell for cell, warnings in reversed(list(fresh_warnings.items())) for warning in warnings}
    shown = [
        Note(
            "new-warning", str(warning), "new warning", f"{warning} ({cell})", warning.file, warning.line, severe=False
        )
        for warning, cell in once.items()
    ]
    return sorted(shown, key=lambda note: note.key)[:SHOWN]


def markdown(fresh_warnings: Mapping[str, list[Found]]) -> str:
    """Return new warnings as a section in the markdown of GitHub and GitLab; empty if there are none."""
    shown = {cell: warnings for cell, warnings in fresh_warnings.items() if warnings}
    if not shown:
        return ""
    lines = ["", "#### New warnings, which the control does not have", ""]
    for cell, warnings in shown.items():
        lines += [f"`{cell}`: {len(warnings)}", "", "```"]
        lines += [str(warning).replace("`", "'") for warning in warnings[:SHOWN]]
        lines += [f"and {len(warnings) - SHOWN} more"] if len(warnings) > SHOWN else []
        lines += ["```", ""]
    return "\n".join(lines)
