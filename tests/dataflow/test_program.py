"""A program that stands in for a kernel: compiled with the pass, recorded by its own callbacks, read back.

It is linked like a kernel (static, at fixed addresses, its own start), defines the functions that the checks look for,
and writes the buffer that the device would have. So everything from words to text runs on real code and real DWARF.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.buffers import Row
from core.errors import UnderTest, UserError
from dataflow import checks, image, listing, sites, symbols
from dataflow.checks import Fact
from dataflow.layouts import RETURN
from dataflow.types import Types
from tests.layouts import encode

HEADER = r"""
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned short umode_t;
struct pt_regs { u64 di, si, dx; };
struct open_how { u64 flags, mode, resolve; };
enum colour { RED, GREEN = 5 };
struct opaque;
struct inner { u64 a, b; };
struct thing {
	int low:3; unsigned high:5; enum colour colour; _Bool set; umode_t mode; u32 gfp_flags;
	struct inner inner; void *next; signed char small; int list[]; };
#define quiet __attribute__((noinline))
"""

SOURCE = (
    HEADER
    + r"""
extern volatile int sink;
quiet int leaf(int x) { return x + sink; }
int leaf_alias(int x) __attribute__((alias("leaf")));
quiet void no_value(int x) { sink += leaf(x); }
quiet void no_number(struct thing *t) { sink += t->small; no_value(7); }
quiet int no_parameter(void) { return leaf(40); }
quiet int fact(int n) { return n < 2 ? 1 : n * fact(n - 1); }
#define READ(t) (void)*(volatile signed char *)&(t)->small /* what nobody reads, callers need not store */
quiet void *lost(struct thing *t, char c) { if (t) READ(t); sink += (t != 0) + c; return (void *)-2L; }
quiet struct thing *found(struct thing *t, struct opaque *o, _Bool b, enum colour e) {
	READ(t); sink += (o != 0) + b + (int)e; return t; }
quiet long failing(unsigned long big, umode_t mode, u32 open_flags) { sink += mode + open_flags; return -(long)big; }
static quiet int removed(int used, int unused) { sink += used; return used; }
quiet struct inner pair(struct inner in) { struct inner out = { in.b + (u64)sink, in.a }; return out; }
quiet int do_sys_openat2(int dfd, const char *filename, struct open_how *how) {
	no_value(dfd); return (int)how->resolve; }
quiet long __do_sys_getpid(const struct pt_regs *unused) { return (long)unused->di; }
long __x64_sys_getpid(const struct pt_regs *regs) __attribute__((alias("__do_sys_getpid")));
static quiet long twin(long a, long b) { sink += a; return b; }
int other(int x);

void tour(struct thing *t, struct opaque *o) {
	sink += no_parameter() + fact(3); no_number(t); lost(t, 'x'); lost(0, 1); found(t, o, 1, GREEN);
	failing(2, 0640, 0x8241); failing(70000, 0, 0); sink += removed(3, 4); struct inner i = { 1, 2 }; pair(i);
	twin(sink, sink); other(5); }
"""
)

# A second file with a static function of the same name.
OTHER = (
    HEADER
    + r"""
extern volatile int sink;
static quiet char twin(char only) { sink += only; return only; }
int other(int x) { return twin((char)(x + sink)) == 0; }
"""
)

# The callbacks as series kit has them, and what the agent does: docs/architecture.md.
RUNTIME = (
    HEADER
    + r"""
static u64 words[1 << 16], room, dropped; static u32 seq; static int on;
volatile int sink;
void tour(struct thing *t, struct opaque *o);
int do_sys_openat2(int dfd, const char *filename, struct open_how *how);
long __x64_sys_getpid(const struct pt_regs *regs);
static u64 load(const void *p, u64 size) {
	u64 value = 0;
	for (u64 i = 0; i < (size < 8 ? size : 8); i++) value |= (u64)((const unsigned char *)p)[i] << 8 * i;
	return value; }
static void record(u64 kind, u64 pc, u64 index, u64 size, void *p, u64 *table, u64 n) {
	u64 used = words[0], count = n ? n : 1, *w = words + 1 + used, address = (u64)p;
	int bad = address < 4096 || address >= -4095UL;
	if (!on) return;
	if (used >= room || 3 + count >= room - used) { dropped++; return; }
	words[0] = used + 3 + count;
	w[0] = count << 32 | kind << 28 | (seq++ & 0xffffff);
	w[1] = pc;
	w[2] = (index > 255 ? 255 : index) << 56 | (size > 255 ? 255 : size) << 48 | (address & 0xffffffffffff);
	if (!n) w[3] = bad || !size ? 0 : load(p, size);
	for (u64 i = 0; i < n; i++) w[3 + i] = bad ? 0xBADADD85 : load((char *)p + table[2 * i], table[2 * i + 1]); }
void __sanitizer_cov_trace_args(u64 pc, u32 i, u32 size, void *p, u64 *t, u32 n) { record(14, pc, i, size, p, t, n); }
void __sanitizer_cov_trace_ret(u64 pc, u32 size, void *p, u64 *t, u32 n) { record(15, pc, 0, size, p, t, n); }
extern int leaf_return(int) __asm__("leaf");
static u64 number(const char *s) { u64 n = 0; while (*s) n = 10 * n + (u64)(*s++ - '0'); return n; }
#ifdef __x86_64__
static long sys(long nr, long a, const void *b, u64 c) {
	__asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return nr; }
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
#else
static long sys(long nr, long a, const void *b, u64 c) { return nr + a + (long)b + (long)c; }
__asm__(".globl _start\n_start: mov x0, sp\n bl run\n");
#endif
/* argv: what, capacity in words, pid or mode, flags, descriptor or loops */
void run(u64 *stack) {
	const char **argv = (const char **)(stack + 1);
	struct thing t = { -2, 9, GREEN, 1, 0640, 0xcc0, { 0x1122, 2 }, 0, -3 };
	struct pt_regs regs = { number(argv[3]), 0, 0 };
	struct open_how how = { number(argv[4]), number(argv[3]), number(argv[5]) };
	room = number(argv[2]);
	on = 1;
	switch (argv[1][0]) {
	/* The tail of ENABLE: a return whose entry is not in the buffer. */
	case 't': __sanitizer_cov_trace_ret((u64)leaf_return, 4, (void *)&sink, 0, 0); tour(&t, (void *)0x1000); break;
	case 'g': __x64_sys_getpid(&regs); break;
	case 'o': do_sys_openat2(-100, (const char *)0x20660c, &how); break;
	default: for (u64 i = 0; i < number(argv[5]); i++) __x64_sys_getpid(&regs); }
	on = 0;
	sys(1, 1, words, 8 * (1 + words[0])); sys(1, 1, &dropped, 8); sys(231, 0, 0, 0); }
"""
)

TARGETS = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


@dataclass(frozen=True)
class Program:
    """A linked program with its System.map, in a directory laid out as that of a kernel product."""

    folder: Path

    def run(self, *argv: object) -> tuple[bytes, int]:
        """The words that it recorded, and how many records it dropped."""
        done = subprocess.run([self.folder / "vmlinux", *map(str, argv)], check=True, stdout=subprocess.PIPE)
        return done.stdout[:-8], struct.unpack("<Q", done.stdout[-8:])[0]


def build(compiler: Path, folder: Path, arch: str, *flags: str) -> Program:
    folder.mkdir(parents=True, exist_ok=True)
    common = [compiler, f"--target={TARGETS[arch]}", "-O2", "-g", "-ffreestanding", "-fno-pic", "-fno-stack-protector"]
    (folder / "program.c").write_text(SOURCE)
    (folder / "other.c").write_text(OTHER)
    (folder / "runtime.c").write_text(RUNTIME)
    pass_flags = ["-fsanitize-coverage=dataflow-args,dataflow-ret", *flags]
    for name, more in (("program", pass_flags), ("other", pass_flags), ("runtime", [])):
        made = [*common, *more, "-c", folder / f"{name}.c", "-o", folder / f"{name}.o"]
        subprocess.run(made, check=True, cwd=folder)
    link = [*common[:2], "-nostdlib", "-static", "-fuse-ld=lld", "-o", folder / "vmlinux"]
    subprocess.run([*link, *(folder / f"{name}.o" for name in ("program", "other", "runtime"))], check=True)
    write_map(folder)
    return Program(folder)


def write_map(folder: Path) -> None:
    linked = image.vmlinux(folder / "vmlinux")
    text = next(s for s in linked.sections if s.name == ".text")
    lines = [f"{address:x} T {name}" for address, _size, name in linked.functions]
    marks = [f"{text.address:x} T _stext", f"{text.address + len(text.data):x} T _etext"]
    (folder / "System.map").write_text("\n".join([*marks, *sorted(lines)]) + "\n")


@pytest.fixture(scope="module")
def program(plugin_19: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build(plugin_19 / "bin" / "clang", tmp_path_factory.mktemp("program"), "x86_64")


@pytest.fixture(scope="module")
def arm64(plugin_19: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build(plugin_19 / "bin" / "clang", tmp_path_factory.mktemp("arm64"), "arm64")


def kernel_of(made: Program) -> sites.Kernel:
    return sites.load(made.folder / "vmlinux", symbols.read(made.folder / "System.map"))


# Words of the buffer that is too small for a standard run's loops.
SMALL = 40


def write_capture(
    made: Program,
    folder: Path,
    name: str,
    recorded: tuple[bytes, int],
    plan: dict[str, str],
    facts: dict[str, str],
    moved: int = 0,
) -> None:
    """A capture as guest.guests writes it; `moved` is the KASLR shift that it pretends."""
    words = np.frombuffer(recorded[0], dtype="<u8").copy()
    table = symbols.read(made.folder / "System.map")
    position = 1
    while moved and position < len(words):
        words[position + 1] += np.uint64(moved)
        position += 3 + int(words[position] >> 32)
    described = {
        "layout": "kit-1",
        "capacity": SMALL if name == "overflow-small" and len(words) <= SMALL else 1 << 16,
        "info": {"version": 1, "flags": 3, "dropped": recorded[1]},
        "plan": plan,
        "facts": facts,
        "stext": f"{table.stext + moved:#x}",
        "modules": {},
        "arch": "x86_64",
        "kernel": "k",
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.words").write_bytes(words.tobytes())
    (folder / f"{name}.json").write_text(json.dumps(described))


THING = "low=-2, high=9, colour=GREEN, set=true, mode=0640, gfp_flags=0xcc0, inner=0x1122..., next=NULL, small=-3"
GOLDEN = f"""\
leaf(...) = 0  (return without an entry)  [also leaf_alias]
tour(t={{{THING}}}, o=0x1000)
  no_parameter() = 40
    leaf(x=40) = 40  [also leaf_alias]
  fact(n=3) = 6
  no_number(t={{{THING}}})
    no_value(x=7)
      leaf(x=7) = 50  [also leaf_alias]
  lost(t={{{THING}}}, c=120) = -ENOENT
  lost(t=NULL, c=1) = -ENOENT
  found(t={{{THING}}}, o=0x1000, b=true, e=GREEN) = STACK {{{THING}}}
  failing(big=2, mode=0640, open_flags=0x8241) = -ENOENT
  failing(big=70000, mode=00, open_flags=0x0) = -70000
  removed(used=3, unused=<removed>)
  pair(in={{a=1, b=2}}) = {{a=33991, b=1}}
  twin(a=33989, b=<removed>)
  other(x=5) = 0
    twin(only=-113) = -113
"""


def tour(made: Program, folder: Path, moved: int = 0) -> listing.Shown:
    write_capture(made, folder, "tour", made.run("tour", 60000, 0, 0, 0), {}, {}, moved)
    return listing.prepare(folder / "tour.json", made.folder)


@pytest.mark.parametrize("moved", [0, 0x2100_0000])
def test_golden_tree(moved: int, program: Program, tmp_path: Path) -> None:
    text = "\n".join(listing.text(tour(program, tmp_path, moved))) + "\n"
    assert re.sub(r"0x7ff[0-9a-f]{9}", "STACK", text) == GOLDEN


def test_only_one_function_and_what_it_calls(program: Program, tmp_path: Path) -> None:
    shown = tour(program, tmp_path)
    assert list(listing.text(shown, "no_value")) == ["no_value(x=7)", "  leaf(x=7) = 50  [also leaf_alias]"]
    assert [line.split("(")[0].strip() for line in listing.text(shown, "leaf_alias")] == ["leaf"] * 3
    assert [line.split("(")[0].strip() for line in listing.text(shown, "twin")] == ["twin"] * 2
    with pytest.raises(UserError, match=r"no record of a function no_valu \(did you mean no_value\?\)"):
        list(listing.text(shown, "no_valu"))


def test_json_has_one_object_per_call(program: Program, tmp_path: Path) -> None:
    shown = tour(program, tmp_path)
    found = [json.loads(json.dumps(one)) for one in listing.objects(shown)]
    assert [(o["function"], o["depth"]) for o in found] == [
        (listing.names(shown, c.pc)[0], c.depth) for c in shown.calls
    ]
    leaf, _tour, bare = found[:3]
    assert (leaf["entry"], leaf["exit"], leaf["aliases"]) == ("missing", "recorded", ["leaf_alias"])
    assert (bare["entry"], bare["exit"], bare["arguments"]) == ("none", "recorded", [])
    by_name = {o["function"]: o for o in found}
    assert (by_name["no_value"]["exit"], by_name["no_value"]["returned"]) == ("none", None)
    first, second = by_name["removed"]["arguments"]
    assert (first["name"], first["type"], first["size"], first["values"]) == ("used", "int", 4, ["0x3"])
    assert (first["text"], second["text"], second["size"]) == ("3", "<removed>", 0)
    (argument,) = by_name["pair"]["arguments"]
    assert argument["fields"] == [{"offset": 0, "size": 8, "name": "a"}, {"offset": 8, "size": 8, "name": "b"}]
    records = [a["record"] for o in found for a in (*o["arguments"], *([o["returned"]] if o["returned"] else []))]
    assert sorted(records) == list(range(len(shown.capture.records())))


def test_dropped_records_are_said(program: Program, tmp_path: Path) -> None:
    words, dropped = program.run("tour", 40, 0, 0, 0)
    assert dropped > 0
    write_capture(program, tmp_path, "tour", (words, dropped), {}, {})
    lines = list(listing.text(listing.prepare(tmp_path / "tour.words", program.folder)))
    assert lines[-1] == f"({dropped} records did not fit into the buffer and were dropped)"
    assert any("?  (no return recorded)" in line for line in lines)


def test_an_empty_capture_says_so(program: Program, tmp_path: Path) -> None:
    write_capture(program, tmp_path, "tour", (bytes(8), 0), {}, {})
    assert list(listing.text(listing.prepare(tmp_path / "tour.json", program.folder))) == ["(nothing was recorded)"]


@pytest.mark.parametrize("which", ["program", "arm64"])
def test_the_code_and_the_debug_information_agree(which: str, request: pytest.FixtureRequest) -> None:
    """Every table that the code passes is that of the type, for both architectures."""
    made: Program = request.getfixturevalue(which)
    kernel, types = kernel_of(made), Types(made.folder / "vmlinux")
    compared = 0
    for function, code in sites.all_codes(kernel):
        known = types.function(function)
        assert known is not None, kernel.symbols.label(function)
        assert known.name in kernel.symbols.at(function)
        assert code.has_parameters == bool(known.parameters)
        for site in code.sites:
            parameter = known.returned if site.kind == RETURN else known.parameters[site.index]
            assert parameter is not None
            assert site.pc == function
            if site.size:
                fields = None if parameter.fields is None else tuple((f.offset, f.size) for f in parameter.fields)
                assert site.fields == fields, (known.name, parameter)
                # Objects are passed by their address wherever they are; scalars through a copy in the own frame.
                assert site.fields is not None or site.slot is not None or known.name == "found"
                compared += 1
    assert compared >= 30
    names = {kernel.symbols.label(a) for a in kernel.instrumented().tolist()}
    assert {"tour", "other", "do_sys_openat2", "no_parameter"} <= names
    assert not names & {"run", "record", "load", "_start"}


def test_static_functions_of_one_name_are_told_apart(program: Program) -> None:
    table, types = symbols.read(program.folder / "System.map"), Types(program.folder / "vmlinux")
    both = [types.function(int(a)) for a, n in zip(table.addresses, table.names, strict=True) if "twin" in n]
    assert sorted(len(f.parameters) for f in both if f is not None) == [1, 2]


def test_bit_fields_and_flexible_arrays(program: Program) -> None:
    types, table = Types(program.folder / "vmlinux"), symbols.read(program.folder / "System.map")
    known = types.function(table.address("no_number") or 0)
    assert known is not None
    fields = known.parameters[0].fields or ()
    assert [(f.name, f.offset, f.size, f.bits) for f in fields[:3]] == [
        ("low", 0, 1, (0, 3)),
        ("high", 0, 1, (3, 5)),
        ("colour", 4, 4, None),
    ]
    assert "list" not in [f.name for f in fields]
    assert types.function(0x1234) is None


def test_a_kernel_without_debug_information(program: Program, tmp_path: Path) -> None:
    linked = tmp_path / "vmlinux"
    subprocess.run(["objcopy", "--strip-debug", program.folder / "vmlinux", linked], check=True)
    with pytest.raises(UserError, match="has no debug information"):
        Types(linked)
    assert len(sites.load(linked, symbols.read(program.folder / "System.map")).instrumented()) > 10


def test_a_system_map_of_another_kernel(program: Program, tmp_path: Path) -> None:
    lines = (program.folder / "System.map").read_text().splitlines()
    moved = [f"{int(line.split()[0], 16) + 16:x} {line.split(maxsplit=1)[1]}" for line in lines]
    (tmp_path / "System.map").write_text("\n".join(moved) + "\n")
    with pytest.raises(UserError, match=r"has __sanitizer_cov_trace_args at 0x\w+, its System\.map at 0x"):
        sites.load(program.folder / "vmlinux", symbols.read(tmp_path / "System.map"))


# --- the checks of a standard run ---

PID, FLAGS, MODE, FD, LOOPS, AGAIN = "4242", "0x41", "01640", "17", "20", "2"
LARGE = 0x8000
OPEN = {"flags": FLAGS, "mode": MODE, "fd": FD}
SAW = {"fd": FD, "path_address": "0x20660c", "closed": "0"}


@dataclass
class Run:
    """A standard run, as the workloads leave it: name -> (words, dropped), plan, facts."""

    recorded: dict[str, tuple[bytes, int]]
    plans: dict[str, dict[str, str]]
    facts: dict[str, dict[str, str]]

    def write(self, made: Program, folder: Path) -> None:
        for name, recorded in self.recorded.items():
            write_capture(made, folder, name, recorded, self.plans[name], self.facts[name])


@pytest.fixture
def run(program: Program) -> Run:
    return standard(program)


def standard(program: Program) -> Run:
    """A standard run of a program that can do what the workloads do."""
    opened = program.run("open", 60000, int(MODE, 8), int(FLAGS, 0) | LARGE, int(FD))
    small = program.run("loop", SMALL, PID, 0, LOOPS)
    recorded = {
        "getpid": program.run("getpid", 60000, PID, 0, 0),
        "open-close": opened,
        "fork": opened,
        "overflow-big": program.run("loop", 60000, PID, 0, LOOPS),
        "overflow-small": small,
        "overflow-resumed": (program.run("loop", 60000, PID, 0, AGAIN)[0], small[1]),
    }
    overflow = {"pid": PID, "loops": LOOPS, "again": AGAIN}
    plans = {name: dict(overflow) for name in recorded} | {
        "getpid": {"pid": PID},
        "open-close": dict(OPEN),
        "fork": OPEN | {"child_mode": "01111"},
    }
    facts: dict[str, dict[str, str]] = {name: {"pid": PID} for name in recorded} | {
        "open-close": dict(SAW),
        "fork": SAW | {"child_mode": "01111", "child_fd": "3"},
    }
    return Run(recorded, plans, facts)


def wrong(facts: list[Fact]) -> list[str]:
    return [fact.name for fact in facts if not fact.ok]


def test_a_run_as_it_should_be(run: Run, program: Program, tmp_path: Path) -> None:
    run.write(program, tmp_path)
    facts = checks.examine(tmp_path, program.folder)
    assert wrong(facts) == []
    assert len(facts) > 40
    assert checks.to_json(facts)["ok"] is True
    assert json.loads(json.dumps(checks.to_json(facts)))["checks"][0].keys() == {"name", "ok", "asked", "got"}


def _plan(name: str, key: str, value: str) -> object:
    return lambda run: run.plans[name].update({key: value})


def _fact(name: str, key: str, value: str) -> object:
    return lambda run: run.facts[name].update({key: value})


def _lose(name: str, key: str) -> object:
    return lambda run: run.facts[name].pop(key)


def _drop(name: str, dropped: int) -> object:
    return lambda run: run.recorded.update({name: (run.recorded[name][0], dropped)})


def _word(name: str, at: int, change: int) -> object:
    def damage(run: Run) -> None:
        words = np.frombuffer(run.recorded[name][0], dtype="<u8").copy()
        words[at] ^= np.uint64(change)
        run.recorded[name] = (words.tobytes(), run.recorded[name][1])

    return damage


def _empty(name: str) -> object:
    return lambda run: run.recorded.update({name: (bytes(8), run.recorded[name][1])})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_plan("getpid", "pid", "4243"), "getpid: __x64_sys_getpid returned the drawn pid"),
        (_fact("getpid", "pid", "1"), "getpid: the workload's pid"),
        (_lose("getpid", "pid"), "getpid"),
        (_drop("getpid", 1), "getpid: dropped"),
        (_empty("getpid"), "getpid: records"),
        (_plan("open-close", "flags", "0x42"), "open-close: do_sys_openat2 got the drawn flags | O_LARGEFILE"),
        (_plan("open-close", "mode", "0600"), "open-close: do_sys_openat2 got the drawn mode"),
        (_fact("open-close", "fd", "16"), "open-close: do_sys_openat2 returned the descriptor"),
        (_fact("open-close", "closed", "-9"), "open-close: close returned"),
        (_fact("open-close", "path_address", "0x20"), "open-close: do_sys_openat2 got the path's address"),
        (_lose("open-close", "fd"), "open_close"),
        (_fact("fork", "child_mode", MODE), "fork: the child did open with its drawn mode"),
        (_fact("fork", "child_fd", "-2"), "fork: the child did open with its drawn mode"),
        (_plan("fork", "child_mode", MODE), "fork: the child's mode is not in the parent's records"),
        (_empty("fork"), "fork: the child's mode is not in the parent's records"),
        (_drop("fork", 1), "fork: dropped"),
        (_drop("overflow-big", 1), "overflow: dropped with the big buffer"),
        (_drop("overflow-small", 1), "overflow: records + dropped of all loops"),
        (_drop("overflow-small", 0), "overflow: the small buffer overflows"),
        (_empty("overflow-resumed"), "overflow: after zeroing word 0 it records on"),
        (_drop("overflow-resumed", 1), "overflow: dropped did not grow while there was room"),
        (_word("getpid", 2, 1), "getpid: every pc is an instrumented function's start"),
        (_word("getpid", 3, 1 << 56), "getpid: value counts equal vmlinux's tables"),
        (_word("getpid", 3, 1 << 48), "getpid: value counts equal vmlinux's tables"),
        (_word("getpid", 1, 2), "getpid: the sequence steps by 1"),
        (_word("getpid", 1, 1 << 60), "getpid: every word is as the layout says"),
    ],
)
def test_each_fact_can_fail(change: object, named: str, run: Run, program: Program, tmp_path: Path) -> None:
    change(run)  # type: ignore[operator]
    run.write(program, tmp_path)
    assert named in wrong(checks.examine(tmp_path, program.folder))


def test_with_few_objects_instrumented_all_may_fit(run: Run, program: Program, tmp_path: Path) -> None:
    run.recorded["overflow-small"] = run.recorded["overflow-big"]
    run.recorded["overflow-resumed"] = (run.recorded["overflow-resumed"][0], 0)
    run.write(program, tmp_path)
    assert wrong(checks.examine(tmp_path, program.folder)) == []
    run.recorded["overflow-small"] = (run.recorded["overflow-big"][0], 1)
    run.write(program, tmp_path)
    assert "overflow: the small buffer overflows" in wrong(checks.examine(tmp_path, program.folder))


def test_timers_that_are_set_after_an_interrupt_are_no_loss(run: Run, program: Program, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    shutil.copytree(program.folder, kernel)
    (kernel / "config").write_text("CONFIG_HRTIMER_REARM_DEFERRED=y\n")
    named = "overflow: records + dropped of all loops"
    words, dropped = run.recorded["overflow-small"]
    for more, fails in ((0, False), (checks._FEW, False), (checks._FEW + 1, True), (-1, True)):
        run.recorded["overflow-small"] = (words, dropped + more)
        run.write(program, tmp_path / "captures")
        assert (named in wrong(checks.examine(tmp_path / "captures", kernel))) == fails, more
    # A kernel without them has no such excuse.
    (kernel / "config").write_text("# CONFIG_HRTIMER_REARM_DEFERRED is not set\n")
    run.recorded["overflow-small"] = (words, dropped + 1)
    run.write(program, tmp_path / "captures")
    assert named in wrong(checks.examine(tmp_path / "captures", kernel))


@pytest.mark.parametrize("name", checks.WORKLOADS)
def test_a_capture_that_is_missing(name: str, run: Run, program: Program, tmp_path: Path) -> None:
    run.write(program, tmp_path)
    for suffix in (".words", ".json"):
        (tmp_path / name).with_suffix(suffix).unlink()
    assert f"{name}: captured" in wrong(checks.examine(tmp_path, program.folder))


def test_no_facts_are_no_success(program: Program, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no capture in"):
        checks.examine(tmp_path, program.folder)
    assert checks.to_json([])["ok"] is False


def test_no_device() -> None:
    checks.require_device({"device": "yes"})
    for hello in ({"device": "no"}, {}):
        with pytest.raises(UnderTest, match="this kernel has no kcov_dataflow device"):
            checks.require_device(hello)


# --- modules ---


def module_of(made: Program, folder: Path, base: int) -> dict[str, dict[str, int]]:
    """The second file once more, as a loaded module: NAME.ko and where its sections are."""
    (folder / "modules" / "sub").mkdir(parents=True)
    for name in ("vmlinux", "System.map"):
        (folder / name).write_bytes((made.folder / name).read_bytes())
    (folder / "modules" / "sub" / "a-module.ko").write_bytes((made.folder / "other.o").read_bytes())
    return {"a_module": {".text": base, ".rodata": base + 0x4000, ".init.text": 0}, "built_in": {".text": 0x77}}


@pytest.mark.parametrize("which", ["program", "arm64"])
def test_modules_are_read_where_they_were_loaded(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made: Program = request.getfixturevalue(which)
    moved, base = 0x2100_0000, 0x60_0000
    loaded = module_of(made, tmp_path, base + moved)
    table = symbols.read(tmp_path / "System.map")
    images = symbols.modules(tmp_path / "modules", loaded, table, table.stext + moved)
    kernel = sites.load(tmp_path / "vmlinux", table, images)
    files = symbols.module_files(tmp_path / "modules", loaded, table, table.stext + moved)
    types = Types(tmp_path / "vmlinux", files)
    inside = sorted(kernel.symbols.modules)
    assert [kernel.symbols.label(a) for a in inside] == ["other [a_module]", "twin [a_module]"]
    assert set(inside) <= set(kernel.instrumented().tolist())
    for address in inside:
        known = types.function(address)
        assert known is not None
        assert kernel.symbols.at(address) == (known.name,)
        assert [s.pc for s in kernel.sites(address)] == [address] * (len(known.parameters) + 1)
    other, twin = inside
    assert twin in {target for target, _height in kernel.code(other).callees}


def test_a_module_whose_file_is_gone_has_no_names(program: Program, tmp_path: Path) -> None:
    table = symbols.read(program.folder / "System.map")
    assert symbols.modules(tmp_path, {"m": {".text": 5}}, table, None) == ()


@pytest.mark.parametrize("layout", ["K1", "K2", "K3", "K4"])
def test_the_same_calls_in_each_layout_of_the_rfc(layout: str, program: Program, tmp_path: Path) -> None:
    """What the program wrote, as a kernel of the RFC would have written it: the tree is the same."""
    wanted = list(listing.text(tour(program, tmp_path / "ours")))
    moved = 0x2100_0000
    one = tour(program, tmp_path / "ours", moved).capture
    table = one.records()
    kernel = kernel_of(program)
    rows = []
    for i in range(len(table)):
        kind, pc, index = int(table.kind[i]), int(table.pc[i]), int(table.index[i])
        size = kernel.code(pc - moved).of(kind, index)[0].size or 0
        rows.append(
            Row(kind, pc - (moved if layout == "K4" else 0), tuple(table.values(i)), index, size, int(table.pointer[i]))
        )
    (tmp_path / "tour.words").write_bytes(np.array(encode(rows, layout), dtype="<u8").tobytes())
    described = json.loads((tmp_path / "ours" / "tour.json").read_text()) | {"layout": layout, "info": None}
    (tmp_path / "tour.json").write_text(json.dumps(described))
    text = list(listing.text(listing.prepare(tmp_path / "tour.json", program.folder)))
    stack = re.compile(r"0x7ff[0-9a-f]{9}")
    assert [stack.sub("", line) for line in text] == [stack.sub("", line) for line in wanted]
