"""Show that long work goes on: a bar with an ETA on a terminal, a plain line every 30 s elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from core.errors import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 30.0


def on_terminal() -> bool:
    """Check whether a person watches: stderr is a terminal, and CI is not set."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class Progress:
    """Shows the progress of one piece of work.

    Args:
        label: name of the work.
        total: number of steps, if known.
        unit: name of the steps.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "steps") -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self._started = time.monotonic()
        self._last = self._started
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if on_terminal():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn(
                    "{task.completed:.0f}/{task.total:.0f} " + self.unit if self.total else "{task.completed:.0f}"
                ),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, n: int = 1, note: str = "") -> None:
        """Add n finished steps."""
        self.at(self.done + n, self.total, note)

    def at(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set how many steps are finished."""
        self.done = done
        self.total = total if total is not None else self.total
        self.note = note = one_line(note)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self.total, note=note[-50:])
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            print(self.line(now), file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """Return the plain line for a moment of the monotonic clock, seconds."""
        spent = now - self._started
        of = f"/{self.total}" if self.total else ""
        left = ""
        if self.total and self.done:
            left = f", about {spent / self.done * max(self.total - self.done, 0):.0f} s left"
        return f"{self.label}: {self.done}{of} {self.unit} after {spent:.0f} s{left} {self.note}".rstrip()
