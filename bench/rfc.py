"""Measure the figures of the RFC's table again, on kernels of one tree and one compiler.

Takes profiles. Gives one table with their figures side by side, and the RFC's. Instruction counts come from two runs
each, which must agree. Wall times come from interleaved runs, as median and spread. Never compares with figures of
another call.
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
# The profile by whose figures a profile's figures are divided; `none` for all others.
_BASELINE = {"kasan-all": "kasan"}
ROUNDS = 7
# Loops whose records are counted -> the workload that is one round of the loop.
_RECORDED = {"getpid": "getpid", "open_close": "open-close"}


@dataclass(frozen=True)
class Figure:
    """One figure of the RFC."""

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
        values: profile -> the figure; profiles without it are missing.
        ratios: profile -> that figure divided by that of its baseline.
        spread: profile -> half the distance of the quartiles, for figures that do not repeat.
        rfc: the RFC's figures for it.
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
        machine: the machine and the date, in words.
        differ: figures on which two exact runs of one kernel disagree.
    """

    cells: Mapping[str, Mapping[str, Any]]
    machine: str
    rows: tuple[Row, ...]
    differ: tuple[str, ...]
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "folder": str(self.folder)}


def figures() -> list[Figure]:
    """Return the RFC's figures.

    Raises:
        UserError: rfc.yaml is malformed.
    """
    return data.load(FILE, _File).figures


def beside(words: str, like: CellNames) -> dict[str, CellNames]:
    """Return `PROFILE@SERIES` -> cell for a text like `PROFILE:SERIES:TOOLCHAIN,...`: another callback generation.

    Settings of a cell follow its toolchain: `PROFILE:SERIES:TOOLCHAIN:FRAME_WARN=2048`.

    Raises:
        UserError: a word does not have this form.
    """
    cells = {}
    for word in filter(None, words.split(",")):
        if word.count(":") < 2:
            raise UserError(f"--beside {word}: wanted PROFILE:SERIES:TOOLCHAIN", "--beside all:kit-l3:plugin-19-l3")
        profile, series, toolchain, *sets = word.split(":")
        cells[f"{profile}@{series}"] = replace(
            like, profile=profile, series=series, toolchain=toolchain, sets=(*like.sets, *sets)
        )
    return cells


def baseline(profile: str) -> str:
    """Return the profile by whose figures a profile's figures are divided."""
    return _BASELINE.get(profile.partition("@")[0], "none")


def run(
    cells_of: Mapping[str, Cell],
    runtime: Runtime,
    *,
    rounds: int = ROUNDS,
) -> Table:
    """Build, boot and measure some profiles.

    Args:
        cells_of: profile -> its cell; `none` is required. `PROFILE@SERIES` gets a column next to the profile, with the
            same baseline.
        rounds: number of wall-time measurements; 0 for none.

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
        subfolder = folder / f"{profile}-{name}"
        cell = cells_of[profile]
        return measure.run(cell, built[profile], runtime, subfolder, exact=exact, device=devices[profile])

    exact = {profile: [once(profile, f"exact-{n}", exact=True) for n in (1, 2)] for profile in cells_of}
    wall: dict[str, list[Measured]] = {profile: [] for profile in cells_of}
    for number in range(rounds):
        for profile in cells_of:
            wall[profile].append(once(profile, f"wall-{number + 1}", exact=False))
    differ = tuple(f"{profile}: {what}" for profile, two in exact.items() for what in differences(*two))
    lines = rows({profile: two[0] for profile, two in exact.items()}, wall, built)
    machine = f"{_cpu()}, {platform.system()} {platform.release()}, {time.strftime('%Y-%m-%d')}"
    table = Table({p: asdict(c.names) for p, c in cells_of.items()}, machine, tuple(lines), differ, folder)
    store.write_json(folder / RESULT, table.as_json())
    return table


def differences(first: Measured, second: Measured) -> list[str]:
    """Return the figures on which two exact runs of one kernel disagree."""
    names = [] if first.initmem_us == second.initmem_us else ["boot"]
    for kind in ("idle", "recording"):
        loops, other = getattr(first, kind), getattr(second, kind)
        names += [f"{name}, {kind}" for name in loops if loops[name].instructions != other[name].instructions]
    return names


def require_agreement(differ: Sequence[str], log: Path) -> None:
    """Refuse a table with a figure that does not repeat, because its ratio has no meaning.

    Raises:
        UnderTest: two exact runs of one kernel disagree on a figure; `log` is where to look.
    """
    if differ:
        raise UnderTest(f"two runs of one kernel count differently: {', '.join(differ)}", log=log)


def rows(
    exact: Mapping[str, Measured], wall: Mapping[str, Sequence[Measured]], built: Mapping[str, Kernel]
) -> list[Row]:
    """Return the lines of the table.

    Args:
        exact: profile -> a run that counted instructions.
        wall: profile -> runs that measured times; may be empty.
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
    coverages = {p: measure.coverage(kernel) for p, kernel in built.items()}
    return [
        row("functions that report", "", {p: float(coverage.functions) for p, coverage in coverages.items()}),
        row("arguments that report", "", {p: float(coverage.arguments) for p, coverage in coverages.items()}),
        row("return values that report", "", {p: float(coverage.returns) for p, coverage in coverages.items()}),
        row("functions not understood", "", {p: float(coverage.unknown) for p, coverage in coverages.items()}),
    ]


def _wall_rows(wall: Mapping[str, Sequence[Measured]], row: Callable[..., Row]) -> list[Row]:
    def of(name: str, unit: str, figure: Callable[[Measured], float], taken: Mapping[str, Sequence[Measured]]) -> Row:
        all_values = {profile: [figure(run) for run in runs_of] for profile, runs_of in taken.items()}
        return row(
            name,
            unit,
            {profile: statistics.median(values) for profile, values in all_values.items()},
            {profile: _spread(values) for profile, values in all_values.items()},
        )

    def us(kind: str, loop: str) -> Callable[[Measured], float]:
        return lambda run: getattr(run, kind)[loop].ns / getattr(run, kind)[loop].rounds / 1000

    recording = {profile: runs_of for profile, runs_of in wall.items() if runs_of and runs_of[0].recording}
    base = statistics.median(us("idle", "getpid")(run) * 1000 for run in wall["none"])
    return [
        of("boot, guest time", "s", lambda run: run.initmem_us / 1e6, wall),
        of("whole run, host time", "s", lambda run: run.seconds, wall),
        *(of(f"{loop}, not recording, time", "us", us("idle", loop), wall) for loop in plan.LOOPS),
        *(of(f"{loop}, recording, time", "us", us("recording", loop), recording) for loop in plan.LOOPS),
        of("first enable, time", "us", lambda run: run.gates.first[1] / 1000 if run.gates else 0.0, recording),
        of(
            "behind the last disable, time", "us", lambda run: run.gates.last[1] / 1000 if run.gates else 0.0, recording
        ),
        of(
            "ns for one record",
            "ns",
            lambda run: _one_record(run, "getpid", base, lambda loop: loop.ns / loop.rounds),
            {profile: runs_of for profile, runs_of in recording.items() if runs_of[0].recording["getpid"].words},
        ),
    ]


def _spread(values: Sequence[float]) -> float:
    """Return half the distance of the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def _one_record(run: Measured, name: str, base: float, cost: Callable[[measure.Loop], float]) -> float:
    """Return the cost of one record in a loop.

    Args:
        name: of the loop, one of _RECORDED.
        base: cost of a round of the loop in a kernel without callbacks.
        cost: returns the cost of a round.
    """
    loop, capture = run.recording[name], run.captures[_RECORDED[name]]
    if not loop.words or not capture.words:
        return 0.0
    return (cost(loop) - base) / (loop.words / loop.rounds * capture.records / capture.words)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def markdown(table: Table, *, figures: bool = True) -> str:
    """Return the table for a page: figures with ratios after them, and the RFC's figures below unless unwanted."""
    profiles = list(table.cells)
    lines = [f"| figure | unit | {' | '.join(profiles)} |", f"|---|---|{'---|' * len(profiles)}"]
    lines += [
        f"| {row.name} | {row.unit} | {' | '.join(cell_text(row, profile) for profile in profiles)} |"
        for row in table.rows
    ]
    notes = [
        f"* {row.name}, {figure.profile}: {figure.value}. {figure.conditions}; {figure.source}."
        for row in table.rows
        for figure in row.rfc
    ]
    return "\n".join([*lines, "", *(["The RFC's figures, under other conditions:", "", *notes, ""] if figures else [])])


def cell_text(row: Row, profile: str) -> str:
    """Return one figure as text: its value, its spread if it does not repeat, and its ratio."""
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
