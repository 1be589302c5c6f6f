"""Symbols: by address, all names, shifted by KASLR, modules where they were loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from dataflow import symbols
from dataflow.image import Image
from dataflow.symbols import Symbols

TEXT = 0xFFFF_FFFF_8100_0000
LINES = [
    f"{TEXT:x} T _stext",
    f"{TEXT:x} T __pfx_first",
    f"{TEXT + 0x10:x} t __do_sys_getpid",
    f"{TEXT + 0x10:x} T __x64_sys_getpid",
    f"{TEXT + 0x40:x} t doubled",
    f"{TEXT + 0x80:x} t doubled",
    f"{TEXT + 0xC0:x} W weak",
    f"{TEXT + 0xD0:x} D data",
    f"{TEXT + 0x100:x} T _etext",
]


@pytest.fixture
def kernel(tmp_path: Path) -> Symbols:
    (tmp_path / "System.map").write_text("\n".join(LINES) + "\n")
    return symbols.read(tmp_path / "System.map")


def u64(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_all_names_of_an_address_global_ones_first(kernel: Symbols) -> None:
    assert kernel.at(TEXT + 0x10) == ("__x64_sys_getpid", "__do_sys_getpid")
    assert kernel.at(TEXT + 0x11) == ()
    assert kernel.at(-1) == kernel.at(2**64) == ()
    assert kernel.address("__do_sys_getpid") == TEXT + 0x10


def test_a_doubled_name_has_no_address(kernel: Symbols) -> None:
    assert kernel.address("doubled") is None
    assert kernel.address("data") is None
    assert kernel.at(TEXT + 0x80) == ("doubled",)


def test_many_at_once(kernel: Symbols) -> None:
    asked = u64(TEXT + 0x10, TEXT + 0x12, 5, TEXT + 0xC0)
    assert kernel.is_start(asked).tolist() == [True, False, False, True]
    assert kernel.starts(asked).tolist() == [TEXT + 0x10, TEXT + 0x10, 5, TEXT + 0xC0]
    assert kernel.labels(asked).tolist() == ["__x64_sys_getpid", f"{TEXT + 0x12:#x}", "0x5", "weak"]
    assert kernel.labels(u64()).tolist() == []


def test_where_a_function_ends(kernel: Symbols) -> None:
    assert kernel.end(TEXT + 0x10) == TEXT + 0x40
    assert kernel.end(TEXT + 0xC0) == TEXT + 0x100
    sized = kernel.joined([Image("vmlinux", "x86_64", (), ((TEXT + 0x10, 0x20, "__x64_sys_getpid"),))])
    assert sized.end(TEXT + 0x10) == TEXT + 0x30
    assert sized.at(TEXT + 0x10) == kernel.at(TEXT + 0x10)


@pytest.mark.parametrize("moved", [0, 0x2100_0000, -0x1000])
def test_kaslr(moved: int, kernel: Symbols) -> None:
    pcs = u64(TEXT + 0x10 + moved)
    assert symbols.link_time(pcs, kernel, TEXT + moved).tolist() == [TEXT + 0x10]


@pytest.mark.parametrize("stext", [None, 0])
def test_a_capture_that_does_not_say_where_the_kernel_was(stext: int | None, kernel: Symbols) -> None:
    with pytest.raises(UserError, match="does not have the address of _stext"):
        symbols.link_time(u64(TEXT), kernel, stext)


def test_modules_are_marked(kernel: Symbols) -> None:
    there = 0xFFFF_FFFF_C000_0000
    joined = kernel.joined([Image("m", "x86_64", (), ((there, 16, "inside"), (there, 16, "also"), (there, 0, "$x")))])
    assert joined.at(there) == ("inside", "also")
    assert joined.label(there) == "inside [m]"
    assert joined.label(TEXT + 0xC0) == "weak"
    assert joined.stext == TEXT


@pytest.mark.parametrize("text", ["", "nonsense\n", "ffffffff81000000 T only\n", "x T y\n", "\xff\n"])
def test_what_is_no_system_map(text: str, tmp_path: Path) -> None:
    (tmp_path / "System.map").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"System\.map"):
        symbols.read(tmp_path / "System.map")


def test_the_init_sections_of_a_module_are_gone(kernel: Symbols, tmp_path: Path) -> None:
    # Two modules: the text of the second lies where the first one's .init.text was.
    for name in ("first", "second"):
        (tmp_path / f"{name}.ko").write_bytes(b"")
    loaded = {
        "first": {".text": TEXT + 0x1000, ".init.text": TEXT + 0x2000, ".init.data": TEXT + 0x3000},
        "second": {".text": TEXT + 0x2000},
    }
    placed = symbols.module_files(tmp_path, loaded, kernel, TEXT)
    assert placed == {
        tmp_path / "first.ko": {".text": TEXT + 0x1000},
        tmp_path / "second.ko": {".text": TEXT + 0x2000},
    }


def test_names_of_rust_are_shown_as_the_source_has_them(tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text("\n".join([*LINES, f"{TEXT + 0xF0:x} T _RNvNtCs1_4core3fmt5write"]) + "\n")
    assert symbols.read(tmp_path / "System.map").label(TEXT + 0xF0) == "core::fmt::write"
