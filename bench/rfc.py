"""The RFC's table: what instrumentation costs, measured again on kernels of one tree and one compiler.

What comes in are profiles; what goes out is one table with their figures side by side, those of the RFC beside them.
Counts of instructions come from two runs each that must agree; wall times from interleaved runs, as median and spread.
Ratios are within one call, never to a figure of another day.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import measure
from bench.measure import Measured
from cells import runs
from core import data, store
from core.errors import UnderTest, UserError
from core.runtime import Runtime
from dataflow import image
from guest import plan
from kernel import kernels
from kernel.built import Kernel
from kernel.cell import Cell, CellNames

FILE = Path(__file__).parent / "rfc.yaml"
RESULT = "rfc.json"
PROFILES = ("none", "dataflow", "all", "kasan", "kasan-all")
# What a profile's figures are divided by; `none` for all others.
_BASELINE = {"kasan-all": "kasan"}
ROUNDS = 7
# Loops whose records are counted, and the workload that is one round of each.
_RECORDED = {"getpid": "getpid", "open_close": "open-close"}


@dataclass(frozen=True)
class Figure:
    """One of the RFC's."""

    row: str
    profile: str
    value: str
    conditions: str
    source: str


@dataclass(frozen=True)
class _File:
    """The form of rfc.yaml."""

    figures: list[Figure]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        values: profile -> the figure; a profile without it is not there.
        ratios: profile -> that figure over the one of its baseline.
        spread: profile -> half the distance of the quartiles, for what does not repeat.
        rfc: what the RFC says of it.
    """

    name: str
    unit: str
    values: Mapping[str, float]
    ratios: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    rfc: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Table:
    """All figures of one call.

    Attributes:
        machine: what it ran on and when, in words.
        differ: figures that two exact runs of one kernel did not agree on.
    """

    cells: Mapping[str, Mapping[str, Any]]
    machine: str
    rows: tuple[Row, ...]
    differ: tuple[str, ...]
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "folder": str(self.folder)}


def figures() -> list[Figure]:
    """The RFC's figures.

    Raises:
        UserError: rfc.yaml is malformed.
    """
    return data.load(FILE, _File).figures


def beside(words: str, like: CellNames) -> dict[str, CellNames]:
    """The cells of `PROFILE:SERIES:TOOLCHAIN`, commas between, by `PROFILE@SERIES`: another generation of callbacks.

    A cell's own settings follow: `PROFILE:SERIES:TOOLCHAIN:FRAME_WARN=2048`.

    Raises:
        UserError: a word is not made so.
    """
    found = {}
    for word in filter(None, words.split(",")):
        if word.count(":") < 2:
            raise UserError(f"--beside {word}: wanted PROFILE:SERIES:TOOLCHAIN", "--beside all:kit-l3:plugin-19-l3")
        profile, series, toolchain, *sets = word.split(":")
        found[f"{profile}@{series}"] = replace(
            like, profile=profile, series=series, toolchain=toolchain, sets=(*like.sets, *sets)
        )
    return found


def baseline(profile: str) -> str:
    """The profile that a profile's figures are divided by."""
    return _BASELINE.get(profile.partition("@")[0], "none")


def run(
    cells_of: Mapping[str, Cell],
    runtime: Runtime,
    *,
    rounds: int = ROUNDS,
) -> Table:
    """Build, boot and measure some profiles.

    Args:
        cells_of: profile -> its cell; `none` must be there. `PROFILE@SERIES` stands beside the profile, with the same
            baseline.
        rounds: of wall times; 0 for none.

    Raises:
        UserError: there is no baseline.
        UnderTest: a kernel does not build, boot or answer.
        InfraError: the machine failed.
    """
    if "none" not in cells_of:
        raise UserError("ratios are to the profile none: it must be among the profiles", "--profiles none,all")
    folder = runs.new_folder("rfc-" + "-".join(cells_of))
    built: dict[str, Kernel] = {}
    for profile, cell in cells_of.items():
        runtime.say(f"kernel {profile}")
        built[profile] = kernels.build(cell, runtime)
    devices = {profile: kernel.records for profile, kernel in built.items()}

    def once(profile: str, name: str, *, exact: bool) -> Measured:
        runtime.say(f"{profile}: {name}")
        place = folder / f"{profile}-{name}"
        cell = cells_of[profile]
        return measure.run(cell, built[profile], runtime, place, exact=exact, device=devices[profile])

    exact = {profile: [once(profile, f"exact-{n}", exact=True) for n in (1, 2)] for profile in cells_of}
    wall: dict[str, list[Measured]] = {profile: [] for profile in cells_of}
    for number in range(rounds):
        for profile in cells_of:
            wall[profile].append(once(profile, f"wall-{number + 1}", exact=False))
    differ = tuple(f"{profile}: {what}" for profile, two in exact.items() for what in differences(*two))
    found = rows({profile: two[0] for profile, two in exact.items()}, wall, built)
    machine = f"{_cpu()}, {platform.system()} {platform.release()}, {time.strftime('%Y-%m-%d')}"
    table = Table({p: asdict(c.names) for p, c in cells_of.items()}, machine, tuple(found), differ, folder)
    store.write_json(folder / RESULT, table.as_json())
    return table


def differences(first: Measured, second: Measured) -> list[str]:
    """Figures that two exact runs of one kernel do not agree on."""
    found = [] if first.initmem_us == second.initmem_us else ["boot"]
    for kind in ("idle", "recording"):
        one, other = getattr(first, kind), getattr(second, kind)
        found += [f"{name}, {kind}" for name in one if one[name].instructions != other[name].instructions]
    return found


def require_agreement(differ: Sequence[str], log: Path) -> None:
    """Refuse a table in which something does not repeat: a ratio of it says nothing.

    Raises:
        UnderTest: two exact runs of one kernel did not agree on a figure; `log` is where to look.
    """
    if differ:
        raise UnderTest(f"two runs of one kernel count differently: {', '.join(differ)}", log=log)


def rows(
    exact: Mapping[str, Measured], wall: Mapping[str, Sequence[Measured]], built: Mapping[str, Kernel]
) -> list[Row]:
    """The lines of the table.

    Args:
        exact: profile -> a run that counted instructions.
        wall: profile -> runs that took times; may be empty.
        built: profile -> the kernel.
    """
    known = figures()

    def row(name: str, unit: str, values: Mapping[str, float], spread: Mapping[str, float] | None = None) -> Row:
        ratios = {
            profile: value / values[base]
            for profile, value in values.items()
            if profile != (base := baseline(profile)) and values.get(base)
        }
        return Row(name, unit, values, ratios, spread or {}, tuple(one for one in known if one.row == name))

    made = [row("boot", "instructions to initmem", {p: float(one.boot) for p, one in exact.items()})]
    made += [
        row(f"{loop}, not recording", "instructions", {p: m.idle[loop].each for p, m in exact.items()})
        for loop in plan.LOOPS
    ]
    recording = {p: m for p, m in exact.items() if m.recording}
    for loop in plan.LOOPS:
        values = {p: m.recording[loop].each for p, m in recording.items()}
        idle = {"none": exact["none"].idle[loop].each} if "none" in exact else {}
        made.append(row(f"{loop}, recording", "instructions", {**idle, **values}))
    for name, workload in _RECORDED.items():
        per_record = {
            p: _one_record(m, name, exact[baseline(p)].idle[name].each, lambda loop: loop.each)
            for p, m in recording.items()
            if m.recording[name].words
        }
        made.append(row(f"one record of {workload}", "instructions", per_record))
    for name in _RECORDED.values():
        for what in ("records", "words", "dropped"):
            values = {p: float(getattr(m.captures[name], what)) for p, m in recording.items()}
            made.append(
                Row(f"{what} of {name}", "", values, {}, {}, tuple(o for o in known if o.row == f"{what} of {name}"))
            )
    made += _gate_rows(recording, {p: measure.gates(built[p]) for p in recording}, row)
    made += _coverage_rows({p: kernel for p, kernel in built.items() if p in recording}, row)
    sizes = {profile: image.kernel_sizes(kernel.path) for profile, kernel in built.items()}
    made += [
        row("boot image" if name == "image" else name, "bytes", {p: float(one[name]) for p, one in sizes.items()})
        for name in next(iter(sizes.values()))
    ]
    made.append(
        row("compiling", "s of CPU", {p: k.cpu_seconds for p, k in built.items() if k.cpu_seconds and not k.cache.hits})
    )
    for limit in ("2048", "4096"):
        framed = {p: k.frames for p, k in built.items() if limit in k.frames}
        if framed:
            made.append(Row(f"frames over {limit}", "functions", {p: float(one[limit]) for p, one in framed.items()}))
    if any(wall.values()):
        made += _wall_rows(wall, row)
    return made


def _gate_rows(recording: Mapping[str, Measured], gates: Mapping[str, int], row: Callable[..., Row]) -> list[Row]:
    took = {p: m.gates for p, m in recording.items() if m.gates}
    unit = "instructions"
    return [
        row("first enable", unit, {p: one.first[0] for p, one in took.items()}),
        row("second enable", unit, {p: one.second[0] for p, one in took.items()}),
        row("behind the last disable", unit, {p: one.last[0] for p, one in took.items()}),
        row("gates", "", {p: float(many) for p, many in gates.items()}),
        row("patching one gate", unit, {p: one.first[0] / gates[p] if gates[p] else 0.0 for p, one in took.items()}),
    ]


def _coverage_rows(built: Mapping[str, Kernel], row: Callable[..., Row]) -> list[Row]:
    found = {p: measure.coverage(kernel) for p, kernel in built.items()}
    return [
        row("functions that report", "", {p: float(one.functions) for p, one in found.items()}),
        row("arguments that report", "", {p: float(one.arguments) for p, one in found.items()}),
        row("return values that report", "", {p: float(one.returns) for p, one in found.items()}),
        row("functions not understood", "", {p: float(one.unknown) for p, one in found.items()}),
    ]


def _wall_rows(wall: Mapping[str, Sequence[Measured]], row: Callable[..., Row]) -> list[Row]:
    def of(name: str, unit: str, figure: Callable[[Measured], float], taken: Mapping[str, Sequence[Measured]]) -> Row:
        all_values = {profile: [figure(one) for one in many] for profile, many in taken.items()}
        return row(
            name,
            unit,
            {profile: statistics.median(values) for profile, values in all_values.items()},
            {profile: _spread(values) for profile, values in all_values.items()},
        )

    def us(kind: str, loop: str) -> Callable[[Measured], float]:
        return lambda one: getattr(one, kind)[loop].ns / getattr(one, kind)[loop].rounds / 1000

    recording = {profile: many for profile, many in wall.items() if many and many[0].recording}
    base = statistics.median(us("idle", "getpid")(one) * 1000 for one in wall["none"])
    return [
        of("boot, guest time", "s", lambda one: one.initmem_us / 1e6, wall),
        of("whole run, host time", "s", lambda one: one.seconds, wall),
        *(of(f"{loop}, not recording, time", "us", us("idle", loop), wall) for loop in plan.LOOPS),
        *(of(f"{loop}, recording, time", "us", us("recording", loop), recording) for loop in plan.LOOPS),
        of("first enable, time", "us", lambda one: one.gates.first[1] / 1000 if one.gates else 0.0, recording),
        of(
            "behind the last disable, time", "us", lambda one: one.gates.last[1] / 1000 if one.gates else 0.0, recording
        ),
        of(
            "ns for one record",
            "ns",
            lambda one: _one_record(one, "getpid", base, lambda loop: loop.ns / loop.rounds),
            {profile: many for profile, many in recording.items() if many[0].recording["getpid"].words},
        ),
    ]


def _spread(values: Sequence[float]) -> float:
    """Half the distance of the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def _one_record(one: Measured, name: str, base: float, cost: Callable[[measure.Loop], float]) -> float:
    """What one record costs in a loop.

    Args:
        name: of the loop, one of _RECORDED.
        base: what a round of the loop costs in a kernel without callbacks.
        cost: of a round.
    """
    loop, capture = one.recording[name], one.captures[_RECORDED[name]]
    if not loop.words or not capture.words:
        return 0.0
    return (cost(loop) - base) / (loop.words / loop.rounds * capture.records / capture.words)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def markdown(table: Table, *, figures: bool = True) -> str:
    """The table for a page: figures, with ratios behind them, and, unless they are not wanted, the RFC's below."""
    profiles = list(table.cells)
    lines = [f"| figure | unit | {' | '.join(profiles)} |", f"|---|---|{'---|' * len(profiles)}"]
    lines += [
        f"| {row.name} | {row.unit} | {' | '.join(cell_text(row, profile) for profile in profiles)} |"
        for row in table.rows
    ]
    said = [
        f"* {row.name}, {one.profile}: {one.value}. {one.conditions}; {one.source}."
        for row in table.rows
        for one in row.rfc
    ]
    return "\n".join([*lines, "", *(["The RFC's figures, under other conditions:", "", *said, ""] if figures else [])])


def cell_text(row: Row, profile: str) -> str:
    """One figure: its value, its spread if it does not repeat, its ratio."""
    if profile not in row.values:
        return "-"
    value = row.values[profile]
    text = (
        f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:,.1f}" if value >= 100 else f"{value:.3f}"
    )
    if profile in row.spread:
        text += f" ± {row.spread[profile]:.3f}"
    if profile in row.ratios:
        base = _BASELINE.get(profile.partition("@")[0], "")
        text += f" ({row.ratios[profile]:.3f}{f' of {base}' if base else ''})"
    return text
