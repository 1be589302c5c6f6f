"""Checks: is what the kernel recorded what the workloads did?

What comes in is the folder of a run's captures and the kernel that made them; what goes out is a list of named facts,
each with what was asked and what was got. A fact about something that is not there does not hold: nothing is skipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UnderTest
from dataflow import capture, identify, records, samples, sites, symbols
from dataflow.capture import Capture
from dataflow.demangle import demangle
from dataflow.identify import Identified
from dataflow.records import CLAMP, ENTRY, RETURN, Records
from dataflow.sites import Kernel, Site
from kconfig import survival

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# O_LARGEFILE, which openat adds to the flags on 64-bit kernels: asm-generic and arm64 fcntl.h.
O_LARGEFILE = {"x86_64": 0o100000, "arm64": 0o400000}
_SYSCALL_PREFIX = {"x86_64": "__x64_sys_", "arm64": "__arm64_sys_"}
# Workloads of the sample modules, where a kernel comes with them.
SAMPLES = ("call-c", "call-rust")
WORKLOADS = ("getpid", "open-close", "fork", "overflow-big", "overflow-small", "overflow-resumed")


# What sets a timer then (kernel/time/hrtimer.c, __hrtimer_rearm_deferred()): seen in a task's records on defconfig.
_REARMING = ("ktime_get", "ktime_get_update_offsets_now", "tick_program_event", "clockevents_program_event")
_FEW = 64  # records of several timer interrupts


@dataclass(frozen=True)
class Fact:
    """One thing that was asked of a run."""

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class _Run:
    """Everything that the checks look at; `addresses` are link-time addresses of the functions of the records.

    Where the layout names the calls of the callbacks, `places` are their addresses, and `inlined` says what is inlined
    there: such a record is none of the function itself. `rearms_late`: interrupts leave it to the way back to the task
    to set the next timer (CONFIG_HRTIMER_REARM_DEFERRED of Linux 7.1, include/linux/hrtimer_rearm.h), where nothing
    tells an interrupt from the task any more.
    """

    captures: Mapping[str, Capture]
    tables: Mapping[str, Records]
    addresses: Mapping[str, NDArray[np.uint64]]
    kernel: Kernel
    places: Mapping[str, NDArray[np.uint64]] | None = None
    inlined: Callable[[int], tuple[str, ...]] = lambda _place: ()
    rearms_late: bool = False

    def rows(self, name: str, function: str, kind: int) -> list[int]:
        """The records of a function in a capture, in order."""
        place = self.kernel.symbols.address(function)
        if place is None:
            return []
        found = (self.addresses[name] == place) & (self.tables[name].kind == kind)
        rows = [row for row, there in enumerate(found.tolist()) if there]
        if self.places is None:
            return rows
        places = self.places[name]
        return [row for row in rows if not self.inlined(int(places[row]))]

    def sites(self, pc: int, place: int, kind: int, index: int) -> tuple[Site, ...]:
        """What the code passes where a record comes from."""
        code = self.kernel.code(pc)
        if self.places is None:
            return code.of(kind, index)
        return tuple(s for s in code.inside(place) if (s.kind, s.recorded_index) == (kind, index))

    def returned(self, name: str, function: str) -> list[int]:
        """All values that a function returned in a capture: as many bits as it returns, as signed numbers."""
        table = self.tables[name]
        return [_signed(table.values(row)[0], int(table.size[row])) for row in self.rows(name, function, RETURN)]


@dataclass(frozen=True)
class _Opened:
    """One call of the kernel's open function, as recorded."""

    function: str
    path: int
    flags: int
    mode: int


def require_device(hello: Mapping[str, str]) -> None:
    """A kernel without the device recorded nothing, and nothing can be checked.

    Args:
        hello: what the agent said first.

    Raises:
        UnderTest: it said that there is no device, or did not say that there is one.
    """
    if hello.get("device") != "yes":
        raise UnderTest(
            "this kernel has no kcov_dataflow device: it records nothing",
            "build it with a profile that has KCOV_DATAFLOW_ARGS or KCOV_DATAFLOW_RET: --profile dataflow or all",
        )


def examine(folder: Path, kernel_dir: Path) -> list[Fact]:
    """All facts of a standard run.

    Args:
        folder: captures of the workloads getpid, open-close, fork and overflow.
        kernel_dir: holds `vmlinux`, `System.map`, and `modules/` if it has any.

    Raises:
        UserError: the folder has no captures, they are not what we write, or the kernel's files are not there.
        UnderTest: a file of words is damaged.
    """
    captures = capture.load_all(folder)
    facts = [Fact(f"{name}: captured", name in captures, "a capture", "none") for name in WORKLOADS]
    facts = [fact for fact in facts if not fact.ok]
    mapped = symbols.read(kernel_dir / "System.map")
    kernels: dict[bool, Kernel] = {}

    def opened(by_value: bool) -> Kernel:
        if by_value not in kernels:
            kernels[by_value] = _kernel(captures, mapped, kernel_dir, by_value)
        return kernels[by_value]

    found: dict[str, Identified] = {}
    for name, one in captures.items():
        try:
            found[name] = identify.read(one, mapped, opened, whole=False)
        except UnderTest as error:
            facts.append(Fact(f"{name}: every word is as the layout says", False, one.layout, error.message))
    if not found:
        return facts
    run = _run(captures, found, kernel_dir)
    facts += [fact for name in found for fact in _well_formed(run, name)]
    for group in (_getpid, _open_close, _fork, _overflow):
        facts += _guarded(group, run)
    for name in captures:
        if name in SAMPLES:
            facts += _guarded(lambda run, name=name: _called(run, name), run)  # type: ignore[misc]
    return facts


def _run(captures: Mapping[str, Capture], found: Mapping[str, Identified], kernel_dir: Path) -> _Run:
    tables = {name: one.table for name, one in found.items()}
    addresses = {name: one.functions for name, one in found.items()}
    kernel = next(iter(found.values())).kernel
    config = kernel_dir / "config"
    late = config.is_file() and survival.values(config.read_text()).get("HRTIMER_REARM_DEFERRED") == "y"
    if not kernel.by_value:
        return _Run(captures, tables, addresses, kernel, rearms_late=late)
    from dataflow.types import Types

    places = {name: one.places for name, one in found.items()}
    return _Run(captures, tables, addresses, kernel, places, Types(kernel_dir / "vmlinux").inlined, late)


def _kernel(captures: Mapping[str, Capture], mapped: symbols.Symbols, kernel_dir: Path, by_value: bool) -> Kernel:
    """The kernel with the modules that a capture names: they are the same in all captures of one boot."""
    with_modules = next((one for one in captures.values() if one.modules), None)
    loaded = (
        symbols.modules(kernel_dir / "modules", with_modules.modules, mapped, with_modules.stext)
        if with_modules is not None
        else ()
    )
    return sites.load(kernel_dir / "vmlinux", mapped, loaded, by_value=by_value)


def to_json(facts: Sequence[Fact]) -> dict[str, object]:
    """All facts, and whether all of them hold; no facts hold nothing."""
    return {"ok": bool(facts) and all(fact.ok for fact in facts), "checks": [asdict(fact) for fact in facts]}


def _guarded(group: Callable[[_Run], list[Fact]], run: _Run) -> list[Fact]:
    """The facts of a group; data that is missing is a fact that does not hold."""
    try:
        return group(run)
    except (KeyError, ValueError, IndexError) as error:
        return [Fact(group.__name__.strip("_"), False, "plan and facts", f"{type(error).__name__}: {error}")]


def _signed(value: int, size: int) -> int:
    """A recorded number of so many bytes as a signed one."""
    bits = 8 * min(size, 8)
    return value - (1 << bits) if bits and value >> (bits - 1) else value


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

    table, pcs = run.tables[name], run.addresses[name]
    some = len(table) > 0
    known = np.unique(pcs)
    strange = known[~np.isin(known, run.kernel.instrumented())].tolist()
    steps = records.gaps(table)
    wrong = _miscounted(run, name)
    functions = f"{len(known)} functions"
    labels = ", ".join(run.kernel.symbols.label(pc) for pc in strange[:3])
    where = "an instrumented function's start" if run.places is None else "in an instrumented function"
    first_gap = f"{len(steps)} gaps, first at record {steps[0]}" if steps else "no gap"
    return [
        Fact(f"{name}: records", some, "> 0", str(len(table))),
        Fact(
            f"{name}: every pc is {where}",
            some and not strange,
            functions,
            f"{len(strange)} others: {labels}" if strange else functions,
        ),
        Fact(f"{name}: the sequence steps by 1", some and not steps, "no gap", first_gap if some else "no record"),
        Fact(
            f"{name}: value counts equal vmlinux's tables",
            some and not wrong,
            f"{len(table)} records",
            f"{len(wrong)} differ, first: {wrong[0]}" if wrong else f"{len(table)} records",
        ),
    ]


def _miscounted(run: _Run, name: str) -> list[str]:
    """Records whose number of values, or size, is not one that the code of their function passes."""
    import numpy as np

    table = run.tables[name]
    places = np.zeros_like(run.addresses[name]) if run.places is None else run.places[name]
    columns = np.stack([run.addresses[name], table.kind, table.index, table.count, table.size, places])
    kinds, first = np.unique(columns.astype(np.uint64), axis=1, return_index=True)
    wrong: list[str] = []
    rows = sorted(zip(kinds.T.tolist(), first.tolist(), strict=True), key=_row)
    for (pc, kind, index, count, size, place), row in rows:
        label = run.kernel.symbols.label(pc)
        try:
            found = run.sites(pc, place, kind, index)
        except UnderTest as error:
            wrong.append(f"{label}: {error.message}")
            continue
        # The code of a site names the function itself; a record's size is clamped to a byte.
        passed = {(site.values, min(site.size, CLAMP)) for site in found if site.pc == pc and site.size is not None}
        if (count, size) not in passed:
            asked = ", ".join(f"{v} values of {s} bytes" for v, s in sorted(passed)) or "nothing"
            wrong.append(f"record {row} of {label} has {count} values of {size} bytes, its code passes {asked}")
    return wrong


def _row(one: tuple[Sequence[int], int]) -> int:
    return one[1]


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
        rows = run.rows(name, function, ENTRY)
        if not rows:
            continue
        groups: list[dict[int, list[int]]] = []
        for row in rows:
            index = int(table.index[row])
            if index == 0 or not groups:
                groups.append({})
            groups[-1][index] = table.values(row)
        if function == "do_sys_openat2":
            # struct open_how is {u64 flags, mode, resolve} (include/uapi/linux/openat2.h).
            return [_Opened(function, g[1][0], g[2][0], g[2][1]) for g in groups]
        return [_Opened(function, g[1][0], g[2][0], g[3][0] & 0xFFFF) for g in groups]
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
    # With few objects instrumented, all that the loops record may fit into the small buffer, too.
    too_small = len(big.words) > small.capacity
    asked, whole = counts["big"] - _late(run, "overflow-big"), counts["small"] + (small.dropped or 0)
    # What was dropped has no names, so of those records only this is known: there are not many.
    more = 2 * (counts["big"] - asked) + _FEW if run.rearms_late else 0
    return [
        _equal("overflow: dropped with the big buffer", 0, big.dropped),
        Fact(
            "overflow: the small buffer overflows",
            ((small.dropped or 0) > 0) == too_small,
            "> 0" if too_small else f"0, all {len(big.words)} words fit",
            str(small.dropped),
        ),
        Fact(
            "overflow: records + dropped of all loops",
            asked <= whole <= asked + more,
            f"{asked}, and up to {more} of timers set after an interrupt" if more else str(asked),
            str(whole),
        ),
        _equal("overflow: after zeroing word 0 it records on", again, got),
        _equal("overflow: dropped did not grow while there was room", small.dropped, resumed.dropped),
    ]


def _late(run: _Run, name: str) -> int:
    """How many records of a capture are of timers that were set when an interrupt was over already."""
    if not run.rearms_late:
        return 0
    places = {a for one in _REARMING if (a := run.kernel.symbols.address(one)) is not None}
    return sum(int(address) in places for address in run.addresses[name])


def _called(run: _Run, name: str) -> list[Fact]:
    """Each call of a sample module, with all its values."""
    language = name.removeprefix("call-")
    asked = samples.calls(language, _number(run.captures[name].plan["number"]))
    got = samples.recorded(run.tables[name], run.addresses[name], run.kernel.symbols, language)
    facts = [_equal(f"{name}: dropped", 0, run.captures[name].dropped)]
    if language == "rust":
        many = _instrumented_rust(run.kernel)
        facts.append(Fact("vmlinux: instrumented functions of Rust", many > 0, "> 0", str(many)))
    facts.append(_equal(f"{name}: calls", len(asked), len(got)))
    for one, other in itertools.zip_longest(asked, got):
        label = samples.name(language, (one or other).function)
        ok = one is not None and other is not None and samples.same(one, other)
        texts = [samples.shown(call) if call else "no call" for call in (one, other)]
        if one and other and one.function != other.function:
            texts[1] = f"a call of {samples.name(language, other.function)}"
        facts.append(Fact(f"{name}: {label}", ok, *texts))
    return facts


def _instrumented_rust(kernel: Kernel) -> int:
    """How many functions of Rust in vmlinux report."""
    addresses = [int(a) for a in kernel.instrumented() if int(a) not in kernel.symbols.modules]
    return sum(any(demangle(name) != name for name in kernel.symbols.at(address)) for address in addresses)
