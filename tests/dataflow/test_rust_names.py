"""Names of Rust functions: symbols of a kernel's vmlinux and what llvm-cxxfilt makes of them, and odd ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.rust_names import demangle


def legacy(*parts: str) -> str:
    """A symbol of the older scheme (rustc_symbol_mangling/src/legacy.rs)."""
    return "_ZN" + "".join(f"{len(part)}{part}" for part in (*parts, "h0123456789abcdef")) + "E"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("_RNvNtCs2lKf6AS60Zg_4core3fmt5write", "core::fmt::write"),
        ("_RNvMNtCs2lKf6AS60Zg_4core5sliceSh9ends_withB4_", "<[u8]>::ends_with"),
        ("_RNvXsi_NtCs2lKf6AS60Zg_4core3fmtcNtB5_5Debug3fmt", "<char as core::fmt::Debug>::fmt"),
        (
            "_RNvXs1a_NtCs2lKf6AS60Zg_4core3fmtRDNtB6_5DebugEL_Bx_3fmtB8_",
            "<&dyn core::fmt::Debug as core::fmt::Debug>::fmt",
        ),
        (
            "_RINvNtNtNtCs2lKf6AS60Zg_4core4iter8adapters3zip3zipQAhj4_BO_EB8_",
            "core::iter::adapters::zip::zip::<&mut [u8; 4], [u8; 4]>",
        ),
        (
            "_RNvNCNCNvMs0_NtCsb5MLIFMWygY_6kernel4syncNtBb_12LockClassKey11new_dynamic0s_019panic_cold_explicit",
            "<kernel::sync::LockClassKey>::new_dynamic::{closure#0}::{closure#1}::panic_cold_explicit",
        ),
        (
            "_RNvXs2_NtNtNtCs2lKf6AS60Zg_4core3ops8function5implsQNtNtNtBb_5slice5ascii10EscapeByte"
            "INtB7_6FnOnceTRhEE9call_onceBb_",
            "<&mut core::slice::ascii::EscapeByte as core::ops::function::FnOnce<(&u8,)>>::call_once",
        ),
        ("_RINvCsalAmJfy6mJw_18kcov_dataflow_rust7genericmEB2_", "kcov_dataflow_rust::generic::<u32>"),
        ("_RNvCsalAmJfy6mJw_18kcov_dataflow_rust5args1.llvm.123", "kcov_dataflow_rust::args1.llvm.123"),
        # RFC 2603, "Punycode"; constants and functions as in its grammar.
        ("_RNvC1au8gdel_5qa", "a::gödel"),
        ("_RINvC1a1fKan5_KbE", "_RINvC1a1fKan5_KbE"),
        ("_RINvC1a1fKan5_Kb1_E", "a::f::<-5, true>"),
        ("_RINvC1a1fFUKCmEhE", 'a::f::<unsafe extern "C" fn(u32) -> u8>'),
        ("_RINvC1a1fFG_RL0_hEuE", "a::f::<for<'a> fn(&'a u8)>"),
        ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
        (legacy("_$LT$a..B$u20$as$u20$c..D$GT$", "e"), "<a::B as c::D>::e"),
        (legacy("_$LT$impl$u20$a..B$u20$for$u20$$RF$$u5b$T$u5d$$GT$", "e"), "<impl a::B for &[T]>::e"),
        # A name of C++ has no hash; one whose escape is unknown stays.
        ("_ZN1a1bE", "_ZN1a1bE"),
        (legacy("a$XY$", "b"), legacy("a$XY$", "b")),
    ],
)  # fmt: skip
def test_names(symbol: str, name: str) -> None:
    assert demangle(symbol) == name


@pytest.mark.parametrize(
    "symbol",
    [
        "vfs_read",
        "",
        "_R",
        "_RNv",
        "_RNvC",
        "_ZN3foo3barE",
        "_ZN3foo",
        "_RB_",
        "_RNvB_1a",
        "_RNvC9a1b",
        "_Rzz",
        "_RNvC1aé",
    ],
)
def test_other_names_stay(symbol: str) -> None:
    assert demangle(symbol) == symbol


@given(st.text(alphabet="_RNvIMXYCTESAKLBQPOFDGUsjhm0129aZ$.", max_size=80))
def test_no_name_raises(text: str) -> None:
    for symbol in (text, f"_R{text}", f"_RNvC1a{text}", f"_RINvC1a1b{text}E", f"_ZN{text}E"):
        assert isinstance(demangle(symbol), str)


def test_text_out_of_nothing_is_refused() -> None:
    # Each tuple names the one before it twice: 2^60 words from 400 bytes.
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def back(place: int) -> str:
        if place == 0:
            return "B_"
        number, word = place - 1, ""
        while True:
            word, number = digits[number % 62] + word, number // 62
            if not number:
                return f"B{word}_"

    text, place = "INvC1a1bT" + "hh" + "E", 8
    for _ in range(60):
        here = len(text)
        text += "T" + back(place) * 2 + "E"
        place = here
    assert demangle(f"_R{text}E") == f"_R{text}E"
    deep = "_RINvC1a1b" + "S" * 5000 + "hE"
    assert demangle(deep) == deep
