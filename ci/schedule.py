"""Run the cells of a matrix on this machine, several at a time.

Takes a plan. Gives the outcome of each cell, in `matrix.json` of the run's folder from the first moment. Each cell is a
process (`cell.run ID`) with its own log. The cells share one pool of job slots and a memory budget. A cell that fails
does not stop the others. No process outlives the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cells import result
from ci import job
from ci.matrices import MatrixCell
from ci.plans import Planned
from core import engine, process, store
from core.errors import InfraError, KitError, UnderTest, UserError
from core.runtime import Runtime, available_memory
from kernel import pool
from kernel.pool import Pool

FILE, PAGE = "matrix.json", "report.html"
_PAGE_RUNS = 60
_ROOT = Path(__file__).parent.parent
# How long cells may take to end after SIGTERM; their containers are removed in this time.
_GRACE_SECONDS = 20.0
_POLL_SECONDS = 0.2
_TICK_SECONDS = 1.0
# Never given to cells: memory for the engine, the desktop and the page cache of sources.
_MEMORY_KEPT_MB = 1000


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell.

    Attributes:
        status: `waiting`, `running`, `passed`, `failed`, `refused`, `lost`, or `up to date` followed by what it was.
        code: exit code of its process; None before it ended.
        reason: why it did not pass, one line.
        note: the last line of its log while it runs.
        seconds: wall time in this run.
    """

    cell: MatrixCell
    status: str
    code: int | None = None
    reason: str = ""
    note: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.status in ("passed", "up to date: passed")

    @property
    def left(self) -> bool:
        """Tell whether it has not ended yet."""
        return self.status in ("waiting", "running")

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON values, and as a row of a table."""
        return {
            "id": self.cell.id,
            "required": self.cell.required,
            "status": self.status,
            "code": self.code,
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
            "result": str(job.place(self.cell.id) / result.FILE),
        }


@dataclass(frozen=True)
class MatrixRun:
    """The outcome of a matrix.

    Attributes:
        idle: idle share of the processors' time while cells were left, 0 to 1; None if no cell ran.
        slots: number of job slots that the cells shared.
    """

    name: str
    folder: Path
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0
    idle: float | None = None
    slots: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "matrix": self.name,
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
            "idle": None if self.idle is None else round(self.idle, 3),
            "slots": self.slots,
            "cells": [outcome.as_row() for outcome in self.outcomes],
        }

    def save(self) -> MatrixRun:
        """Replace matrix.json and return the value itself."""
        store.write_json(self.folder / FILE, self.as_json())
        return self

    def require(self) -> None:
        """Raise unless each required cell passed.

        Raises:
            UnderTest: one failed.
            UserError: every cell that did not pass was refused, because its request is wrong.
            InfraError: no cell failed, but the machine lost one, or one did not end.
        """
        bad = [outcome for outcome in self.outcomes if outcome.cell.required and not outcome.good]
        if not bad:
            return
        names = ", ".join(outcome.cell.id for outcome in bad)
        failed = [outcome for outcome in bad if not outcome.left and outcome.code in (None, 1)]
        kind: type[KitError] = InfraError
        hint = "run the same command again: what was finished is kept"
        if failed:
            kind, hint = UnderTest, "read the logs in the same folder"
        elif all(outcome.status == result.REFUSED for outcome in bad):
            kind, hint = UserError, "correct these cells in the matrix: the file has the reason for each"
        raise kind(f"{len(bad)} of {len(self.outcomes)} cells did not pass: {names}", hint, self.folder / FILE)


@dataclass
class _Job:
    """A cell that is running."""

    process: subprocess.Popen[bytes]
    log: Path
    started: float
    close: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def run(
    name: str,
    planned: Sequence[Planned],
    runtime: Runtime,
    folder: Path,
    *,
    told: Callable[[MatrixRun], None] = lambda _run: None,
) -> MatrixRun:
    """Run the cells of a plan that are not up to date.

    Args:
        folder: of this run.
        told: gets the state of all cells when one of them changes, and about once a second.

    Returns:
        The outcome; `MatrixRun.require` turns it into an exit code.

    Raises:
        InfraError: the machine failed.
        KeyboardInterrupt: the user stopped it; matrix.json shows what is left.
    """
    slots = len(os.sched_getaffinity(0))
    outcomes = {
        one.cell.id: Outcome(one.cell, one.state.words if one.state.up_to_date else "waiting") for one in planned
    }
    found = MatrixRun(name, folder, tuple(outcomes.values()), slots=slots).save()
    # Start the longest cells first; the short ones fill the end.
    waiting = sorted(
        (one for one in planned if not one.state.up_to_date), key=lambda one: -(one.seconds or float("inf"))
    )
    began, before = time.monotonic(), _times()
    tick = began

    def state() -> MatrixRun:
        idle = _idle(before, _times()) if work else None
        return replace(found, outcomes=tuple(outcomes.values()), seconds=time.monotonic() - began, idle=idle)

    running: dict[str, _Job] = {}
    work = bool(waiting)
    budget = available_memory() // (1 << 20) - _MEMORY_KEPT_MB
    try:
        with _pool(folder, slots) as shared:
            while waiting or running:
                changed = _reap(running, outcomes)
                if not running and changed:
                    pool.refill(shared)
                while waiting and _fits(waiting[0].cell, running, outcomes, budget, slots, runtime):
                    one = waiting.pop(0)
                    running[one.cell.id] = _start(one.cell, runtime, folder, shared)
                    outcomes[one.cell.id] = replace(outcomes[one.cell.id], status="running")
                    changed = True
                if changed or time.monotonic() >= tick:
                    tick = time.monotonic() + _TICK_SECONDS
                    _look(running, outcomes)
                    told(state().save() if changed else state())
                time.sleep(_POLL_SECONDS)
    except BaseException:
        _stop(running)
        state().save()
        raise
    finally:
        if work and runtime.name == "docker":
            _sweep()
    done = state().save()
    told(done)
    return done


def report(done: MatrixRun) -> Path:
    """Write the page of a matrix run into its folder, and return the file.

    The page also has earlier runs of the same cells, so that a reader sees what is new.
    """
    from report import history, html

    cells = {json.dumps(asdict(outcome.cell.cell), sort_keys=True) for outcome in done.outcomes}
    earlier = history.load(history.home(), _PAGE_RUNS).runs
    same = [run for run in earlier if run.result and json.dumps(dict(run.result.cell), sort_keys=True) in cells]
    known = {run.folder for run in same}
    # A cell without a result, or whose run is older than the ones that were read.
    more = [run for run in history.of_matrix(done.folder) if not (run.result and run.result.folder in known)]
    file = done.folder / PAGE
    html.write(history.History([*more, *same]), file)
    return file


@contextlib.contextmanager
def _pool(folder: Path, slots: int) -> Iterator[Pool]:
    place = folder / "pool"
    place.mkdir()
    with pool.opened(place, slots) as shared:
        yield shared


def _fits(
    one: MatrixCell,
    running: Mapping[str, _Job],
    outcomes: Mapping[str, Outcome],
    budget: int,
    slots: int,
    runtime: Runtime,
) -> bool:
    """Tell whether a cell may start while others run; if none runs, it always may."""
    if not running:
        return True
    taken = sum(outcomes[identity].cell.time.memory_mb for identity in running)
    # The make of a host may not support the pool. Then each cell runs alone, on all cores.
    return runtime.name == "docker" and len(running) < slots and taken + one.time.memory_mb <= budget


def _start(cell: MatrixCell, runtime: Runtime, folder: Path, shared: Pool) -> _Job:
    close = contextlib.ExitStack()
    log = folder / f"{cell.id}.log"
    argv = [sys.executable, "-m", "commands.program", "cell.run", cell.id, "--runtime", runtime.name]
    started = close.enter_context(process.background(argv, log=log, cwd=_ROOT, env=shared.variables()))
    return _Job(started, log, time.monotonic(), close)


def _reap(running: dict[str, _Job], outcomes: dict[str, Outcome]) -> bool:
    """Collect cells that ended, and stop those whose time is over; tell whether there was one."""
    changed = False
    for identity, child in list(running.items()):
        one = outcomes[identity]
        spent = time.monotonic() - child.started
        late = spent > one.cell.time.minutes * 60
        if child.process.poll() is None and not late:
            continue
        if late:
            _ask_to_end([child])
        child.close.close()
        del running[identity]
        code = child.process.returncode
        outcomes[identity] = _ended(one, code, spent, child.log, late=late)
        changed = True
    return changed


def _ended(outcome: Outcome, code: int, spent: float, log: Path, *, late: bool) -> Outcome:
    """Return the outcome of a cell; it passed only if its exit code and its result agree."""
    stored = _result(outcome.cell.id)
    status = {0: "passed", 1: "failed", 2: result.REFUSED}.get(code, "lost")
    reasons = stored.get("reasons") or [last_line(log)]
    reason = "" if code == 0 else str(reasons[0]).splitlines()[0] if reasons else ""
    if late:
        status, reason = "lost", f"given up after {outcome.cell.time.minutes} minutes"
    elif code == 0 and stored.get("status") != "passed":
        status, reason = "lost", f"it ended with 0, and its result says {stored.get('status', 'nothing')}"
    return replace(outcome, status=status, code=code, reason=reason, note="", seconds=spent)


def _result(identity: str) -> Mapping[str, Any]:
    try:
        stored = json.loads((job.place(identity) / result.FILE).read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _look(running: Mapping[str, _Job], outcomes: dict[str, Outcome]) -> None:
    """Read the progress of the running cells."""
    for identity, child in running.items():
        spent = time.monotonic() - child.started
        outcomes[identity] = replace(outcomes[identity], note=last_line(child.log), seconds=spent)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty; empty without one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _ask_to_end(jobs: Sequence[_Job]) -> None:
    """Ask cells to end, and wait. SIGTERM does what Ctrl-C does, and also reaches a background process."""
    for child in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE_SECONDS
    for child in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, until - time.monotonic()))


def _stop(running: dict[str, _Job]) -> None:
    """End all running cells."""
    _ask_to_end(list(running.values()))
    for child in running.values():
        child.close.close()


def _sweep() -> None:
    """Remove containers of cells that were killed while the engine created them."""
    with contextlib.suppress(KitError):  # an engine that has gone has no containers
        client = engine.client()
        try:
            engine.sweep(client)
        finally:
            client.close()


def _times() -> tuple[int, int]:
    """Return the idle ticks and all ticks of all processors (proc(5), /proc/stat)."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3], sum(fields)


def _idle(before: tuple[int, int], after: tuple[int, int]) -> float | None:
    """Return the idle share between two readings; waiting for the disk is not idle."""
    spent = after[1] - before[1]
    return (after[0] - before[0]) / spent if spent else None
