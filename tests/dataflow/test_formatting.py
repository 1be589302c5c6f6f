"""Forms: values are written as their types say."""

from __future__ import annotations

import struct

import pytest

from dataflow.formatting import Field, Form, write, write_field, write_fields, write_returned

U64 = 2**64


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0xFFFFFF9C, Form("signed", 4), "-100"),
        (0x1FFFFFF9C, Form("signed", 4), "-100"),
        (0x80, Form("signed", 1), "-128"),
        (0xFFFFFF9C, Form("unsigned", 4), "4294967196"),
        (U64 - 38, Form("unsigned", 8), "0xffffffffffffffda"),
        (0o640, Form("mode", 2), "0640"),
        (0, Form("mode", 2), "00"),
        (0x8241, Form("flags", 8), "0x8241"),
        (0, Form("pointer", 8), "NULL"),
        (0xFFFF888000000000, Form("pointer", 8), "0xffff888000000000"),
        (U64 - 2, Form("pointer", 8), "-ENOENT"),
        (U64 - 4095, Form("pointer", 8), "-4095"),
        (U64 - 4096, Form("pointer", 8), "0xfffffffffffff000"),
        (1, Form("bool", 1), "true"),
        (0, Form("bool", 1), "false"),
        (1, Form("enum", 4, ((1, "ONE"),)), "ONE"),
        (2**32 - 1, Form("enum", 4, ((-1, "MINUS"),)), "MINUS"),
        (7, Form("enum", 4, ((1, "ONE"),)), "7"),
        (struct.unpack("<Q", struct.pack("<d", 0.5))[0], Form("float", 8), "0.5"),
        (struct.unpack("<I", struct.pack("<f", -2.0))[0], Form("float", 4), "-2.0"),
        (5, Form("float", 16), "0x5"),
        (0x1234, Form("bytes", 4), "0x1234"),
        (0x1234, Form("bytes", 24), "0x1234..."),
        (0xBADADD85, Form("signed", 4), "<unreadable>"),
        (0xBADADD85, Form("pointer", 8), "<unreadable>"),
    ],
)
def test_values(value: int, form: Form, text: str) -> None:
    assert write(value, form) == text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (2**32 - 2, Form("signed", 4), "-ENOENT"),
        (U64 - 11, Form("signed", 8), "-EAGAIN"),
        (2**32 - 517, Form("signed", 4), "-EPROBE_DEFER"),
        (2**32 - 4000, Form("signed", 4), "-4000"),
        (2**32 - 5000, Form("signed", 4), "-5000"),
        (U64 - 12, Form("unsigned", 8), "-ENOMEM"),
        (2**32 - 12, Form("unsigned", 4), "4294967284"),
        (0xFE, Form("signed", 1), "-2"),
        (3, Form("signed", 4), "3"),
        (0xBADADD85, Form("signed", 4), "<unreadable>"),
    ],
)
def test_errors_are_named_where_something_returns_them(value: int, form: Form, text: str) -> None:
    assert write_returned(value, form) == text


def test_arguments_are_no_errors() -> None:
    assert write(2**32 - 2, Form("signed", 4)) == "-2"


def test_bit_fields_are_cut_out_of_their_bytes() -> None:
    fields = [Field("low", 0, 1, Form("unsigned", 4), (0, 3)), Field("", 0, 1, Form("signed", 4), (3, 2))]
    assert write_fields([0b11101, 0b11101], fields) == "{low=5, <anonymous>=-1}"
    assert write_field(0xBADADD85, fields[0]) == "<unreadable>"
