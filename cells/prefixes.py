"""Build and boot every prefix of a series, one after the other, in one build directory.

Takes a cell. Gives one row for the bare source and one for each patch. Each step changes only the files that its patch
changes, so make compiles only what depends on them. If the machine fails, the run ends without blaming a patch.
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
    """The result of one prefix.

    Attributes:
        prefix: how many patches are applied.
        patch: the last patch of the prefix; empty for the bare source.
        status: `passed` or `failed`.
        not_yet: requested symbols that no patch so far defines, and symbols of the patches that depend on them.
        objects: number of objects that make compiled in this step.
        seconds: wall time of make; if the prefix failed, of all its work until then.
        cpu_seconds: CPU time of make and its children.
        new_warnings: warnings that no earlier prefix gave.
        image: size of the boot image, bytes; None if there is none.
        boots: `yes`, `no`, or `-` if it was not booted.
        records: `K of N` checks that hold, or `-` if there is nothing to record yet.
        wrong: which checks of the records do not hold; `run` and the bisection decide whether that is a failure.
        reason: why the prefix failed.
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
        cold: CPU seconds of make for the whole series in an empty directory without ccache; None if not measured.
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
        """Return the CPU time of make for all prefixes divided by that of one full build. Wall time varies more."""
        return self.cpu_seconds / self.cold if self.cold else None

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
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
            UnderTest: a prefix failed; the error names the first patch that breaks something.
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
    """Build every prefix of a cell's series, and boot it if `boot` is set.

    Args:
        boot: boot with the standard workloads. Their records are checked once all requested symbols are defined. They
            must hold at the last prefix, and from the first prefix on at which they held.
        cold: compile without ccache, and also build the whole series in an empty directory, for the ratio.
        told: called with each row when it is done.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply.
        InfraError: the machine failed; the rows so far are in the folder.
    """
    folder = runs.new_folder(f"each-{cell.series.name}-{cell.label}")
    each = Each(cell, (), folder)
    warnings: set[str] = set()
    # make would not compile objects of an earlier run, and their warnings would count as new at a later prefix.
    _forget(kernels.prepare(prefix(cell, 0), runtime, guard=guard))
    held = False
    for number in range(len(cell.series.patches) + 1):
        row = judge(cell, number, runtime, folder, warnings, boot=boot, fresh=cold, guard=guard)
        # The records of early prefixes are not complete yet: they count as broken only after they held once.
        if row.wrong and (held or number == len(cell.series.patches)):
            row = replace(row, status="failed", reason=row.wrong)
        held = held or (row.records != "-" and not row.wrong)
        each = replace(each, rows=(*each.rows, row))
        store.write_json(folder / FILE, each.as_json())
        told(row)
    if cold and each.rows[-1].status == "passed":
        each = replace(each, cold=_cold(kernels.prepare(cell, runtime, guard=guard)))
        store.write_json(folder / FILE, each.as_json())
    return each


def prefix(cell: Cell, number: int) -> Cell:
    """Return the cell with only the first patches of its series."""
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
    """Build one prefix of a cell's series, and boot it if `boot` is set.

    Args:
        number: number of patches in the prefix.
        folder: of the run; a boot gets a folder in it.
        seen: warnings of earlier prefixes; this one adds its own.
        fresh: compile without ccache.
        reuse: take this prefix's kernel from the store if it is there; the row then has no figures of make.

    Raises:
        UserError, InfraError: as `run`. If the prefix itself fails, the row has the reason.
    """
    step = prefix(cell, number)
    row = Row(number, cell.series.patches[number - 1].name if number else "", "passed")
    began = time.monotonic()
    try:
        ready = kernels.prepare(step, runtime, guard=guard)
        # In a stored kernel all symbols survived: one without some of them has another key.
        stored = built.find(ready.inputs) if reuse else None
        if stored is not None:
            row, kernel = replace(row, image=stored.sizes[built.IMAGE]), stored
        else:
            row, kernel = _build(ready, row, seen, last=number == len(cell.series.patches), fresh=fresh)
        if boot:
            row = boot_row(step, kernel, runtime, row, folder / f"{number:02}")
    except UnderTest as error:
        row = replace(
            row, status="failed", reason=str(error), seconds=row.seconds or round(time.monotonic() - began, 1)
        )
    return row


def _home(ready: Ready, kind: str) -> Path:
    """Return the directory in which all prefixes of a series are built; it does not depend on the patches."""
    names = replace(ready.cell.names, series=ready.cell.series.name.partition("@")[0])
    inputs = {"cell": asdict(names), "toolchain": ready.toolchain.key, "kind": kind}
    return store.home() / "build" / f"{kind}-{store.key_of(inputs)[:16]}"


def source_of(ready: Ready, place: Path) -> Path:
    """Bring `place/linux` to the content of a prefix's tree; an unchanged file keeps its time."""
    source = apply.source_directory(catalogue.source_tree(ready.cell.linux))
    patches = ready.cell.series.patches
    changes = apply.changed_files(source, patches, f"Linux {ready.cell.linux}") if patches else {}
    linux, tree = place / "linux", ready.tree.path / "linux"
    worktree.sync(source, sorted(entry.name for entry in source.iterdir()), changes, linux)
    set_modes(tree, linux, changes)
    return linux


def set_modes(tree: Path, linux: Path, paths: Iterable[str]) -> None:
    """Give files the modes of the patched tree; skip hard links to the store, whose modes are right already."""
    for path in paths:
        ours, theirs = linux / path, tree / path
        if ours.is_file() and theirs.is_file() and ours.stat().st_nlink == 1:
            ours.chmod(theirs.stat().st_mode | 0o200)


def _forget(ready: Ready) -> None:
    """Remove the objects that earlier runs of this series compiled; keep the source."""
    folder = _home(ready, "each")
    with store.lock(f"each-{folder.name}"), store.disk_errors(folder):
        store.remove_tree(folder / "out")


def _build(ready: Ready, row: Row, seen: set[str], *, last: bool, fresh: bool) -> tuple[Row, Kernel]:
    """Configure and compile one prefix.

    Args:
        seen: warnings of earlier prefixes; this one adds its own.
        last: whether this is the whole series, which must define every symbol.
        fresh: compile without ccache.

    Raises:
        UnderTest: a symbol was lost, or the kernel does not compile.
        UserError: the whole series instruments nothing that the cell names.
    """
    folder = _home(ready, "each")
    with store.lock(f"each-{folder.name}"), store.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        linux = source_of(ready, folder)
        with open_workplace(ready, linux=linux, build_dir=folder / "out") as work:
            work = _without_cache(work) if fresh else work
            not_yet = _configure(work, brought(ready.cell), last=last)
            done = compilation.compile_all(work)
            new = sorted({warning for warning in done.warnings if _PLACE.sub(":", warning) not in seen})
            seen |= {_PLACE.sub(":", warning) for warning in new}
            # `kernel.build` refuses a configuration without these symbols, so this product needs a key of its own.
            inputs = {**ready.inputs, "not_yet": list(not_yet)} if not_yet else dict(ready.inputs)
            try:
                instrument.require(work.build_dir, ready.cell.instrument, work.log)
            except UserError:
                if last:
                    raise
                inputs["uninstrumented"] = sorted(ready.cell.instrument)  # a later patch may choose objects
            if work.session.name != "docker":
                inputs["source"] = str(linux)  # a container mounts every tree at one path, the host does not
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
    """Return the Kconfig symbols that the patches of a cell's series, or of a prefix of it, add."""
    texts = (patch.path.read_text(errors="replace") for patch in cell.series.patches)
    return frozenset(name for text in texts for name in _CONFIG.findall(text))


def _configure(work: Workplace, added: frozenset[str], *, last: bool) -> tuple[str, ...]:
    """Configure; return the symbols that this prefix does not define yet, and added symbols that depend on them.

    Args:
        added: symbols that the patches so far add. A patch may add a symbol before the one that it depends on. A
            symbol of the bare source must survive.

    Raises:
        UnderTest: a symbol that the tree defines was lost.
    """
    final = work.configure().config
    lost = survival.compare(work.ready.request, final.read_text())
    if not lost:
        return ()
    graph = symbols.load(work.session, work.build_dir, work.command, work.log, work.env)
    undefined = {item.symbol for item in lost if not graph.defines(item.symbol)}
    waiting = {item.symbol for item in lost if item.symbol in added} if undefined else set()
    wrong = lost if last else [item for item in lost if item.symbol not in undefined | waiting]
    survival.require_none(work.explained(wrong, graph)[0], work.log)
    return tuple(sorted(undefined | waiting))


def boot_row(cell: Cell, kernel: Kernel, runtime: Runtime, row: Row, folder: Path) -> Row:
    """Boot a kernel, check its records if it must have some, and return the row with the results."""
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
    wrong = [check for check in checks if not check.ok]
    row = replace(row, records=f"{len(checks) - len(wrong)} of {len(checks)}")
    if not wrong:
        return row
    return replace(row, wrong="; ".join(f"{c.name}: asked {c.asked}, got {c.got}" for c in wrong[:3]))


def _cold(ready: Ready) -> float:
    """Return the CPU seconds of make for the whole series in an empty directory, without ccache."""
    folder = _home(ready, "cold")
    with store.lock(f"each-{folder.name}"), store.disk_errors(folder):
        store.remove_tree(folder)
        folder.mkdir(parents=True)
        with open_workplace(ready, build_dir=folder / "out") as work:
            work = _without_cache(work)
            survival.require_none(work.lost(work.configure().config)[0], work.log)
            seconds = compilation.compile_all(work).cpu_seconds
        store.remove_tree(folder)
    return round(seconds, 1)


def table(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return rows for a table, each with the change of the image's size since the row before."""
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
