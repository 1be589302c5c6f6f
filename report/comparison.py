"""Compare: what changed between two sets of runs.

What comes in are runs before and after, each side perhaps several of one cell; what goes out is a list of changes and
whether anything broke. A test that differs among repeated runs of one side is flaky, never fixed and never broken; a
time is said to have changed only beyond the spread of repeated runs.
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
# So many runs on each side before a spread of times says anything.
_ENOUGH = 3
# The order of a table: what needs a person first.
ORDER = (BROKEN, NEVER_REPORTED, REFUSED, NEWLY_SKIPPED, FLAKY, FIXED)


@dataclass(frozen=True)
class Change:
    """One test, check or run that is not what it was.

    Attributes:
        key: what the runs are runs of.
        name: of the test or check, or WHOLE.
        kind: fixed, broken, flaky, newly skipped, never reported, refused.
        before, after: all statuses that were seen, in the order of the runs and each once.
        why: the reason that the last run gives.
        broke: whether it passed before, or was not there, and does not pass now.
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
        before, after: of each run that has it.
        changed: the two sides have nothing in common, and there are runs enough to know their spread.
        note: why nothing can be said; empty if something can.
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
        """How much the median grew."""
        first = statistics.median(self.before)
        return (statistics.median(self.after) / first - 1) * 100 if first else 0.0


@dataclass(frozen=True)
class Comparison:
    """All that differs.

    Attributes:
        only_before, only_after: what only one side has runs of.
        unreadable: runs whose result cannot be read, with why.
        notes: what a reader must know to judge it.
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
        """Whether something that was well is no longer."""
        return any(one.broke for one in self.changes)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        metrics = [asdict(one) | {"percent": round(one.percent, 3)} for one in self.metrics]
        return asdict(self) | {"metrics": metrics, "broke": self.broke}


def compare(
    before: Sequence[Run],
    after: Sequence[Run],
    sizes: Callable[[Run], Mapping[str, int]] = lambda _run: {},
) -> Comparison:
    """What changed from some runs to others.

    Args:
        sizes: bytes of a run's kernel by name; empty if they are not known.
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
    changes.sort(key=lambda one: (ORDER.index(one.kind), one.key, one.name))
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
    """Runs by what they are runs of. One that cannot be read joins the runs of its folder's label, if there are any.

    Args:
        labels: what the runs of a label are runs of, on either side.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        known = labels.get(run.label, set())
        key = next(iter(known)) if run.result is None and len(known) == 1 else run.key()
        found.setdefault(key, []).append(run)
    return found


def _changes(key: str, before: Sequence[Run], after: Sequence[Run]) -> list[Change]:
    sides = [[{WHOLE: run.whole(), **run.outcomes()} for run in runs] for runs in (before, after)]
    if all(run.status == REFUSED for run in after):
        # Nothing was asked of a guest, so its tests and checks did not fail to report.
        sides = [[{WHOLE: outcomes[WHOLE]} for outcomes in side] for side in sides]
    names = dict.fromkeys(name for side in sides for outcomes in side for name in outcomes)
    changes = []
    for name in names:
        seen = [_seen(side, name) for side in sides]
        why = next((one[name][1] for one in reversed(sides[1]) if name in one and one[name][1]), "")
        if change := _judge(key, name, seen[0], seen[1], why):
            changes.append(change)
    return changes


def _seen(side: Sequence[Mapping[str, tuple[str, str]]], name: str) -> list[str]:
    return list(dict.fromkeys(outcomes[name][0] if name in outcomes else ABSENT for outcomes in side))


def _judge(key: str, name: str, before: Sequence[str], after: Sequence[str], why: str) -> Change | None:
    """What became of one test; None if nothing did.

    A test that some of the repeated runs do not have is not flaky for that: they may have asked for less.
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
    """The name of a change between two statuses; empty if it is none."""
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
    made = []
    size = [[sizes(run) for run in side] for side in (before, after)]
    for name in dict.fromkeys(name for side in size for one in side for name in one):
        values = [[float(one[name]) for one in side if name in one] for side in size]
        if all(values):
            # The same inputs give the same bytes, so that any other number is a change.
            made.append(Metric(key, name, "bytes", values[0], values[1], _apart(*values)))
    # What a build takes says what was in the caches.
    times = [[_times(run) for run in side] for side in (before, after)]
    for name in dict.fromkeys(name for side in times for one in side for name in one):
        values = [[one[name] for one in side if name in one] for side in times]
        if not all(values):
            continue
        few = min(map(len, values)) < _ENOUGH
        note = f"fewer than {_ENOUGH} runs on a side: the spread is not known" if few else ""
        unit = "ms" if name == "boot, guest" else "s"
        made.append(Metric(key, name, unit, values[0], values[1], not few and _apart(*values), note))
    return made


def _times(run: Run) -> dict[str, float]:
    """Seconds and milliseconds of a run that went through: one that hung tells its time limit."""
    if run.result is None or run.status not in (PASSED, FAILED):
        return {}
    found = {name: value for name, value in run.result.stages.items() if name in ("boot", "guest")}
    boot = run.boot_ms()
    return found if boot is None else {**found, "boot, guest": boot}


def _apart(before: Sequence[float], after: Sequence[float]) -> bool:
    return max(before) < min(after) or max(after) < min(before)
