"""Sites: constants before a callback's call are found in machine code of both architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.buffers import ENTRY, RETURN
from core.errors import UnderTest, UserError
from dataflow import sites, symbols
from dataflow.image import Image, Section
from dataflow.sites import Kernel, Site

TEXT = 0xFFFF_FFFF_8100_0000
TABLE = 0xFFFF_FFFF_8200_0010
ARGS, RET = TEXT + 0x1000, TEXT + 0x1010
MAP = f"{TEXT:x} T _stext\n{TEXT:x} T first\n{TEXT + 0x100:x} t second\n{ARGS:x} T __sanitizer_cov_trace_args\n"
MAP += f"{RET:x} T __sanitizer_cov_trace_ret\n{RET + 0x10:x} T _etext\n"
LOW = (TEXT & 0xFFFFFFFF).to_bytes(4, "little")
PC = b"\x48\xc7\xc7" + LOW  # mov rdi, TEXT


def call(at: int, target: int, opcode: int = 0xE8) -> bytes:
    return bytes([opcode]) + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


def kernel(tmp_path: Path, arch: str, code: bytes, table: bytes = b"") -> Kernel:
    """A kernel image that is only some code and one table."""
    (tmp_path / "System.map").write_text(MAP)
    text = Section(".text", TEXT, np.frombuffer(code.ljust(0x1100, b"\x00"), dtype=np.uint8), True)
    data = Section(".rodata", TABLE, np.frombuffer(table.ljust(64, b"\x00"), dtype=np.uint8), False)
    return Kernel([Image("vmlinux", arch, (text, data), ())], symbols.read(tmp_path / "System.map"))


def x86_code() -> bytes:
    """sub rsp,24; rdi=TEXT; esi=2; edx=24; rcx=rdi; r8=TABLE; r9d=1; call args; a scalar's return from rsp+12."""
    code = b"\x48\x83\xec\x18" + PC + b"\xbe\x02\x00\x00\x00" + b"\xba\x18\x00\x00\x00" + b"\x48\x89\xf9"
    code += b"\x49\xc7\xc0" + (TABLE & 0xFFFFFFFF).to_bytes(4, "little") + b"\x41\xb9\x01\x00\x00\x00"
    code += call(TEXT + len(code), ARGS)
    code += PC + b"\xbe\x04\x00\x00\x00" + b"\x48\x8d\x54\x24\x0c" + b"\x31\xc9" + b"\x45\x31\xc0"
    return code + call(TEXT + len(code), RET)


def test_x86_calls_and_tables(tmp_path: Path) -> None:
    table = (8).to_bytes(8, "little") + (4).to_bytes(8, "little")
    found = kernel(tmp_path, "x86_64", x86_code(), table).sites(TEXT)
    assert [(s.kind, s.pc, s.index, s.size, s.fields, s.slot) for s in found] == [
        (ENTRY, TEXT, 2, 24, ((8, 4),), None),
        (RETURN, TEXT, 0, 4, None, -12),
    ]
    assert [s.values for s in found] == [1, 1]


def test_a_call_forgets_what_callees_may_change(tmp_path: Path) -> None:
    code = PC + b"\x41\xb8\x01\x00\x00\x00"  # mov r8d,1
    code += call(TEXT + len(code), TEXT + 0x100)
    code += call(TEXT + len(code), RET)
    with pytest.raises(UnderTest, match="not constants"):
        kernel(tmp_path, "x86_64", code).sites(TEXT)


def test_constants_survive_in_kept_registers(tmp_path: Path) -> None:
    code = b"\xbb\x00\x00\x00\x00"  # mov ebx,0
    code += call(TEXT + len(code), TEXT + 0x100)
    code += PC + b"\x41\x89\xd8"  # mov r8d,ebx
    code += call(TEXT + len(code), RET)
    made = kernel(tmp_path, "x86_64", code)
    assert [(s.size, s.fields) for s in made.sites(TEXT)] == [(None, None)]
    assert made.code(TEXT).callees == {(TEXT + 0x100, -8)}


def test_what_differs_between_two_ways_is_not_known(tmp_path: Path) -> None:
    """test esi,esi; jne over; mov r8d,1; over: call ret. r8 is 0 on one way and 1 on the other."""
    code = PC + b"\x45\x31\xc0" + b"\x85\xf6" + b"\x75\x06" + b"\x41\xb8\x01\x00\x00\x00"
    code += call(TEXT + len(code), RET)
    with pytest.raises(UnderTest, match="not constants"):
        kernel(tmp_path, "x86_64", code).sites(TEXT)


def test_what_agrees_on_two_ways_is_known(tmp_path: Path) -> None:
    """The constants are before a branch, and the return is after it: a tail shared by both."""
    code = PC + b"\xbe\x04\x00\x00\x00" + b"\x45\x31\xc0" + b"\x85\xc0" + b"\x75\x02" + b"\x31\xc9"
    code += call(TEXT + len(code), RET)
    assert [(s.pc, s.size) for s in kernel(tmp_path, "x86_64", code).sites(TEXT)] == [(TEXT, 4)]


def test_half_a_register_is_not_the_register(tmp_path: Path) -> None:
    code = PC + b"\x45\x31\xc0" + b"\x41\xb0\x01"  # xor r8d,r8d; mov r8b,1
    code += call(TEXT + len(code), RET)
    with pytest.raises(UnderTest, match="not constants"):
        kernel(tmp_path, "x86_64", code).sites(TEXT)


def test_arm64_calls(tmp_path: Path) -> None:
    """stp x29,x30,[sp,#-32]!; adrp x0,TEXT; mov w1,#8; add x2,sp,#12; mov w4,wzr; bl ret"""
    page = 0x90000000  # adrp x0, this page
    code = b"".join(w.to_bytes(4, "little") for w in (0xA9BE7BFD, page, 0x52800101, 0x910033E2, 0x2A1F03E4))
    code += (0x94000000 | (RET - TEXT - len(code)) // 4).to_bytes(4, "little")
    made = kernel(tmp_path, "arm64", code)
    (found,) = made.sites(TEXT)
    assert (found.kind, found.pc, found.size, found.fields, found.slot) == (RETURN, TEXT, 8, None, -20)
    assert made.instrumented().tolist() == [TEXT]


def test_instrumented_functions_are_those_that_call(tmp_path: Path) -> None:
    code = bytearray(x86_code().ljust(0x180, b"\x90"))
    code[0x120:0x125] = call(TEXT + 0x120, ARGS, 0xE9)
    assert kernel(tmp_path, "x86_64", bytes(code)).instrumented().tolist() == [TEXT, TEXT + 0x100]


def test_a_kernel_without_callbacks_has_no_instrumented_function(tmp_path: Path) -> None:
    made = kernel(tmp_path, "x86_64", x86_code())
    made.callbacks = {}
    assert made.instrumented().tolist() == []


def test_a_table_that_is_not_in_the_image(tmp_path: Path) -> None:
    code = PC + b"\xbe\x04\x00\x00\x00" + b"\xb9\x00\x00\x00\x00" + b"\x41\xb8\x02\x00\x00\x00"  # ecx=0; r8d=2
    code += call(TEXT + len(code), RET)
    with pytest.raises(UnderTest, match="code at 0x0"):
        kernel(tmp_path, "x86_64", code).sites(TEXT)


def test_an_address_without_code(tmp_path: Path) -> None:
    with pytest.raises(UnderTest, match="code at 0x1234"):
        kernel(tmp_path, "x86_64", x86_code()).code(0x1234)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no"), (b"", "not an ELF file"), (b"\x7fELF" + bytes(60), "ELF")]
)
def test_what_is_no_kernel(content: bytes | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text(MAP)
    if content is not None:
        (tmp_path / "vmlinux").write_bytes(content)
    with pytest.raises(UserError, match=said):
        sites.load(tmp_path / "vmlinux", symbols.read(tmp_path / "System.map"))


def test_a_site_compares_by_what_it_passes() -> None:
    one = Site(ENTRY, 1, 300, 4, None, None, 0)
    assert (one.recorded_index, one.values) == (255, 1)
