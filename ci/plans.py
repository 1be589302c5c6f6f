"""Plan a matrix: what each cell would do on this machine, and what it would cost.

Takes a matrix. Gives one row per cell with its key, what the store has of it, and the expected seconds. Never makes or
fetches anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ci import job
from ci.job import State
from ci.matrices import Matrix, MatrixCell
from core.runtime import Runtime
from kernel import built
from kernel.built import Kernel


@dataclass(frozen=True)
class Planned:
    """A cell and what is known about it.

    Attributes:
        seconds: expected time; None if nothing similar was done here before.
    """

    cell: MatrixCell
    state: State
    seconds: float | None

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON values, and as a row of a table."""
        return {
            "id": self.cell.id,
            "required": self.cell.required,
            "time": self.cell.time.name,
            "state": self.state.words,
            "seconds": self.seconds,
            "key": self.state.key,
            "command": " ".join(self.cell.command),
        }


def plan(matrix: Matrix, runtime: Runtime) -> list[Planned]:
    """Return what each cell of a matrix would do.

    Raises:
        UserError: a cell's request is wrong.
    """
    history = built.all_kernels()
    planned = []
    for cell in matrix.cells:
        state = job.look(cell, runtime)
        planned.append(Planned(cell, state, 0.0 if state.up_to_date else _expected(cell, state, history)))
    return planned


def _expected(matrix_cell: MatrixCell, state: State, history: Sequence[Kernel]) -> float | None:
    """Estimate the seconds from earlier builds of this profile, else of this base, and from its last boot."""
    stages = state.last.get("stages", {})
    after = sum(float(stages.get(name, 0.0)) for name in ("boot", "check")) if isinstance(stages, dict) else 0.0
    if state.kernel:
        return round(after, 1)
    mine, alike = [], []
    for kernel in history:
        cell = kernel.cell
        if (cell.get("base"), cell.get("arch")) == (matrix_cell.cell.base, matrix_cell.cell.arch):
            alike.append(kernel.make_seconds)
            if (cell.get("profile"), cell.get("toolchain")) == (matrix_cell.cell.profile, matrix_cell.cell.toolchain):
                mine.append(kernel.make_seconds)
    known = mine[-3:] or alike[-10:]
    # Take the longest of the last few: a build may have come mostly from the compiler cache.
    return round(max(known) + after, 1) if known else None
