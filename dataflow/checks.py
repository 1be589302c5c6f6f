"""Check that the kernel recorded what the workloads did.

Gives a list of named facts, each with the expected value and the recorded value. Skips nothing: a fact about missing
data does not hold.
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

# Workloads of the sample modules, for kernels that have these modules.
SAMPLES = ("call-c", "call-rust")
WORKLOADS = ("getpid", "open-close", "fork", "overflow-big", "overflow-small", "overflow-resumed")
# The functions that set a timer after an interrupt (kernel/time/hrtimer.c, __hrtimer_rearm_deferred()); seen in the
# records of a task on defconfig. See `facts.Recorded.rearms_late`.
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
    """Raise if the kernel has no recording device, so that there is nothing to check.

    Args:
        hello: the agent's first frame.

    Raises:
        UnderTest: the frame does not confirm that there is a device.
    """
    if hello.get("device") != "yes":
        raise UnderTest(
            "this kernel has no kcov_dataflow device: it records nothing",
            "build it with a profile that has KCOV_DATAFLOW_ARGS or KCOV_DATAFLOW_RET: --profile dataflow or all",
        )


def examine(folder: Path, kernel_dir: Path) -> list[Fact]:
    """Check all facts of a standard run and return them.

    Args:
        folder: captures of the workloads getpid, open-close, fork and overflow.
        kernel_dir: contains `vmlinux`, `System.map`, and `modules/` if the kernel has any.

    Raises:
        UserError: the folder has no captures, a capture cannot be read, or a file of the kernel is missing.
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

    identified: dict[str, Identified] = {}
    for name, captured in captures.items():
        try:
            identified[name] = identification.read(captured, mapped, opened, whole=False)
        except UnderTest as error:
            facts.append(Fact(f"{name}: every word is as the layout says", False, captured.layout, error.message))
    if not identified:
        return facts
    run = _run(captures, identified, kernel_dir)
    facts += [fact for name in identified for fact in _well_formed(run, name)]
    for group in (_getpid, _open_close, _fork, _overflow):
        facts += _guarded(group, run)
    for name in captures:
        if name in SAMPLES:
            facts += _guarded(lambda run, name=name: _called(run, name), run)  # type: ignore[misc]
    return facts


def _run(captures: Mapping[str, Capture], identified: Mapping[str, Identified], kernel_dir: Path) -> Recorded:
    tables = {name: result.table for name, result in identified.items()}
    addresses = {name: result.functions for name, result in identified.items()}
    kernel = next(iter(identified.values())).kernel
    config = kernel_dir / "config"
    late = config.is_file() and survival.values(config.read_text()).get("HRTIMER_REARM_DEFERRED") == "y"
    if not kernel.by_value:
        return Recorded(captures, tables, addresses, kernel, rearms_late=late)
    from dataflow.types import Types

    places = {name: result.places for name, result in identified.items()}
    return Recorded(captures, tables, addresses, kernel, places, Types(kernel_dir / "vmlinux").inlined, late)


def _kernel(captures: Mapping[str, Capture], mapped: symbols.Symbols, kernel_dir: Path, by_value: bool) -> Kernel:
    """Open the kernel with its loaded modules, which are the same in all captures of one boot."""
    with_modules = next((captured for captured in captures.values() if captured.modules), None)
    loaded = (
        symbols.modules(kernel_dir / "modules", with_modules.modules, mapped, with_modules.stext)
        if with_modules is not None
        else ()
    )
    return sites.load(kernel_dir / "vmlinux", mapped, loaded, by_value=by_value)


def to_json(facts: Sequence[Fact]) -> dict[str, object]:
    """Return all facts as JSON values, and whether all of them hold; an empty list does not count as ok."""
    return {"ok": bool(facts) and all(fact.ok for fact in facts), "checks": [asdict(fact) for fact in facts]}


def _guarded(group: Callable[[Recorded], list[Fact]], run: Recorded) -> list[Fact]:
    """Return the facts of a group; if data is missing, return one fact that does not hold."""
    try:
        return group(run)
    except (KeyError, ValueError, IndexError) as error:
        return [Fact(group.__name__.strip("_"), False, "plan and facts", f"{type(error).__name__}: {error}")]


def _well_formed(run: Recorded, name: str) -> list[Fact]:
    """Return the facts that hold for the records of any capture."""
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
    """Return a sentence for each record whose number of values or size the function's code does not pass."""
    import numpy as np

    table = run.tables[name]
    positions = np.zeros_like(run.addresses[name]) if run.places is None else run.places[name]
    columns = np.stack([run.addresses[name], table.kind, table.index, table.count, table.size, positions])
    kinds, first = np.unique(columns.astype(np.uint64), axis=1, return_index=True)
    wrong: list[str] = []
    rows = sorted(zip(kinds.T.tolist(), first.tolist(), strict=True), key=_row)
    for (pc, kind, index, count, size, position), row in rows:
        label = run.kernel.symbols.label(pc)
        try:
            possible = run.sites(pc, position, kind, index)
        except UnderTest as error:
            wrong.append(f"{label}: {error.message}")
            continue
        # The code of a site names the function itself; a record's size is clamped to a byte.
        passed = {(site.values, min(site.size, CLAMP)) for site in possible if site.pc == pc and site.size is not None}
        if (count, size) not in passed:
            asked = ", ".join(f"{v} values of {s} bytes" for v, s in sorted(passed)) or "nothing"
            wrong.append(f"record {row} of {label} has {count} values of {size} bytes, its code passes {asked}")
    return wrong


def _row(entry: tuple[Sequence[int], int]) -> int:
    return entry[1]


def _getpid(run: Recorded) -> list[Fact]:
    captured = run.captures["getpid"]
    function = architecture(captured.arch).syscall_prefix + "getpid"
    return [
        equal("getpid: the workload's pid", number(captured.plan["pid"]), number(captured.facts["pid"])),
        among(
            f"getpid: {function} returned the drawn pid", number(captured.plan["pid"]), run.returned("getpid", function)
        ),
        equal("getpid: dropped", 0, captured.dropped),
    ]


def _opens(run: Recorded, name: str) -> list[_Opened]:
    """Return the calls of do_sys_openat2(dfd, path, how); if it is inlined, of do_sys_open(dfd, path, flags, mode)."""
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
    """Check flags, mode and descriptor of the single open of a workload."""
    captured = run.captures[name]
    flags = number(captured.plan["flags"]) | architecture(captured.arch).o_largefile
    descriptor = number(captured.facts["fd"])
    return [
        equal(f"{name}: the workload's descriptor", number(captured.plan["fd"]), descriptor),
        among(f"{name}: {function} got the drawn flags | O_LARGEFILE", flags, [o.flags for o in opened], hex),
        among(f"{name}: {function} got the drawn mode", number(captured.plan["mode"]), [o.mode for o in opened], oct),
        among(f"{name}: {function} returned the descriptor", descriptor, run.returned(name, function)),
        equal(f"{name}: dropped", 0, captured.dropped),
    ]


def _open_close(run: Recorded) -> list[Fact]:
    opened = _opens(run, "open-close")
    function = opened[0].function if opened else "do_sys_openat2"
    captured = run.captures["open-close"]
    return [
        *_own_open(run, "open-close", opened, function),
        among(
            f"open-close: {function} got the path's address",
            number(captured.facts["path_address"]),
            [o.path for o in opened],
            hex,
        ),
        equal("open-close: close returned", 0, number(captured.facts["closed"])),
    ]


def _fork(run: Recorded) -> list[Fact]:
    opened = _opens(run, "fork")
    function = opened[0].function if opened else "do_sys_openat2"
    captured = run.captures["fork"]
    foreign = number(captured.plan["child_mode"])
    modes = [o.mode for o in opened]
    return [
        Fact(
            "fork: the child did open with its drawn mode",
            number(captured.facts["child_mode"]) == foreign and number(captured.facts["child_fd"]) >= 0,
            oct(foreign),
            f"{captured.facts['child_mode']}, descriptor {captured.facts['child_fd']}",
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
    # If few objects are instrumented, all records of the loops may fit into the small buffer, too.
    too_small = len(big.words) > small.capacity
    asked, whole = counts["big"] - _late(run, "overflow-big"), counts["small"] + (small.dropped or 0)
    # Dropped records have no names, so only an upper limit is known for those of timers.
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
    """Count the records of timers that were set after an interrupt had ended."""
    if not run.rearms_late:
        return 0
    addresses = {a for function in _REARMING if (a := run.kernel.symbols.address(function)) is not None}
    return sum(int(address) in addresses for address in run.addresses[name])


def _called(run: Recorded, name: str) -> list[Fact]:
    """Check each call of a sample module, with all its values."""
    language = name.removeprefix("call-")
    asked = samples.calls(language, number(run.captures[name].plan["number"]))
    got = samples.recorded(run.tables[name], run.addresses[name], run.kernel.symbols, language)
    facts = [equal(f"{name}: dropped", 0, run.captures[name].dropped)]
    if language == "rust":
        instrumented = _instrumented_rust(run.kernel)
        facts.append(Fact("vmlinux: instrumented functions of Rust", instrumented > 0, "> 0", str(instrumented)))
    facts.append(equal(f"{name}: calls", len(asked), len(got)))
    for wanted, actual in itertools.zip_longest(asked, got):
        label = samples.name(language, (wanted or actual).function)
        ok = wanted is not None and actual is not None and samples.same(wanted, actual)
        texts = [samples.shown(call) if call else "no call" for call in (wanted, actual)]
        if wanted and actual and wanted.function != actual.function:
            texts[1] = f"a call of {samples.name(language, actual.function)}"
        facts.append(Fact(f"{name}: {label}", ok, *texts))
    return facts


def _instrumented_rust(kernel: Kernel) -> int:
    """Count the instrumented functions of Rust in vmlinux."""
    addresses = [int(a) for a in kernel.instrumented() if int(a) not in kernel.symbols.modules]
    return sum(any(demangle(name) != name for name in kernel.symbols.at(address)) for address in addresses)
