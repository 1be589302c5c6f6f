"""Sites: constants before a callback's call are found in machine code of both architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import UnderTest, UserError
from dataflow import symbols
from dataflow.sites import Kernel, Site
from tests.buffers import ENTRY, RETURN

TEXT = 0xFFFF_FFFF_8100_0000
TABLE = 0xFFFF_FFFF_8200_0010
ARGS, RET = TEXT + 0x1000, TEXT + 0x1010
MAP = f"{TEXT:x} T _stext\n{TEXT:x} T first\n{TEXT + 0x100:x} t second\n{ARGS:x} T __sanitizer_cov_trace_args\n"
MAP += f"{RET:x} T __sanitizer_cov_trace_ret\n{RET + 0x10:x} T _etext\n"


def call(at: int, target: int, opcode: int = 0xE8) -> bytes:
    return bytes([opcode]) + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


def kernel(tmp_path: Path, arch: str, code: bytes, table: bytes = b"") -> Kernel:
    """A kernel image that is only some code and one table."""
    (tmp_path / "System.map").write_text(MAP)
    made = Kernel.__new__(Kernel)
    made.symbols = symbols.read(tmp_path / "System.map")
    made.arch = arch
    made.callbacks = {ARGS: ENTRY, RET: RETURN}
    made._sites = {}
    made._sections = [
        (TEXT, np.frombuffer(code.ljust(0x1100, b"\x00"), dtype=np.uint8), True),
        (TABLE, np.frombuffer(table.ljust(64, b"\x00"), dtype=np.uint8), False),
    ]
    return made


def x86_code() -> bytes:
    """mov esi,2; mov edx,24; mov r8,TABLE; mov r9d,1; call args; xor r8d,r8d; mov esi,4; call ret"""
    code = b"\xbe\x02\x00\x00\x00" + b"\xba\x18\x00\x00\x00"
    code += b"\x49\xc7\xc0" + (TABLE & 0xFFFFFFFF).to_bytes(4, "little") + b"\x41\xb9\x01\x00\x00\x00"
    code += call(TEXT + len(code), ARGS)
    code += b"\x45\x31\xc0" + b"\xbe\x04\x00\x00\x00"
    return code + call(TEXT + len(code), RET)


def test_x86_calls_and_tables(tmp_path: Path) -> None:
    table = (8).to_bytes(8, "little") + (4).to_bytes(8, "little")
    sites = kernel(tmp_path, "x86_64", x86_code(), table).sites(TEXT)
    assert sites == (Site(ENTRY, 2, 24, ((8, 4),)), Site(RETURN, 0, 4, None))
    assert [s.values for s in sites] == [1, 1]


def test_a_call_forgets_what_callees_may_change(tmp_path: Path) -> None:
    code = b"\x41\xb8\x01\x00\x00\x00"  # mov r8d,1
    code += call(TEXT + len(code), TEXT + 0x100)
    code += call(TEXT + len(code), RET)
    with pytest.raises(UnderTest, match="not constants"):
        kernel(tmp_path, "x86_64", code).sites(TEXT)


def test_constants_survive_in_kept_registers(tmp_path: Path) -> None:
    code = b"\xbb\x00\x00\x00\x00"  # mov ebx,0
    code += call(TEXT + len(code), TEXT + 0x100)
    code += b"\x41\x89\xd8"  # mov r8d,ebx
    code += call(TEXT + len(code), RET)
    assert kernel(tmp_path, "x86_64", code).sites(TEXT) == (Site(RETURN, 0, None, None),)


def test_arm64_calls(tmp_path: Path) -> None:
    """mov w1,#8; mov w4,wzr; bl ret"""
    code = (0x52800101).to_bytes(4, "little") + (0x2A1F03E4).to_bytes(4, "little")
    code += (0x94000000 | (RET - TEXT - 8) // 4).to_bytes(4, "little")
    made = kernel(tmp_path, "arm64", code)
    assert made.sites(TEXT) == (Site(RETURN, 0, 8, None),)
    assert made.instrumented().tolist() == [TEXT]


def test_instrumented_functions_are_those_that_call(tmp_path: Path) -> None:
    code = bytearray(x86_code().ljust(0x180, b"\x90"))
    code[0x120:0x125] = call(TEXT + 0x120, ARGS, 0xE9)
    assert kernel(tmp_path, "x86_64", bytes(code)).instrumented().tolist() == [TEXT, TEXT + 0x100]


def test_symbols_by_address(tmp_path: Path) -> None:
    made = kernel(tmp_path, "x86_64", b"").symbols
    assert made.at(TEXT) == ("first",)
    assert made.at(TEXT + 1) == ()
    assert made.end(TEXT) == TEXT + 0x100
    moved = symbols.link_time(np.array([TEXT + 0x2100_0000], dtype=np.uint64), made, TEXT + 0x2100_0000)
    assert moved.tolist() == [TEXT]
    with pytest.raises(UserError, match="does not say where"):
        symbols.shift(made, None)


@pytest.mark.parametrize("text", ["", "nonsense\n", "ffffffff81000000 T only\n"])
def test_what_is_no_system_map(text: str, tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text(text)
    with pytest.raises(UserError, match=r"System\.map"):
        symbols.read(tmp_path / "System.map")
