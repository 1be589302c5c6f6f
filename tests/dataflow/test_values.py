"""The program that stands in for a kernel, with values in registers (generation L3): inlined calls are shown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from core.errors import UnderTest
from dataflow import checks, image, listing, sites, symbols
from tests.dataflow import test_program as by_address
from tests.dataflow.test_program import Program, Run, write_capture
from tests.plugins import BY_VALUE, NEEDS_LLVM

pytestmark = NEEDS_LLVM

SOURCE = (
    by_address.HEADER
    + r"""
extern volatile int sink;
static inline int small(int n, struct inner *in) { sink += n; return n + (int)in->b; }
static inline int through(long k) { struct inner in = { 1, 30 }; __asm__("" : "+m"(in)); return small((int)k, &in); }
quiet int leaf(int x) { return x + sink; }
quiet void no_value(umode_t mode) { sink += leaf(mode); }
quiet struct inner pair(struct inner in) { struct inner out = { in.b + (u64)sink, in.a }; return out; }
quiet void *lost(struct thing *t) { sink += t->small; return (void *)-2L; }
quiet int do_sys_openat2(int dfd, const char *filename, struct open_how *how) {
	no_value((umode_t)how->mode); return (int)how->resolve; }
quiet long __do_sys_getpid(const struct pt_regs *unused) { return (long)unused->di; }
long __x64_sys_getpid(const struct pt_regs *regs) __attribute__((alias("__do_sys_getpid")));
void tour(struct thing *t, struct opaque *o) {
	sink += through(4) + leaf(9); no_value(0640); lost(t); struct inner i = { 1, 2 }; pair(i); }
"""
)
_CALLBACKS = """
void __sanitizer_cov_trace_args(u32 i, u32 size, u64 v, u64 *t, u32 n) {
	record(14, (u64)__builtin_return_address(0) - 1, i, size, v, t, n); }
void __sanitizer_cov_trace_ret(u32 size, u64 v, u64 *t, u32 n) {
	record(15, (u64)__builtin_return_address(0) - 1, 0, size, v, t, n); }
"""


def runtime() -> str:
    """The other test's, with the callbacks and the records of generation L3."""
    text = by_address.RUNTIME
    begin, end = text.index("void __sanitizer_cov_trace_args("), text.index("extern int leaf_return(")
    text = text[:begin] + _CALLBACKS + text[end:]
    for old, new in (
        ("void *p, u64 *table", "u64 v, u64 *table"),
        ("address = (u64)p;", "address = n ? v : 0; char *p = (char *)v;"),
        ("w[3] = bad || !size ? 0 : load(p, size);", "w[3] = v;"),
        ("__sanitizer_cov_trace_ret((u64)leaf_return, 4, (void *)&sink, 0, 0); ", ""),
        ("(char *)p + table", "p + table"),
    ):
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def program(plugin_19_l3: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("values")
    common = [plugin_19_l3 / "bin" / "clang", "-O2", "-g", "-ffreestanding", "-fno-pic", "-fno-stack-protector"]
    for name, text, flags in (("program", SOURCE, [*BY_VALUE, "-std=gnu2x"]), ("runtime", runtime(), [])):
        (folder / f"{name}.c").write_text(text)
        subprocess.run([*common, *flags, "-c", f"{name}.c", "-o", f"{name}.o"], check=True, cwd=folder)
    link = ["-nostdlib", "-static", "-fuse-ld=lld", "program.o", "runtime.o", "-o", "vmlinux"]
    subprocess.run([common[0], *link], check=True, cwd=folder)
    by_address.write_map(folder)
    return Program(folder)


def relabel(path: Path, layout: str) -> None:
    """Say of a capture that it is of this layout."""
    told = json.loads(path.read_text()) | {"layout": layout}
    told["info"]["version"] = 2 if layout == "kit-2" else 1
    path.write_text(json.dumps(told))


def captured(program: Program, folder: Path, moved: int = 0, layout: str = "kit-2") -> Path:
    write_capture(program, folder, "tour", program.run("tour", 60000, 0, 0, 0), {}, {}, moved)
    path = folder / "tour.json"
    relabel(path, layout)
    return path


THING = by_address.THING
GOLDEN = f"""\
tour(t={{{THING}}}, o=0x1000)
  through(k=4)  [inlined]
  small(n=4, in={{a=1, b=30}})  [inlined through through]
  leaf(x=9) = 13
  no_value(mode=0640)
    leaf(x=416) = 467
  lost(t={{{THING}}}) = -ENOENT
  pair(in={{a=1, b=2}}) = {{a=517, b=1}}
"""


@pytest.mark.parametrize("moved", [0, 0x2100_0000])
def test_golden_tree(moved: int, program: Program, tmp_path: Path) -> None:
    text = "\n".join(listing.text(listing.prepare(captured(program, tmp_path, moved), program.folder))) + "\n"
    assert text == GOLDEN


def test_json_says_what_is_inlined(program: Program, tmp_path: Path) -> None:
    shown = listing.prepare(captured(program, tmp_path), program.folder)
    found = {one["function"]: one for one in listing.objects(shown)}
    assert found["small"]["inlined"] == ["through", "small"]
    assert [a["text"] for a in found["small"]["arguments"]] == ["4", "{a=1, b=30}"]
    assert found["leaf"]["inlined"] == []
    assert [line.split("(")[0].strip() for line in listing.text(shown, "small")] == ["small"]


def test_it_is_not_taken_for_a_layout_of_addresses(program: Program, tmp_path: Path) -> None:
    with pytest.raises(UnderTest, match=r"not the start of a function: this is not layout kit-1"):
        listing.prepare(captured(program, tmp_path, layout="kit-1"), program.folder)


def test_every_call_of_a_callback_is_read(program: Program) -> None:
    table = symbols.read(program.folder / "System.map")
    kernel = sites.load(program.folder / "vmlinux", table, by_value=True)
    assert image.vmlinux(program.folder / "vmlinux").arch == "x86_64"
    tour = table.address("tour")
    assert tour is not None
    found = [(s.kind, s.index, s.size, s.fields is not None) for s in kernel.sites(tour)]
    assert found == [(14, 0, 48, True), (14, 1, 8, False), (14, 0, 8, False), (14, 0, 4, False), (14, 1, 16, True),
                     (15, 0, 0, False)]  # fmt: skip


def examined(program: Program, folder: Path, run: Run) -> dict[str, bool]:
    run.write(program, folder)
    for path in folder.glob("*.json"):
        relabel(path, "kit-2")
    return {fact.name: fact.ok for fact in checks.examine(folder, program.folder)}


def test_the_checks_of_a_standard_run_hold(program: Program, tmp_path: Path) -> None:
    held = examined(program, tmp_path, by_address.standard(program))
    assert [name for name, ok in held.items() if not ok] == []
    assert len(held) > 40


@pytest.mark.parametrize(
    ("at", "change", "named"),
    [
        (2, 1, "value counts equal vmlinux's tables"),  # one byte beside the call: the code passes nothing there
        (2, 1 << 20, "every pc is in an instrumented function"),
        (1, 1, "the sequence steps by 1"),
        (3, 1 << 48, "value counts equal vmlinux's tables"),  # another size
    ],
)
def test_the_checks_can_fail(at: int, change: int, named: str, program: Program, tmp_path: Path) -> None:
    run = by_address.standard(program)
    words = np.frombuffer(run.recorded["open-close"][0], dtype="<u8").copy()
    words[at] ^= np.uint64(change)
    run.recorded["open-close"] = (words.tobytes(), 0)
    held = examined(program, tmp_path, run)
    wrong = [name for name, ok in held.items() if not ok]
    assert f"open-close: {named}" in wrong
