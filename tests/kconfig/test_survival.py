"""Survival against synthetic configurations, whose makers know what was lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnderTest
from kconfig import survival
from kconfig.fragment import Asked
from kconfig.profiles import Request


def request_of(values: dict[str, str]) -> Request:
    asked = tuple(Asked(symbol, value, "f.config", i) for i, (symbol, value) in enumerate(values.items(), 1))
    return Request("p", "tiny", "x86_64", "7.1.8", "tinyconfig", "", asked)


@pytest.mark.parametrize(
    ("value", "config", "got"),
    [
        ("y", "CONFIG_A=y", None),
        ("y", "CONFIG_A=m", "m"),
        ("y", "# CONFIG_A is not set", "n"),
        ("y", "CONFIG_AB=y\n# CONFIG_A_B is not set", "absent"),
        ("m", "CONFIG_A=m", None),
        ("m", "CONFIG_A=y", "y"),
        ("n", "# CONFIG_A is not set", None),
        ("n", "", None),
        ("n", "CONFIG_A=y", "y"),
        ("n", "CONFIG_A=m", "m"),
        ("n", "CONFIG_A=0", "0"),
        ("n", 'CONFIG_A=""', '""'),
        ("4096", "CONFIG_A=4096", None),
        ("4096", "CONFIG_A=2048", "2048"),
        ("4096", "", "absent"),
        ("-1", "CONFIG_A=-1", None),
        ("0", "# CONFIG_A is not set", "n"),
        ("0x1000", "CONFIG_A=0x1000", None),
        ("0X1f", "CONFIG_A=0x1F", None),
        ("1000", "CONFIG_A=0x1000", None),  # Kconfig puts 0x before the value of a hex symbol
        ("0x1000", "CONFIG_A=4096", "4096"),  # an int symbol refuses 0x, this is its default
        ("010", "CONFIG_A=10", None),
        ("y", "CONFIG_A=0xe", "0xe"),
        ('"a b"', 'CONFIG_A="a b"', None),
        ('"a b"', 'CONFIG_A="a  b"', '"a  b"'),
        ('"a"', "CONFIG_A=a", "a"),
        ('"y"', "CONFIG_A=y", "y"),
        ('"\\a"', 'CONFIG_A="a"', None),
        ('"a\\"b"', 'CONFIG_A="a\\"b"', None),
        ('""', 'CONFIG_A=""', None),
        ('""', "", None),
        ('"x"', "", "absent"),
        ("y", "CONFIG_A=n\nCONFIG_A=y", None),
        ("y", "#CONFIG_A=y", "absent"),
        ("y", "# CONFIG_A=y", "absent"),
        ("y", "  CONFIG_A=y", "absent"),
        ("y", "CONFIG_A=y\r", None),
    ],
)
def test_one_symbol(value: str, config: str, got: str | None) -> None:
    lost = survival.compare(request_of({"A": value}), config + "\n")
    assert [one.got for one in lost] == ([] if got is None else [got])


_SYMBOLS = st.from_regex(r"[A-Z0-9][A-Za-z0-9_]{0,12}", fullmatch=True)
_TEXT = st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=10)
_VALUES = st.one_of(
    st.sampled_from(["y", "m", "n"]),
    st.integers(-10, 10**6).map(str),
    st.integers(0, 10**9).map(hex),
    _TEXT.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
)
_FATES = st.sampled_from(["kept", "changed", "off", "absent"])


def _kind(value: str) -> str:
    if value in ("y", "m", "n"):
        return "tristate"
    return "string" if value.startswith('"') else "hex" if value.startswith("0x") else "int"


@given(
    st.dictionaries(_SYMBOLS, st.tuples(_VALUES, _FATES), max_size=30),
    st.dictionaries(_SYMBOLS, _VALUES, max_size=30),
    st.randoms(use_true_random=False),
)
def test_compare_finds_what_was_lost_and_nothing_else(fates, others, random) -> None:  # type: ignore[no-untyped-def]
    """The oracle decides each symbol's fate first and writes the configuration after it."""
    lines: list[str] = []
    expected: dict[str, str] = {}
    different = {"y": "m", "m": "n", "n": "y"}
    for symbol, (value, fate) in fates.items():
        off = f"# CONFIG_{symbol} is not set"
        if fate == "kept":
            lines.append(off if value == "n" else f"CONFIG_{symbol}={value}")
        elif fate == "changed":
            kind = _kind(value)
            if kind == "tristate":
                new = different[value]
            elif kind == "string":
                new = value[:-1] + 'x"'
            else:
                new = value + "1" if value != "0" else "5"
            lines.append(off if new == "n" else f"CONFIG_{symbol}={new}")
            expected[symbol] = new
        elif fate == "off":
            lines.append(off)
            if value != "n":
                expected[symbol] = "n"
        elif value not in ("n", '""'):
            expected[symbol] = "absent"
    lines += [f"CONFIG_{s}={v}" for s, v in others.items() if s not in fates and v != "n"]
    random.shuffle(lines)
    text = "#\n# Automatically generated file; DO NOT EDIT.\n#\n" + "\n".join(lines) + "\n"
    request = request_of({symbol: value for symbol, (value, _fate) in fates.items()})
    assert {one.symbol: one.got for one in survival.compare(request, text)} == expected


@given(st.text(max_size=300), _VALUES)
def test_no_configuration_crashes_it(text: str, value: str) -> None:
    survival.compare(request_of({"A": value}), text)


def test_the_sentence_names_every_lost_symbol() -> None:
    lost = survival.compare(request_of({"A": "y", "B": "4096", "C": "n"}), "CONFIG_B=2048\nCONFIG_C=y\n")
    with pytest.raises(UnderTest) as error:
        survival.require_none(lost)
    assert error.value.exit_code == 1
    assert error.value.message.splitlines() == [
        "3 requested symbols were lost:",
        "  CONFIG_A: asked y (f.config:1), got absent",
        "  CONFIG_B: asked 4096 (f.config:2), got 2048",
        "  CONFIG_C: asked n (f.config:3), got y",
    ]
    survival.require_none([])
    assert lost[0].as_row() == {
        "symbol": "A",
        "asked": "y",
        "got": "absent",
        "origin": "f.config:1",
        "note": "",
    }
