"""Compare two sets of runs.

Takes the runs before and after; a side may have several runs of one cell. Gives a list of changes and whether anything
broke. A test that differs among repeated runs of one side is flaky, never fixed or broken. A time counts as changed
only beyond the spread of repeated runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cells.result import REFUSED
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, TODO
from report.history import UNREADABLE, WHOLE, Run

FIXED, BROKEN, FLAKY = "fixed", "broken", "flaky"
NEWLY_SKIPPED, NEVER_REPORTED = "newly skipped", "never reported"
ABSENT = "absent"
# With fewer runs on a side the spread of times is not known.
_ENOUGH = 3
# The order of a table: first what a person must look at.
ORDER = (BROKEN, NEVER_REPORTED, REFUSED, NEWLY_SKIPPED, FLAKY, FIXED)


@dataclass(frozen=True)
class Change:
    """One test, check or run whose status changed.

    Attributes:
        key: what the runs are runs of (`Run.key`).
        name: of the test or check, or WHOLE.
        kind: fixed, broken, flaky, newly skipped, never reported, refused.
        before, after: the statuses of the runs, in their order, each once.
        why: the last reason in the runs after.
        broke: whether the change counts as a regression.
    """

    key: str
    name: str
    kind: str
    before: Sequence[str]
    after: Sequence[str]
    why: str
    broke: bool


@dataclass(frozen=True)
class Metric:
    """One figure before and after.

    Attributes:
        unit: `bytes`, `s` or `ms`.
        before, after: the values of the runs that have the figure.
        changed: whether the two ranges do not overlap, and enough runs show their spread.
        note: why a change cannot be judged; empty if it can.
    """

    key: str
    name: str
    unit: str
    before: Sequence[float]
    after: Sequence[float]
    changed: bool
    note: str = ""

    @property
    def percent(self) -> float:
        """Return by how many percent the median grew."""
        first = statistics.median(self.before)
        return (statistics.median(self.after) / first - 1) * 100 if first else 0.0


@dataclass(frozen=True)
class Comparison:
    """All differences.

    Attributes:
        only_before, only_after: keys that only one side has runs of.
        unreadable: runs whose result cannot be read, with the reason.
        notes: what a reader must know to judge the comparison.
        compared: number of keys that both sides have.
    """

    changes: Sequence[Change]
    metrics: Sequence[Metric]
    only_before: Sequence[str]
    only_after: Sequence[str]
    unreadable: Sequence[str]
    notes: Sequence[str]
    compared: int

    @property
    def broke(self) -> bool:
        """Check whether a change is a regression."""
        return any(change.broke for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        metrics = [asdict(metric) | {"percent": round(metric.percent, 3)} for metric in self.metrics]
        return asdict(self) | {"metrics": metrics, "broke": self.broke}


def compare(
    before: Sequence[Run],
    after: Sequence[Run],
    sizes: Callable[[Run], Mapping[str, int]] = lambda _run: {},
) -> Comparison:
    """Compare some runs with earlier ones.

    Args:
        sizes: returns name -> bytes of a run's kernel; empty if they are not known.
    """
    labels: dict[str, set[str]] = {}
    for run in (*before, *after):
        if run.result is not None:
            labels.setdefault(run.label, set()).add(run.key())
    first, second = _grouped(before, labels), _grouped(after, labels)
    notes = []
    if len(before) == len(after) == 1 and set(first) != set(second):
        ((key, runs),), ((other, others),) = first.items(), second.items()
        notes.append(f"these are runs of different cells: {key}; {other}")
        first, second = {f"{key} -> {other}": runs}, {f"{key} -> {other}": others}
    common = [key for key in first if key in second]
    changes = [change for key in common for change in _changes(key, first[key], second[key])]
    metrics = [metric for key in common for metric in _metrics(key, first[key], second[key], sizes)]
    changes.sort(key=lambda change: (ORDER.index(change.kind), change.key, change.name))
    return Comparison(
        changes,
        metrics,
        [key for key in first if key not in second],
        [key for key in second if key not in first],
        [f"{run.folder}: {run.problem}" for run in (*before, *after) if run.status == UNREADABLE],
        notes,
        len(common),
    )


def _grouped(runs: Sequence[Run], labels: Mapping[str, set[str]]) -> dict[str, list[Run]]:
    """Group runs by key. A run that cannot be read joins the runs with the same folder label, if there are any.

    Args:
        labels: folder label -> keys of the runs with that label, on either side.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        known = labels.get(run.label, set())
        key = next(iter(known)) if run.result is None and len(known) == 1 else run.key()
        groups.setdefault(key, []).append(run)
    return groups


def _changes(key: str, before: Sequence[Run], after: Sequence[Run]) -> list[Change]:
    sides = [[{WHOLE: run.whole(), **run.outcomes()} for run in runs] for runs in (before, after)]
    if all(run.status == REFUSED for run in after):
        # No guest was booted, so no test and no check failed to report.
        sides = [[{WHOLE: outcomes[WHOLE]} for outcomes in side] for side in sides]
    names = dict.fromkeys(name for side in sides for outcomes in side for name in outcomes)
    changes = []
    for name in names:
        seen = [_seen(side, name) for side in sides]
        why = next((run[name][1] for run in reversed(sides[1]) if name in run and run[name][1]), "")
        if change := _judge(key, name, seen[0], seen[1], why):
            changes.append(change)
    return changes


def _seen(side: Sequence[Mapping[str, tuple[str, str]]], name: str) -> list[str]:
    return list(dict.fromkeys(outcomes[name][0] if name in outcomes else ABSENT for outcomes in side))


def _judge(key: str, name: str, before: Sequence[str], after: Sequence[str], why: str) -> Change | None:
    """Judge how one test changed; return None if it did not.

    A test that only some of the repeated runs have is not flaky for that reason: the others may not have asked for it.
    """
    settled = [
        [status for status in side if status not in (ABSENT, REFUSED)] or [REFUSED if REFUSED in side else ABSENT]
        for side in (before, after)
    ]
    if any(len(side) > 1 for side in settled):
        return Change(key, name, FLAKY, before, after, why, broke=False)
    (was,), (now,) = settled
    if was == now or (was in (ABSENT, REFUSED) and now in (PASSED, SKIPPED, TODO)):
        return None
    if now == REFUSED:
        # What held before was not checked again.
        return Change(key, name, REFUSED, before, after, why, broke=True)
    kind = _kind(ABSENT if was == REFUSED else was, now)
    lost = kind == NEVER_REPORTED and (was == PASSED or (now == LOST and was != FAILED))
    return Change(key, name, kind, before, after, why, broke=kind == BROKEN or lost) if kind else None


def _kind(was: str, now: str) -> str:
    """Return the kind of change between two statuses; empty if there is none."""
    if now == PASSED:
        return FIXED if was in (FAILED, LOST) else ""
    if now == FAILED:
        return BROKEN if was != LOST else ""
    if now in (LOST, ABSENT):
        return NEVER_REPORTED if was != LOST else ""
    return NEWLY_SKIPPED if was not in (SKIPPED, TODO) else ""


def _metrics(
    key: str, before: Sequence[Run], after: Sequence[Run], sizes: Callable[[Run], Mapping[str, int]]
) -> list[Metric]:
    metrics = []
    size = [[sizes(run) for run in side] for side in (before, after)]
    for name in dict.fromkeys(name for side in size for run in side for name in run):
        values = [[float(run[name]) for run in side if name in run] for side in size]
        if all(values):
            # The same inputs give the same bytes, so every difference is a change.
            metrics.append(Metric(key, name, "bytes", values[0], values[1], _apart(*values)))
    # The time of a build is left out: it depends on the caches.
    times = [[_times(run) for run in side] for side in (before, after)]
    for name in dict.fromkeys(name for side in times for run in side for name in run):
        values = [[run[name] for run in side if name in run] for side in times]
        if not all(values):
            continue
        few = min(map(len, values)) < _ENOUGH
        note = f"fewer than {_ENOUGH} runs on a side: the spread is not known" if few else ""
        unit = "ms" if name == "boot, guest" else "s"
        metrics.append(Metric(key, name, unit, values[0], values[1], not few and _apart(*values), note))
    return metrics


def _times(run: Run) -> dict[str, float]:
    """Return the times of a run that passed or failed; a run that hung would only show its time limit."""
    if run.result is None or run.status not in (PASSED, FAILED):
        return {}
    times = {name: value for name, value in run.result.stages.items() if name in ("boot", "guest")}
    boot = run.boot_ms()
    return times if boot is None else {**times, "boot, guest": boot}


def _apart(before: Sequence[float], after: Sequence[float]) -> bool:
    return max(before) < min(after) or max(after) < min(before)
