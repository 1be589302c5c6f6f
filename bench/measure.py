"""Measure a kernel: its boot, its loops and its gates.

Takes a built cell. Gives counts of guest instructions, which repeat to the digit, or wall times, which do not. Never
compares anything. Loops are timed inside the guest (guest/agent/loops.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cells import runs
from cells.runs import Booted
from core import outside
from core.errors import UnderTest
from core.runtime import Runtime
from guest import console, plan, qemu
from guest.channel import Ran
from kernel.built import Kernel
from kernel.cell import Cell

if TYPE_CHECKING:
    from dataflow.coverage import Coverage

_RECORDED = ("getpid", "open-close")
# The buffer of the RFC's figures: 64K words.
WORDS = 1 << 16
# The same draws in each run, because other pids and paths take other instructions.
_SEED = "measure"


@dataclass(frozen=True)
class Loop:
    """One loop of system calls.

    Attributes:
        rounds: number of rounds.
        instructions: of the guest for all rounds; 0 if they were not counted.
        ns: wall time of the guest for all rounds.
        words: recorded in all rounds, without those that did not fit.
        dropped: number of records that did not fit.
    """

    rounds: int
    instructions: float
    ns: int
    words: int = 0
    dropped: int = 0

    @property
    def each(self) -> float:
        """Return the instructions for one round."""
        return self.instructions / self.rounds


@dataclass(frozen=True)
class Recorded:
    """One workload recorded into a buffer of 64K words: numbers of whole records, words and dropped records."""

    records: int
    words: int
    dropped: int


@dataclass(frozen=True)
class Gates:
    """The cost of making a kernel record, in instructions (0 if not counted) and in ns of the guest.

    Attributes:
        first: ENABLE while no task records; it opens the gates.
        second: ENABLE just after a DISABLE, while the gates are still open.
        last: work of the kernel's threads in the 1.5 s after the last DISABLE; they close the gates.
    """

    first: tuple[float, int]
    second: tuple[float, int]
    last: tuple[float, int]


@dataclass(frozen=True)
class Measured:
    """One run of one kernel.

    Attributes:
        initmem_us: guest time at the kernel's initmem line, microseconds.
        seconds: wall time of QEMU.
        idle: loops while no task records.
        recording: the same loops while the task records; empty without the device.
        captures: workload -> numbers of its records.
        folder: of the run.
        gates: the cost of opening and closing them; None without the device.
    """

    initmem_us: int
    seconds: float
    idle: Mapping[str, Loop]
    recording: Mapping[str, Loop]
    captures: Mapping[str, Recorded]
    folder: Path
    gates: Gates | None = None

    @property
    def boot(self) -> int:
        """Return the instructions to the initmem line; meaningful only if the clock counted instructions."""
        return self.initmem_us * 1000 // qemu.NS_PER_INSTRUCTION


def run(cell: Cell, kernel: Kernel, runtime: Runtime, folder: Path, *, exact: bool, device: bool) -> Measured:
    """Boot a kernel once and measure it.

    Args:
        exact: count instructions; else measure wall times with the fastest accelerator that works.
        device: whether the kernel can record, so that the loops also run while recording.

    Raises:
        UnderTest: it did not boot, or did not report its times.
        InfraError: the machine failed.
    """
    works = ["loops", *(["gates", "loops-recording", *_RECORDED] if device else [])]
    folder.mkdir(parents=True, exist_ok=True)
    todo = plan.draw(works, seed=_SEED)
    works_64k = plan.draw(_RECORDED, seed=_SEED, words=WORDS).works if device else ()
    todo = plan.Plan(todo.seed, todo.token, (*todo.works[: len(works) - len(works_64k)], *works_64k))
    booted = runs.boot(cell, kernel, runtime, todo, folder, exact=exact)
    booted.verdict.require(booted.outcome.console)
    ran = {workload.name: workload for workload in booted.outcome.said.ran}
    return Measured(
        console.initmem_us(booted.outcome.console),
        booted.outcome.ended.seconds,
        loops(ran["loops"], exact=exact),
        loops(ran["loops-recording"], exact=exact) if device else {},
        {name: _recorded(booted, ran[name]) for name in _RECORDED} if device else {},
        folder,
        _gates(ran["gates"], exact=exact) if device else None,
    )


def loops(ran: Ran, *, exact: bool) -> dict[str, Loop]:
    """Return the loops of a workload.

    Raises:
        UnderTest: one is missing, or the workload did not end.
    """
    took = _clock(ran, exact=exact)
    loops_of: dict[str, Loop] = {}
    for name in plan.LOOPS:
        try:
            rounds, ticks = (_fact(ran, f"{name}_{what}") for what in ("rounds", "ticks"))
            words, dropped = (_fact(ran, f"{name}_{what}", "0") for what in ("words", "dropped"))
        except KeyError as error:
            raise UnderTest(f"the loop {name} did not report") from error
        loops_of[name] = Loop(rounds, *took(ticks), words, dropped)
    return loops_of


def _fact(ran: Ran, key: str, missing: str | None = None) -> int:
    """Return a number that the guest measured.

    Raises:
        KeyError: the guest did not send it, and there is no value for that.
        UnderTest: it is not a number.
    """
    text = ran.facts[key] if missing is None else ran.facts.get(key, missing)
    value = outside.number(text)
    if value is None:
        raise UnderTest(f"the guest says that {key} is {outside.shortened(text, 40)}, which is not a number")
    return value


def _gates(ran: Ran, *, exact: bool) -> Gates:
    took = _clock(ran, exact=exact)
    return Gates(*(took(_fact(ran, f"{name}_ticks")) for name in ("first", "second", "last")))


def _clock(ran: Ran, *, exact: bool) -> Callable[[int], tuple[float, int]]:
    """Return a function from a workload's ticks to instructions (0 if they are not counted) and ns."""
    if ran.end != 0:
        raise UnderTest(f"the workload {ran.name} did not end well: {ran.end}")
    per_second = _fact(ran, "ticks_per_second") or 1_000_000_000
    # The kernel's own clock may move in ticks of 4 ms, so times come from the counter as well.
    ns_per_tick = _fact(ran, "clock_ns") / max(_fact(ran, "clock_ticks"), 1)

    def took(ticks: int) -> tuple[float, int]:
        return ticks * 1e9 / per_second / qemu.NS_PER_INSTRUCTION if exact else 0.0, round(ticks * ns_per_tick)

    return took


def _recorded(booted: Booted, ran: Ran) -> Recorded:
    from dataflow import capture

    part = ran.parts[0]
    (capture_of,) = (c for c in booted.captures if c.name == ran.name)
    whole = capture.load(capture_of.facts).records()
    return Recorded(len(whole), part.counted, part.info.dropped if part.info else 0)


def gates(kernel: Kernel) -> int:
    """Return how many gates are patched when the first task begins to record."""
    from dataflow import image

    return len(image.gates(kernel.vmlinux))


def coverage(kernel: Kernel) -> Coverage:
    """Return how much of a kernel's code reports."""
    from dataflow import coverage

    by_value = kernel.generation == "L3"
    return coverage.of(kernel.path, by_value=by_value, workers=os.cpu_count() or 1)
