"""The plan: what a matrix would do on this machine, and what it would cost.

What comes in is a matrix; what goes out is a row for each cell, with its key, what the store has of it, and the seconds
that it is expected to take. Nothing is made or fetched for it.
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
    """A cell and what is known of it.

    Attributes:
        seconds: that it is expected to take; None if nothing like it was ever done here.
    """

    cell: MatrixCell
    state: State
    seconds: float | None

    def as_row(self) -> dict[str, Any]:
        """As JSON values, and as a row of a table."""
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
    """What each cell of a matrix would do.

    Raises:
        UserError: a cell's request is wrong.
    """
    history = built.all_kernels()
    found = []
    for one in matrix.cells:
        state = job.look(one, runtime)
        found.append(Planned(one, state, 0.0 if state.up_to_date else _expected(one, state, history)))
    return found


def _expected(one: MatrixCell, state: State, history: Sequence[Kernel]) -> float | None:
    """Seconds from earlier builds: of this profile if there was one, else of this base; and its last boot."""
    stages = state.last.get("stages", {})
    after = sum(float(stages.get(name, 0.0)) for name in ("boot", "check")) if isinstance(stages, dict) else 0.0
    if state.kernel:
        return round(after, 1)
    mine, alike = [], []
    for kernel in history:
        cell = kernel.cell
        if (cell.get("base"), cell.get("arch")) == (one.cell.base, one.cell.arch):
            alike.append(kernel.make_seconds)
            if (cell.get("profile"), cell.get("toolchain")) == (one.cell.profile, one.cell.toolchain):
                mine.append(kernel.make_seconds)
    known = mine[-3:] or alike[-10:]
    # The longest of the last few: most of a build may come out of the compiler's cache, and may not the next time.
    return round(max(known) + after, 1) if known else None
