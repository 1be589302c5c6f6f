"""Compare a kernel's instruction counts with the committed ones, to find out whether a change made it slower.

Takes a cell. Gives the figures that moved further than they may. With the same compiler, configuration and QEMU, the
counts before init must be the same to the digit. With others, the ratio to a kernel without callbacks is compared; both
kernels are measured in the same call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench import measure
from bench.measure import Measured
from cells import runs
from core import store
from core.arch import architecture
from core.data import load_yaml
from core.errors import UnderTest
from core.runtime import Runtime
from guest import agent, guests, plan, qemu
from kernel import kernels
from kernel.built import Kernel
from kernel.cell import Cell
from toolchain import toolchains

FILE = Path(__file__).parent / "gate.yaml"
RESULT = "gate.json"
PROFILE, CONTROL = "all", "none"
# How far a figure may move. Interrupts fall into the loops, and a ratio compares two compilations.
_AFTER_INIT = 0.001
_RATIO = 0.005


@dataclass(frozen=True)
class Counts:
    """Instructions to the initmem line, and for one round of each loop while no task records."""

    boot: int
    loops: Mapping[str, Annotated[float, msgspec.Meta(gt=0)]]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, loops to a thousandth."""
        return {"boot": self.boot, "loops": {name: round(value, 3) for name, value in self.loops.items()}}


@dataclass(frozen=True)
class Baseline:
    """The committed counts.

    Attributes:
        key: what the counts depend on besides the kernel's source: hashes and versions by name.
        control, counts: of a kernel without callbacks, and of one with callbacks everywhere.
    """

    key: Mapping[str, str]
    control: Counts
    counts: Counts


@dataclass(frozen=True)
class Finding:
    """A figure that moved.

    Attributes:
        before, now: instructions, or ratios to the control.
    """

    figure: str
    before: float
    now: float

    def __str__(self) -> str:
        return f"{self.figure}: {self.before:,.6g} before, {self.now:,.6g} now ({self.now / self.before - 1:+.3%})"


@dataclass(frozen=True)
class Judged:
    """The outcome of a call.

    Attributes:
        same: whether compiler, configuration and QEMU are those of the committed counts, so that counts were compared.
        slower, faster: figures that moved further than they may.
    """

    same: bool
    slower: tuple[Finding, ...]
    faster: tuple[Finding, ...]
    now: Baseline
    folder: Path

    def require(self) -> None:
        """Raise UnderTest if a figure is slower."""
        if self.slower:
            raise UnderTest(
                f"slower than committed: {'; '.join(str(figure) for figure in self.slower)}",
                "if that is intended: ./invoke bench.gate --update",
                self.folder / RESULT,
            )


def load(file: Path = FILE) -> Baseline:
    """Return the committed baseline.

    Raises:
        UserError: it does not exist or is malformed.
    """
    root = load_yaml(file)
    baseline = root.convert(Baseline)
    for name, counts in (("control", baseline.control), ("counts", baseline.counts)):
        if set(counts.loops) != set(plan.LOOPS):
            raise root.get(name).get("loops").error(f"the loops are {', '.join(plan.LOOPS)}")
    return baseline


def run(cell: Cell, runtime: Runtime, *, update: bool = False, file: Path = FILE) -> Judged:
    """Measure a kernel and its control, and compare with what is committed.

    Args:
        cell: to build; this function sets its profile.
        update: write the measured counts to the file and compare nothing.

    Raises:
        UnderTest: a kernel does not build or boot, or two runs of one kernel count differently.
        UserError: there is no baseline.
        InfraError: the machine failed.
    """
    folder = runs.new_folder(f"gate-{cell.names.toolchain}-{cell.names.base}-{cell.arch}")
    counts: dict[str, Counts] = {}
    key: dict[str, str] = {}
    if not update:
        load(file)  # before the machine works for minutes
    for profile in (CONTROL, PROFILE):
        profiled = cell.with_profile(profile)
        kernel = kernels.build(profiled, runtime)
        boots = [
            measure.run(profiled, kernel, runtime, folder / f"{profile}-{number}", exact=True, device=False)
            for number in (1, 2)
        ]
        if boots[0].initmem_us != boots[1].initmem_us:
            raise UnderTest(
                f"two boots of the same kernel {profile} count {boots[0].boot} and {boots[1].boot} instructions",
                "a count of this kernel does not repeat: look for randomness in it",
                folder,
            )
        counts[profile] = counts_of(boots[0])
        key |= {f"config {profile}": store.hash_file(kernel.config_file), **_surroundings(profiled, kernel, runtime)}
    now = Baseline(key, counts[CONTROL], counts[PROFILE])
    if update:
        write(now, file)
        judged = Judged(True, (), (), now, folder)
    else:
        judged = replace(judge(load(file), now), folder=folder)
    store.write_json(
        folder / RESULT,
        {
            "same": judged.same,
            "slower": [str(figure) for figure in judged.slower],
            "faster": [str(figure) for figure in judged.faster],
            "key": dict(key),
            "control": now.control.as_json(),
            "counts": now.counts.as_json(),
        },
    )
    return judged


def counts_of(measured: Measured) -> Counts:
    """Return the counts of a run."""
    return Counts(measured.boot, {name: loop.each for name, loop in measured.idle.items()})


def judge(before: Baseline, now: Baseline) -> Judged:
    """Compare two measurements.

    Compares counts if everything but the kernel's source is the same, else the ratios to the control.
    """
    same = dict(before.key) == dict(now.key)
    slower: list[Finding] = []
    faster: list[Finding] = []

    def look(figure: str, old: float, new: float, tolerance: float) -> None:
        if abs(new - old) > tolerance * old:
            (slower if new > old else faster).append(Finding(figure, old, new))

    if same:
        look("boot", before.counts.boot, now.counts.boot, 0.0)
        look(f"boot of {CONTROL}", before.control.boot, now.control.boot, 0.0)
        for name, value in before.counts.loops.items():
            look(name, value, now.counts.loops[name], _AFTER_INIT)
    else:
        look("boot, ratio", _over(before, "boot"), _over(now, "boot"), _RATIO)
        for name in before.counts.loops:
            look(f"{name}, ratio", _over(before, name), _over(now, name), _RATIO)
    return Judged(same, tuple(slower), tuple(faster), now, Path())


def _over(one: Baseline, name: str) -> float:
    if name == "boot":
        return one.counts.boot / one.control.boot
    return one.counts.loops[name] / one.control.loops[name]


def _surroundings(cell: Cell, kernel: Kernel, runtime: Runtime) -> dict[str, str]:
    """Return what a count depends on besides the kernel's source and configuration."""
    toolchain = toolchains.ensure(cell.toolchain, runtime, targets=(cell.arch,))
    version: list[str] = []
    with toolchains.open_session(toolchain, guests.mounts(kernel.path, kernel.path)) as session:
        session.run([architecture(cell.arch).guest.program, "--version"], on_line=version.append)
    return {
        "arch": cell.arch,
        "base": cell.names.base,
        "linux": cell.linux,
        "toolchain": toolchain.key,
        "guest": _guest(cell.arch),
        "qemu": version[0] if version else "unknown",
    }


def _guest(arch: str) -> str:
    """Return a hash of what runs in the guest besides the kernel, because unpacking the agent is part of the boot."""
    machine = qemu.Machine(arch, "tcg", "", "", "", "", exact=True)
    parts = [*qemu.command(machine), repr(sorted(plan.LOOPS.items()))]
    parts += [store.hash_file(source) for source in agent.source_files()]
    return store.key_of({"parts": parts})


def write(baseline: Baseline, file: Path) -> None:
    """Replace the committed baseline."""
    lines = [
        "# Counts of guest instructions that bench.gate compares with, written by ./invoke bench.gate --update.",
        "key:",
        *(f'  {name}: "{value}"' for name, value in sorted(baseline.key.items())),
    ]
    for name, counts in (("control", baseline.control), ("counts", baseline.counts)):
        lines += [f"{name}:", f"  boot: {counts.boot}", "  loops:"]
        lines += [f"    {loop}: {value:.3f}" for loop, value in counts.loops.items()]
    store.write_text(file, "\n".join(lines) + "\n")
