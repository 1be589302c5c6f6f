"""Checks: is what the kernel recorded what the workloads did?

What comes in is the folder of a run's captures and the kernel that made them; what goes out is a list of named facts,
each with what was asked and what was got. A fact about something that is not there does not hold: nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import KitError
from dataflow import capture, records, symbols
from dataflow.capture import Capture
from dataflow.records import ENTRY, RETURN, Records
from dataflow.sites import Kernel
from dataflow.symbols import Symbols

# O_LARGEFILE, which openat adds to the flags on 64-bit kernels: asm-generic and arm64 fcntl.h.
O_LARGEFILE = {"x86_64": 0o100000, "arm64": 0o400000}
_SYSCALL_PREFIX = {"x86_64": "__x64_sys_", "arm64": "__arm64_sys_"}
WORKLOADS = ("getpid", "open-close", "fork", "overflow-big", "overflow-small", "overflow-resumed")


@dataclass(frozen=True)
class Fact:
    """One thing that was asked of a run."""

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class _Run:
    """Everything that the checks look at."""

    captures: Mapping[str, Capture]
    tables: Mapping[str, Records]
    symbols: Symbols
    kernel: Kernel

    def address(self, name: str, function: str) -> int | None:
        """The run-time address of a function in a capture."""
        place = self.symbols.address(function)
        return None if place is None else place + symbols.shift(self.symbols, self.captures[name].stext)

    def returned(self, name: str, function: str) -> list[int]:
        """All values that a function returned in a capture."""
        place = self.address(name, function)
        if place is None:
            return []
        table = self.tables[name]
        return [table.values(row)[0] for row in table.rows(place, RETURN)]


@dataclass(frozen=True)
class _Opened:
    """One call of the kernel's open function, as recorded."""

    function: str
    path: int
    flags: int
    mode: int


def examine(folder: Path, kernel_dir: Path) -> list[Fact]:
    """All facts of a standard run.

    Args:
        folder: captures of the workloads getpid, open-close, fork and overflow.
        kernel_dir: holds `vmlinux` and `System.map`.

    Raises:
        UserError: the folder has no captures, or the kernel's files are not there.
        UnderTest: the words of a capture are not what its layout allows.
    """
    captures = capture.load_all(folder)
    names = symbols.read(kernel_dir / "System.map")
    run = _Run(
        captures,
        {name: one.records() for name, one in captures.items()},
        names,
        Kernel(kernel_dir / "vmlinux", names),
    )
    missing = [Fact(f"{name}: captured", False, "a capture", "none") for name in WORKLOADS if name not in captures]
    if missing:
        return missing
    facts = [fact for name in captures for fact in _well_formed(run, name)]
    for group in (_getpid, _open_close, _fork, _overflow):
        facts += _guarded(group, run)
    return facts


def _guarded(group: Callable[[_Run], list[Fact]], run: _Run) -> list[Fact]:
    """The facts of a group; data that is missing is a fact that does not hold."""
    try:
        return group(run)
    except (KeyError, ValueError, IndexError) as error:
        return [Fact(group.__name__.strip("_"), False, "plan and facts", f"{type(error).__name__}: {error}")]


def _number(text: str) -> int:
    """A number as plans and facts write it: decimal, 0x hexadecimal, or with a leading 0 octal."""
    return int(text, 8) if len(text) > 1 and text[0] == "0" and text[1] not in "xX" else int(text, 0)


def _equal(name: str, asked: object, got: object) -> Fact:
    return Fact(name, asked == got, str(asked), str(got))


def _among(name: str, asked: int, got: Sequence[int], show: Callable[[int], str] = str) -> Fact:
    """Exactly one value was recorded, and it is the one asked."""
    return Fact(name, list(got) == [asked], show(asked), ", ".join(show(v) for v in got[:5]) or "no record")


def _well_formed(run: _Run, name: str) -> list[Fact]:
    """What holds for the records of any capture."""
    import numpy as np

    table, one = run.tables[name], run.captures[name]
    facts = [Fact(f"{name}: records", len(table) > 0, "> 0", str(len(table)))]
    pcs = symbols.link_time(table.pc, run.symbols, one.stext)
    strange = np.unique(pcs[~np.isin(pcs, run.kernel.instrumented())])
    facts.append(
        Fact(
            f"{name}: every pc is an instrumented function's start",
            len(table) > 0 and len(strange) == 0,
            f"{len(np.unique(pcs))} functions",
            f"{len(strange)} others" + "".join(f", {run.symbols.label(int(p))}" for p in strange[:3])
            if len(strange)
            else f"{len(np.unique(pcs))} functions",
        )
    )
    steps = records.gaps(table)
    facts.append(
        Fact(
            f"{name}: the sequence steps by 1",
            len(table) > 0 and not steps,
            "no gap",
            f"{len(steps)} gaps, first at record {steps[0]}" if steps else "no gap",
        )
    )
    wrong = _miscounted(run, name, [int(pc) for pc in pcs])
    facts.append(
        Fact(
            f"{name}: value counts equal vmlinux's tables",
            len(table) > 0 and not wrong,
            f"{len(table)} records",
            f"{len(wrong)} differ, first: {wrong[0]}" if wrong else f"{len(table)} records",
        )
    )
    return facts


def _miscounted(run: _Run, name: str, pcs: Sequence[int]) -> list[str]:
    """Records whose number of values is not one that the code of their function passes."""
    table = run.tables[name]
    wrong: list[str] = []
    allowed: dict[tuple[int, int, int], set[int]] = {}
    for row, (pc, kind, index, count) in enumerate(
        zip(pcs, table.kind.tolist(), table.index.tolist(), table.count.tolist(), strict=True)
    ):
        key = (pc, kind, index)
        if key not in allowed:
            try:
                found = run.kernel.sites(pc)
            except KitError as error:
                wrong.append(f"{run.symbols.label(pc)}: {error.message}")
                allowed[key] = {count}
                continue
            # A record's index has eight bits: the kernel clamps larger ones to 255.
            allowed[key] = {s.values for s in found if s.kind == kind and min(s.index, 255) == index}
        if count not in allowed[key]:
            wrong.append(f"record {row} of {run.symbols.label(pc)} has {count} values, not {allowed[key] or 'any'}")
    return wrong


def _getpid(run: _Run) -> list[Fact]:
    one = run.captures["getpid"]
    function = _SYSCALL_PREFIX[one.arch] + "getpid"
    return [
        _equal("getpid: the workload's pid", _number(one.plan["pid"]), _number(one.facts["pid"])),
        _among(
            f"getpid: {function} returned the drawn pid", _number(one.plan["pid"]), run.returned("getpid", function)
        ),
        _equal("getpid: dropped", 0, one.dropped),
    ]


def _opens(run: _Run, name: str) -> list[_Opened]:
    """Calls of do_sys_openat2(dfd, path, how), or, where that was inlined, of do_sys_open(dfd, path, flags, mode)."""
    table = run.tables[name]
    for function in ("do_sys_openat2", "do_sys_open"):
        place = run.address(name, function)
        rows = table.rows(place, ENTRY) if place is not None else []
        if not rows:
            continue
        found: list[_Opened] = []
        path = flags = 0
        for row in rows:
            index, values = int(table.index[row]), table.values(row)
            if index == 1:
                path = values[0]
            elif index == 2 and function == "do_sys_openat2":
                found.append(_Opened(function, path, values[0], values[1]))
            elif index == 2:
                flags = values[0]
            elif index == 3:
                found.append(_Opened(function, path, flags, values[0] & 0xFFFF))
        return found
    return []


def _own_open(run: _Run, name: str, opened: Sequence[_Opened], function: str) -> list[Fact]:
    """The one open of a workload: path, flags, mode and descriptor."""
    one = run.captures[name]
    flags = _number(one.plan["flags"]) | O_LARGEFILE[one.arch]
    descriptor = _number(one.facts["fd"])
    return [
        _equal(f"{name}: the workload's descriptor", _number(one.plan["fd"]), descriptor),
        _among(f"{name}: {function} got the drawn flags | O_LARGEFILE", flags, [o.flags for o in opened], hex),
        _among(f"{name}: {function} got the drawn mode", _number(one.plan["mode"]), [o.mode for o in opened], oct),
        _among(f"{name}: {function} returned the descriptor", descriptor, run.returned(name, function)),
        _equal(f"{name}: dropped", 0, one.dropped),
    ]


def _open_close(run: _Run) -> list[Fact]:
    opened = _opens(run, "open-close")
    function = opened[0].function if opened else "do_sys_openat2"
    one = run.captures["open-close"]
    return [
        *_own_open(run, "open-close", opened, function),
        _among(
            f"open-close: {function} got the path's address",
            _number(one.facts["path_address"]),
            [o.path for o in opened],
            hex,
        ),
        _equal("open-close: close returned", 0, _number(one.facts["closed"])),
    ]


def _fork(run: _Run) -> list[Fact]:
    opened = _opens(run, "fork")
    function = opened[0].function if opened else "do_sys_openat2"
    one = run.captures["fork"]
    foreign = _number(one.plan["child_mode"])
    modes = [o.mode for o in opened]
    return [
        Fact(
            "fork: the child did open with its drawn mode",
            _number(one.facts["child_mode"]) == foreign and _number(one.facts["child_fd"]) >= 0,
            oct(foreign),
            f"{one.facts['child_mode']}, descriptor {one.facts['child_fd']}",
        ),
        Fact(
            "fork: the child's mode is not in the parent's records",
            bool(modes) and foreign not in modes,
            f"no {oct(foreign)}",
            ", ".join(oct(m) for m in modes) or "no open recorded",
        ),
        *_own_open(run, "fork", opened, function),
    ]


def _overflow(run: _Run) -> list[Fact]:
    big, small, resumed = (run.captures[f"overflow-{part}"] for part in ("big", "small", "resumed"))
    counts = {name: len(run.tables[f"overflow-{name}"]) for name in ("big", "small", "resumed")}
    function = _SYSCALL_PREFIX[resumed.arch] + "getpid"
    again = [_number(resumed.plan["pid"])] * _number(resumed.plan["again"])
    got = run.returned("overflow-resumed", function)
    return [
        _equal("overflow: dropped with the big buffer", 0, big.dropped),
        Fact("overflow: the small buffer overflows", (small.dropped or 0) > 0, "> 0", str(small.dropped)),
        _equal(
            f"overflow: records + dropped of {small.plan['loops']} loops",
            counts["big"],
            counts["small"] + (small.dropped or 0),
        ),
        _equal("overflow: after zeroing word 0 it records on", again, got),
        _equal("overflow: dropped did not grow while there was room", small.dropped, resumed.dropped),
    ]
