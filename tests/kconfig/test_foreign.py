"""Fragments as people and distributions write them."""

from __future__ import annotations

import pytest

from core.errors import UserError
from kconfig.fragment import parse_fragment, parse_set

READ = {
    "\ufeffCONFIG_A=y\n": ("y", ""),
    "CONFIG_A=y # why\n": ("y", "why"),
    "# CONFIG_A is not set # why\n": ("n", "why"),
    "CONFIG_A=deadbeef\n": ("deadbeef", ""),
    "# [1] see below\nCONFIG_A=y\n": ("y", "[1] see below"),
    "# [see README] x\nCONFIG_A=y\n": ("y", "[see README] x"),
    "CONFIG_A=y\r\n": ("y", ""),
    'CONFIG_A="a # b" # c\n': ('"a # b"', "c"),
    'CONFIG_A="a \\" # b"\n': ('"a \\" # b"', ""),
    "# above\nCONFIG_A=y # behind\n": ("y", "above; behind"),
}


@pytest.mark.parametrize("text", list(READ))
def test_read(text: str) -> None:
    (asked,) = parse_fragment(text, "f")
    assert (asked.value, asked.reason) == READ[text]


@pytest.mark.parametrize("text", ["# [x86-64] x\nCONFIG_A=y\n", "# [>=7.x] x\nCONFIG_A=y\n", "# [arm46]\nCONFIG_A=y\n"])
def test_a_condition_with_a_typo_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_fragment(text, "f")


def test_a_text_of_hexadecimal_letters_on_the_command_line_is_a_text() -> None:
    assert parse_set("LOCALVERSION=cafe").value == '"cafe"'
    assert parse_set("PHYSICAL_START=0x1000").value == "0x1000"
