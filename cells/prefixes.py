"""Every prefix of a series, built and booted one after the other in one build directory.

What comes in is a cell; what goes out is one row for the bare source and one for each patch, with the first patch that
breaks something. The source is one directory in which only the files change that a patch changes, so make compiles what
depends on them. A machine that fails ends the run: it says nothing about a patch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cells import runs
from core import store
from core.errors import UnderTest, UserError
from core.runtime import Runtime
from guest import plan
from kconfig import survival, symbols
from kernel import built, compilation, instrument, kernels
from kernel.built import Kernel
from kernel.cell import Cell
from kernel.workplace import Ready, Workplace, open_workplace
from patches import apply, series
from sources import catalogue
from toolchain import worktree

FILE = "each.json"
_PLACE = re.compile(r":\d+(:\d+)?:")
# A line that a patch adds to a Kconfig file (Documentation/kbuild/kconfig-language.rst).
_CONFIG = re.compile(r"^\+\s*(?:menu)?config\s+(\w+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """What became of one prefix.

    Attributes:
        prefix: how many patches are applied.
        patch: the last of them; empty for the bare source.
        status: `passed` or `failed`.
        not_yet: symbols that the profile asks for and no patch so far defines, and those that wait for them.
        objects: how many were compiled for this step.
        seconds: of make, wall time; of a prefix that failed, of all its work up to then.
        cpu_seconds: of make and all that it started.
        new_warnings: that no earlier prefix gave.
        image: size of the boot image, bytes; None if there is none.
        boots: `yes`, `no`, or `-` if it was not asked or not built.
        records: `K of N` checks that hold, or `-` if there is nothing to record yet.
        wrong: what of the records does not hold; `run` and the bisection say whether that is a failure.
        reason: why it failed.
    """

    prefix: int
    patch: str
    status: str
    not_yet: tuple[str, ...] = ()
    objects: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    new_warnings: tuple[str, ...] = ()
    image: int | None = None
    boots: str = "-"
    records: str = "-"
    wrong: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Each:
    """All rows of a series.

    Attributes:
        cold: CPU seconds of make for the whole series from nothing, without results of a cache; None if it was not
            asked.
    """

    cell: Cell
    rows: tuple[Row, ...]
    folder: Path
    cold: float | None = None

    @property
    def cpu_seconds(self) -> float:
        return sum(row.cpu_seconds for row in self.rows)

    @property
    def ratio(self) -> float | None:
        """CPU time of make for all prefixes, as a multiple of one build from nothing; wall time varies with load."""
        return self.cpu_seconds / self.cold if self.cold else None

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cell": asdict(self.cell.names),
            "rows": [asdict(row) for row in self.rows],
            "cpu_seconds": round(self.cpu_seconds, 1),
            "cold_cpu_seconds": self.cold,
            "ratio": round(self.ratio, 2) if self.ratio else None,
            "folder": str(self.folder),
        }

    def require(self) -> None:
        """Raise if a prefix failed.

        Raises:
            UnderTest: names the first patch that breaks.
        """
        bad = next((row for row in self.rows if row.status != "passed"), None)
        if bad is not None:
            what = f"patch {bad.prefix}, {bad.patch}, breaks" if bad.patch else "the source without a patch breaks"
            raise UnderTest(f"{what}: {bad.reason}", log=self.folder / FILE)


def run(
    cell: Cell,
    runtime: Runtime,
    *,
    boot: bool = False,
    cold: bool = False,
    guard: bool = True,
    told: Callable[[Row], None] = lambda _row: None,
) -> Each:
    """Build every prefix of a cell's series, and boot it if that is asked.

    Args:
        boot: with the standard workloads; their records are checked once the profile's symbols are all defined, and
            must hold from the first prefix on at which they do, and at the last one.
        cold: do without results of ccache, and build the whole series from nothing as well if it can be built, for
            the ratio.
        told: gets each row when it is done.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply.
        InfraError: the machine failed; the rows so far are in the folder.
    """
    folder = runs.new_folder(f"each-{cell.series.name}-{cell.label}")
    found = Each(cell, (), folder)
    warnings: set[str] = set()
    # Objects that an earlier run left are not compiled again, and their warnings would count as new at a later prefix.
    _forget(kernels.prepare(prefix(cell, 0), runtime, guard=guard))
    held = False
    for number in range(len(cell.series.patches) + 1):
        row = judge(cell, number, runtime, folder, warnings, boot=boot, fresh=cold, guard=guard)
        # A series makes its records exact patch by patch: what never held before is not broken yet.
        if row.wrong and (held or number == len(cell.series.patches)):
            row = replace(row, status="failed", reason=row.wrong)
        held = held or (row.records != "-" and not row.wrong)
        found = replace(found, rows=(*found.rows, row))
        store.write_json(folder / FILE, found.as_json())
        told(row)
    if cold and found.rows[-1].status == "passed":
        found = replace(found, cold=_cold(kernels.prepare(cell, runtime, guard=guard)))
        store.write_json(folder / FILE, found.as_json())
    return found


def prefix(cell: Cell, number: int) -> Cell:
    """The cell with the first patches of its series only."""
    return cell.with_series(series.prefix(cell.series, number))


def judge(
    cell: Cell,
    number: int,
    runtime: Runtime,
    folder: Path,
    seen: set[str],
    *,
    boot: bool = False,
    fresh: bool = False,
    reuse: bool = False,
    guard: bool = True,
) -> Row:
    """Build one prefix of a cell's series, and boot it if that is asked.

    Args:
        number: how many patches.
        folder: of the run; a boot gets a folder in it.
        seen: warnings of the prefixes before; grows.
        fresh: do without results of ccache.
        reuse: take a kernel of this prefix that the store has; what make did for it is then not in the row.

    Raises:
        UserError, InfraError: as `run`; what is wrong with the prefix is in the row.
    """
    one = prefix(cell, number)
    row = Row(number, cell.series.patches[number - 1].name if number else "", "passed")
    began = time.monotonic()
    try:
        ready = kernels.prepare(one, runtime, guard=guard)
        # All symbols survived in what is found: a kernel without some of them has another key.
        made = built.find(ready.inputs) if reuse else None
        if made is not None:
            row, kernel = replace(row, image=made.sizes[built.IMAGE]), made
        else:
            row, kernel = _build(ready, row, seen, last=number == len(cell.series.patches), fresh=fresh)
        if boot:
            row = boot_row(one, kernel, runtime, row, folder / f"{number:02}")
    except UnderTest as error:
        row = replace(
            row, status="failed", reason=str(error), seconds=row.seconds or round(time.monotonic() - began, 1)
        )
    return row


def _home(ready: Ready, kind: str) -> Path:
    """The directory in which all prefixes of a series are built; the patches themselves do not decide which."""
    names = replace(ready.cell.names, series=ready.cell.series.name.partition("@")[0])
    inputs = {"cell": asdict(names), "toolchain": ready.toolchain.key, "kind": kind}
    return store.home() / "build" / f"{kind}-{store.key_of(inputs)[:16]}"


def source_of(ready: Ready, place: Path) -> Path:
    """Give a directory the content of a prefix's tree; a file that does not change keeps its time."""
    source = apply.source_directory(catalogue.source_tree(ready.cell.linux))
    patches = ready.cell.series.patches
    changes = apply.changed_files(source, patches, f"Linux {ready.cell.linux}") if patches else {}
    linux, tree = place / "linux", ready.tree.path / "linux"
    worktree.sync(source, sorted(entry.name for entry in source.iterdir()), changes, linux)
    set_modes(tree, linux, changes)
    return linux


def set_modes(tree: Path, linux: Path, paths: Iterable[str]) -> None:
    """Give files the modes that they have in the patched tree; one that is still the store's own has its mode."""
    for path in paths:
        ours, theirs = linux / path, tree / path
        if ours.is_file() and theirs.is_file() and ours.stat().st_nlink == 1:
            ours.chmod(theirs.stat().st_mode | 0o200)


def _forget(ready: Ready) -> None:
    """Remove what earlier runs of this series compiled; the source may stay."""
    place = _home(ready, "each")
    with store.lock(f"each-{place.name}"), store.disk_errors(place):
        store.remove_tree(place / "out")


def _build(ready: Ready, row: Row, seen: set[str], *, last: bool, fresh: bool) -> tuple[Row, Kernel]:
    """Configure and compile one prefix.

    Args:
        seen: warnings of the prefixes before; grows.
        last: the whole series: it must define every symbol.
        fresh: do without results of ccache.

    Raises:
        UnderTest: a symbol was lost, or it does not compile.
        UserError: the whole series instruments nothing that the cell names.
    """
    place = _home(ready, "each")
    with store.lock(f"each-{place.name}"), store.disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        linux = source_of(ready, place)
        with open_workplace(ready, linux=linux, build_dir=place / "out") as work:
            work = _without_cache(work) if fresh else work
            not_yet = _configure(work, brought(ready.cell), last=last)
            done = compilation.compile_all(work)
            new = sorted({one for one in done.warnings if _PLACE.sub(":", one) not in seen})
            seen |= {_PLACE.sub(":", one) for one in new}
            # Without them `kernel.build` would refuse this configuration, so the product is not that of `kernel.build`.
            inputs = {**ready.inputs, "not_yet": list(not_yet)} if not_yet else dict(ready.inputs)
            try:
                instrument.require(work.build_dir, ready.cell.instrument, work.log)
            except UserError:
                if last:
                    raise
                inputs["uninstrumented"] = sorted(ready.cell.instrument)  # a later patch may choose objects
            if work.session.name != "docker":
                inputs["source"] = str(linux)  # a container sees every tree at one place, the host does not
            kernel = built.make(inputs, lambda out: compilation.keep(work, done, out))
    row = replace(
        row,
        not_yet=not_yet,
        objects=done.objects,
        seconds=round(done.seconds, 1),
        cpu_seconds=round(done.cpu_seconds, 1),
        new_warnings=tuple(new),
        image=kernel.sizes[built.IMAGE],
    )
    return row, kernel


def _without_cache(work: Workplace) -> Workplace:
    return replace(work, env={**work.env, "CCACHE_RECACHE": "1"})


def brought(cell: Cell) -> frozenset[str]:
    """The configuration symbols that the patches of a cell's series, or of a prefix of it, add."""
    texts = (patch.path.read_text(errors="replace") for patch in cell.series.patches)
    return frozenset(name for text in texts for name in _CONFIG.findall(text))


def _configure(work: Workplace, added: frozenset[str], *, last: bool) -> tuple[str, ...]:
    """Configure; returns the symbols that this prefix does not define yet, and those of its own that wait for them.

    Args:
        added: symbols that the patches so far brought. A patch may bring a symbol before the one that it depends on;
            one of the bare source has no such excuse.

    Raises:
        UnderTest: a symbol that the tree defines was lost.
    """
    final = work.configure().config
    lost = survival.compare(work.ready.request, final.read_text())
    if not lost:
        return ()
    graph = symbols.load(work.session, work.build_dir, work.command, work.log, work.env)
    undefined = {one.symbol for one in lost if not graph.defines(one.symbol)}
    waiting = {one.symbol for one in lost if one.symbol in added} if undefined else set()
    wrong = lost if last else [one for one in lost if one.symbol not in undefined | waiting]
    survival.require_none(work.explained(wrong, graph)[0], work.log)
    return tuple(sorted(undefined | waiting))


def boot_row(cell: Cell, kernel: Kernel, runtime: Runtime, row: Row, folder: Path) -> Row:
    """Boot a kernel, and check its records if there must be some; the row with what came of it."""
    folder.mkdir()
    try:
        booted = runs.boot(cell, kernel, runtime, plan.draw(), folder)
        booted.verdict.require(booted.outcome.console)
    except UnderTest as error:
        return replace(row, status="failed", boots="no", reason=str(error))
    row = replace(row, boots="yes")
    if row.not_yet or not kernel.records:
        return row
    try:
        checks = runs.check(booted)
    except UnderTest as error:
        return replace(row, wrong=str(error))
    wrong = [one for one in checks if not one.ok]
    row = replace(row, records=f"{len(checks) - len(wrong)} of {len(checks)}")
    if not wrong:
        return row
    said = "; ".join(f"{one.name}: asked {one.asked}, got {one.got}" for one in wrong[:3])
    return replace(row, wrong=said)


def _cold(ready: Ready) -> float:
    """CPU seconds of make for the whole series in an empty directory, without results of ccache."""
    place = _home(ready, "cold")
    with store.lock(f"each-{place.name}"), store.disk_errors(place):
        store.remove_tree(place)
        place.mkdir(parents=True)
        with open_workplace(ready, build_dir=place / "out") as work:
            work = _without_cache(work)
            survival.require_none(work.lost(work.configure().config)[0], work.log)
            seconds = compilation.compile_all(work).cpu_seconds
        store.remove_tree(place)
    return round(seconds, 1)


def table(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows for a table, each with the change of the image since the one before."""
    shown: list[dict[str, object]] = []
    before: int | None = None
    for row in rows:
        delta = f"{row.image - before:+d}" if row.image is not None and before is not None else "-"
        before = row.image if row.image is not None else before
        shown.append(
            {
                "prefix": row.prefix,
                "patch": row.patch or "(none)",
                "status": row.status,
                "not yet": len(row.not_yet) or "",
                "objects": row.objects,
                "seconds": row.seconds,
                "CPU": row.cpu_seconds,
                "new warnings": len(row.new_warnings),
                "image": row.image or "-",
                "delta": delta,
                "boots": row.boots,
                "records": row.records,
            }
        )
    return shown
