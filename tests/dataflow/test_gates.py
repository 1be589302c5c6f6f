"""Sites behind gates (generation G1): the code of a program that stands in for a kernel is read for its descriptors."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from core.errors import UnderTest
from dataflow import coverage, image, sites, symbols
from dataflow.coverage import Coverage
from dataflow.layouts import ENTRY, RETURN
from kernel import gates
from tests.dataflow import test_program as by_address
from tests.plugins import GATED, GATES, NEEDS_LLVM

pytestmark = NEEDS_LLVM

SOURCE = """
struct inner { unsigned char a; long b; };
struct inner *both(struct inner *p, struct inner v, short n) { p->b = v.a + n; return p; }
long many(long a, long b, long c, long d, long e, long f, long g, long h, long i) { return a+b+c+d+e+f+g+h+i; }
int plain(void) { return 7; }
"""
RUNTIME = """
void __sanitizer_cov_trace_args(void) {}
void __sanitizer_cov_trace_ret(void) {}
char __kcov_df_key;
__asm__(".globl _start, start_kernel\\n_start: start_kernel: ret");
"""
PAIRS = ((0, 1), (8, 8))


@pytest.fixture(scope="module")
def folder(plugin_19_g1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates")
    common = [plugin_19_g1 / "bin" / "clang", "-O2", "-g", "-ffreestanding", "-fno-pic"]
    for name, text, flags in (("program", SOURCE, [*GATED, *GATES]), ("runtime", RUNTIME, [])):
        (folder / f"{name}.c").write_text(text)
        subprocess.run([*common, *flags, "-c", f"{name}.c", "-o", f"{name}.o"], check=True, cwd=folder)
    link = ["-nostdlib", "-static", "-fuse-ld=lld", "program.o", "runtime.o", "-o", "vmlinux"]
    subprocess.run([common[0], *link], check=True, cwd=folder)
    by_address.write_map(folder)
    return folder


@pytest.fixture(scope="module")
def kernel(folder: Path) -> sites.Kernel:
    return sites.load(folder / "vmlinux", symbols.read(folder / "System.map"))


def told(kernel: sites.Kernel, name: str) -> list[tuple[int, bool, int, int | None, object]]:
    address = kernel.symbols.address(name)
    assert address is not None
    return sorted(
        (s.kind, s.pc == address, s.index, s.size, s.fields) for s in kernel.sites(address)
    )  # fmt: skip


def test_operands_of_a_descriptor(kernel: sites.Kernel) -> None:
    assert told(kernel, "both") == [
        (ENTRY, True, 0, 16, PAIRS),
        (ENTRY, True, 1, 16, PAIRS),
        (ENTRY, True, 2, 2, None),
        (RETURN, True, 0, 16, PAIRS),
    ]
    assert told(kernel, "plain") == [(RETURN, True, 0, 4, None)]


def test_what_is_reported_by_address_and_what_by_descriptor(kernel: sites.Kernel) -> None:
    assert told(kernel, "many") == [*((ENTRY, True, i, 8, None) for i in range(9)), (RETURN, True, 0, 8, None)]


def test_gated_functions_are_instrumented(kernel: sites.Kernel) -> None:
    found = set(kernel.instrumented().tolist())
    assert {kernel.symbols.address(name) for name in ("both", "many", "plain")} <= found


def test_a_descriptor_that_is_none_is_refused(kernel: sites.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    address = kernel.symbols.address("plain")
    assert address is not None
    fresh = sites.Kernel(kernel.images, kernel.symbols)
    monkeypatch.setattr(fresh, "_numbers", lambda _at, count: [0xDEAD << 32 | 70000] * count)
    with pytest.raises(UnderTest, match="is not a descriptor: it has 70000 operands of kind 0xdead"):
        fresh.sites(address)


# Entries as in __jump_table; of the three gates one is in init text.
TABLE = """
    .text
    .globl _start, start_kernel
    .type _start, @function
_start: start_kernel: one: nop
two: ret
    .section .init.text, "ax"
    .globl __init_begin, __init_end
__init_begin: three: nop
__init_end:
    .section .rodata, "a"
    .globl __start___kcov_df_table, __stop___kcov_df_table
__start___kcov_df_table:
    .irp gate, one, two, three
    .long \\gate - ., two - .
    .quad 0
    .endr
__stop___kcov_df_table:
"""


def test_gates_are_counted(folder: Path, plugin_19_g1: Path, tmp_path: Path) -> None:
    (tmp_path / "table.S").write_text(TABLE)
    made = [plugin_19_g1 / "bin" / "clang", "-nostdlib", "-static", "-fuse-ld=lld", "table.S", "-o", "vmlinux"]
    subprocess.run(made, check=True, cwd=tmp_path)
    linked = image.vmlinux(tmp_path / "vmlinux")
    named = {name: address for address, _size, name in linked.functions}
    assert image.gates(tmp_path / "vmlinux").tolist() == [named["_start"], named["_start"] + 1]
    assert not len(image.gates(folder / "vmlinux")), "it has no table between these marks"


def test_the_text_of_a_gate_is_found_in_the_image(plugin_19_g1: Path, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text('const char __kcov_df_gate_text[] = "1: nop"; void _start(void) {}')
    made = [plugin_19_g1 / "bin" / "clang", "-nostdlib", "-static", "-fuse-ld=lld", "x.c", "-o", "vmlinux"]
    subprocess.run(made, check=True, cwd=tmp_path)
    named = subprocess.run([plugin_19_g1 / "bin" / "llvm-nm", tmp_path / "vmlinux"], check=True, stdout=subprocess.PIPE)
    (tmp_path / "System.map").write_bytes(named.stdout)
    assert gates.text(tmp_path / "vmlinux", tmp_path / "System.map") == b"1: nop"
    assert gates.text_hash(tmp_path / "vmlinux", tmp_path / "System.map") == hashlib.sha256(b"1: nop").hexdigest()
    (tmp_path / "System.map").write_text("0000000000000000 T _start\n")
    assert gates.text_hash(tmp_path / "vmlinux", tmp_path / "System.map") is None


def test_what_reports_is_counted_once(folder: Path) -> None:
    # The runtime's own function passes on what it is given.
    assert coverage.of(folder) == Coverage(functions=4, arguments=12, returns=3, unknown=1)
