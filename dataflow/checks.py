"""Check that the kernel recorded what the workloads did.

The result is a list of named facts, each with the value that was asked and the value that was got. A fact about missing
data does not hold: nothing is skipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.arch import architecture
from core.errors import UnderTest
from dataflow import capture, identification, samples, sites, symbols
from dataflow.capture import Capture
from dataflow.facts import Fact, Recorded, among, equal, number
from dataflow.identification import Identified
from dataflow.layouts import CLAMP, ENTRY
from dataflow.records import gaps
from dataflow.rust_names import demangle
from dataflow.sites import Kernel
from kconfig import survival

# Workloads of the sample modules, where a kernel comes with them.
SAMPLES = ("call-c", "call-rust")
WORKLOADS = ("getpid", "open-close", "fork", "overflow-big", "overflow-small", "overflow-resumed")
# What sets a timer then (kernel/time/hrtimer.c, __hrtimer_rearm_deferred()): seen in a task's records on defconfig.
_REARMING = ("ktime_get", "ktime_get_update_offsets_now", "tick_program_event", "clockevents_program_event")
_FEW = 64  # records of several timer interrupts


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
            found[name] = identification.read(one, mapped, opened, whole=False)
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


def _run(captures: Mapping[str, Capture], found: Mapping[str, Identified], kernel_dir: Path) -> Recorded:
    tables = {name: one.table for name, one in found.items()}
    addresses = {name: one.functions for name, one in found.items()}
    kernel = next(iter(found.values())).kernel
    config = kernel_dir / "config"
    late = config.is_file() and survival.values(config.read_text()).get("HRTIMER_REARM_DEFERRED") == "y"
    if not kernel.by_value:
        return Recorded(captures, tables, addresses, kernel, rearms_late=late)
    from dataflow.types import Types

    places = {name: one.places for name, one in found.items()}
    return Recorded(captures, tables, addresses, kernel, places, Types(kernel_dir / "vmlinux").inlined, late)


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


def _guarded(group: Callable[[Recorded], list[Fact]], run: Recorded) -> list[Fact]:
    """The facts of a group; data that is missing is a fact that does not hold."""
    try:
        return group(run)
    except (KeyError, ValueError, IndexError) as error:
        return [Fact(group.__name__.strip("_"), False, "plan and facts", f"{type(error).__name__}: {error}")]


def _well_formed(run: Recorded, name: str) -> list[Fact]:
    """What holds for the records of any capture."""
    import numpy as np

    table, pcs = run.tables[name], run.addresses[name]
    some = len(table) > 0
    known = np.unique(pcs)
    strange = known[~np.isin(known, run.kernel.instrumented())].tolist()
    steps = gaps(table)
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


def _miscounted(run: Recorded, name: str) -> list[str]:
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


def _getpid(run: Recorded) -> list[Fact]:
    one = run.captures["getpid"]
    function = architecture(one.arch).syscall_prefix + "getpid"
    return [
        equal("getpid: the workload's pid", number(one.plan["pid"]), number(one.facts["pid"])),
        among(f"getpid: {function} returned the drawn pid", number(one.plan["pid"]), run.returned("getpid", function)),
        equal("getpid: dropped", 0, one.dropped),
    ]


def _opens(run: Recorded, name: str) -> list[_Opened]:
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


def _own_open(run: Recorded, name: str, opened: Sequence[_Opened], function: str) -> list[Fact]:
    """The one open of a workload: path, flags, mode and descriptor."""
    one = run.captures[name]
    flags = number(one.plan["flags"]) | architecture(one.arch).o_largefile
    descriptor = number(one.facts["fd"])
    return [
        equal(f"{name}: the workload's descriptor", number(one.plan["fd"]), descriptor),
        among(f"{name}: {function} got the drawn flags | O_LARGEFILE", flags, [o.flags for o in opened], hex),
        among(f"{name}: {function} got the drawn mode", number(one.plan["mode"]), [o.mode for o in opened], oct),
        among(f"{name}: {function} returned the descriptor", descriptor, run.returned(name, function)),
        equal(f"{name}: dropped", 0, one.dropped),
    ]


def _open_close(run: Recorded) -> list[Fact]:
    opened = _opens(run, "open-close")
    function = opened[0].function if opened else "do_sys_openat2"
    one = run.captures["open-close"]
    return [
        *_own_open(run, "open-close", opened, function),
        among(
            f"open-close: {function} got the path's address",
            number(one.facts["path_address"]),
            [o.path for o in opened],
            hex,
        ),
        equal("open-close: close returned", 0, number(one.facts["closed"])),
    ]


def _fork(run: Recorded) -> list[Fact]:
    opened = _opens(run, "fork")
    function = opened[0].function if opened else "do_sys_openat2"
    one = run.captures["fork"]
    foreign = number(one.plan["child_mode"])
    modes = [o.mode for o in opened]
    return [
        Fact(
            "fork: the child did open with its drawn mode",
            number(one.facts["child_mode"]) == foreign and number(one.facts["child_fd"]) >= 0,
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


def _overflow(run: Recorded) -> list[Fact]:
    big, small, resumed = (run.captures[f"overflow-{part}"] for part in ("big", "small", "resumed"))
    counts = {name: len(run.tables[f"overflow-{name}"]) for name in ("big", "small", "resumed")}
    function = architecture(resumed.arch).syscall_prefix + "getpid"
    again = [number(resumed.plan["pid"])] * number(resumed.plan["again"])
    got = run.returned("overflow-resumed", function)
    # With few objects instrumented, all that the loops record may fit into the small buffer, too.
    too_small = len(big.words) > small.capacity
    asked, whole = counts["big"] - _late(run, "overflow-big"), counts["small"] + (small.dropped or 0)
    # What was dropped has no names, so of those records only this is known: there are not many.
    more = 2 * (counts["big"] - asked) + _FEW if run.rearms_late else 0
    return [
        equal("overflow: dropped with the big buffer", 0, big.dropped),
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
        equal("overflow: after zeroing word 0 it records on", again, got),
        equal("overflow: dropped did not grow while there was room", small.dropped, resumed.dropped),
    ]


def _late(run: Recorded, name: str) -> int:
    """How many records of a capture are of timers that were set when an interrupt was over already."""
    if not run.rearms_late:
        return 0
    places = {a for one in _REARMING if (a := run.kernel.symbols.address(one)) is not None}
    return sum(int(address) in places for address in run.addresses[name])


def _called(run: Recorded, name: str) -> list[Fact]:
    """Each call of a sample module, with all its values."""
    language = name.removeprefix("call-")
    asked = samples.calls(language, number(run.captures[name].plan["number"]))
    got = samples.recorded(run.tables[name], run.addresses[name], run.kernel.symbols, language)
    facts = [equal(f"{name}: dropped", 0, run.captures[name].dropped)]
    if language == "rust":
        many = _instrumented_rust(run.kernel)
        facts.append(Fact("vmlinux: instrumented functions of Rust", many > 0, "> 0", str(many)))
    facts.append(equal(f"{name}: calls", len(asked), len(got)))
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
