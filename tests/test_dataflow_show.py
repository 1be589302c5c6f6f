"""Call trees: grouping of records into calls, and how values are written."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow import records
from dataflow.show import Call, calls
from dataflow.sites import Site
from dataflow.types import Field, Form, write, write_fields, write_returned
from tests.buffers import ENTRY, RETURN, Row, words

OUTER, INNER, VOID, BARE = 0x1000, 0x2000, 0x3000, 0x4000
SCALAR = Site(ENTRY, 0, 4, None)


class FakeKernel:
    """Knows which functions have parameters: BARE has none."""

    def sites(self, pc: int) -> tuple[Site, ...]:
        ret = Site(RETURN, 0, 4, None)
        return {OUTER: (SCALAR, Site(ENTRY, 1, 4, None), ret), INNER: (SCALAR, ret), VOID: (SCALAR,), BARE: (ret,)}[pc]


def grouped(*rows: Row) -> list[Call]:
    table = records.decode(np.array(words(list(rows)), dtype=np.uint64), "kit-1")
    return calls(table, [int(pc) for pc in table.pc], FakeKernel())  # type: ignore[arg-type]


def shape(*rows: Row) -> list[tuple[int, int, list[int] | None]]:
    return [(c.pc, c.depth, c.returned) for c in grouped(*rows)]


def entry(pc: int, index: int = 0, slot: int = 0x7000, value: int = 1) -> Row:
    return Row(ENTRY, pc, (value,), index=index, size=4, pointer=slot)


def ret(pc: int, value: int = 0) -> Row:
    return Row(RETURN, pc, (value,))


def test_arguments_of_one_call_belong_together() -> None:
    found = grouped(entry(OUTER, 0), entry(OUTER, 1), ret(OUTER, 5))
    assert len(found) == 1
    assert [a[0] for a in found[0].arguments] == [0, 1]
    assert found[0].returned == [5]


def test_callees_are_deeper() -> None:
    assert shape(entry(OUTER, slot=0x7000), entry(INNER, slot=0x6000), ret(INNER, 3), ret(OUTER, 4)) == [
        (OUTER, 0, [4]),
        (INNER, 1, [3]),
    ]


def test_recursion_is_not_one_call() -> None:
    assert shape(entry(INNER, slot=0x7000), entry(INNER, slot=0x6000), ret(INNER, 1), ret(INNER, 2)) == [
        (INNER, 0, [2]),
        (INNER, 1, [1]),
    ]


def test_a_call_that_returns_nothing_is_over_when_the_stack_is_back() -> None:
    found = shape(
        entry(OUTER, slot=0x7000), entry(VOID, slot=0x6000), entry(INNER, slot=0x6000), ret(INNER), ret(OUTER)
    )
    assert [(pc, depth) for pc, depth, _ in found] == [(OUTER, 0), (VOID, 1), (INNER, 1)]


def test_a_return_without_an_entry_is_shown_as_such() -> None:
    found = grouped(ret(OUTER, 0), ret(BARE, 9))
    assert [(c.pc, c.entered) for c in found] == [(OUTER, False), (BARE, True)]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0xFFFFFF9C, Form("signed", 4), "-100"),
        (0x1FFFFFF9C, Form("signed", 4), "-100"),
        (0xFFFFFF9C, Form("unsigned", 4), "4294967196"),
        (0o640, Form("mode", 2), "0640"),
        (0x8241, Form("flags", 8), "0x8241"),
        (0, Form("pointer", 8), "NULL"),
        (2**64 - 2, Form("pointer", 8), "-ENOENT"),
        (1, Form("bool", 1), "true"),
        (1, Form("enum", 4, ((1, "ONE"),)), "ONE"),
        (7, Form("enum", 4, ((1, "ONE"),)), "7"),
        (0xBADADD85, Form("signed", 4), "<unreadable>"),
    ],
)
def test_values_are_written_as_their_types_say(value: int, form: Form, text: str) -> None:
    assert write(value, form) == text


def test_errors_are_named_only_where_something_returns_them() -> None:
    assert write_returned(2**32 - 2, Form("signed", 4)) == "-ENOENT"
    assert write(2**32 - 2, Form("signed", 4)) == "-2"


def test_bit_fields_are_cut_out_of_their_bytes() -> None:
    fields = [Field("low", 0, 1, Form("unsigned", 4), (0, 3)), Field("high", 0, 1, Form("signed", 4), (3, 2))]
    assert write_fields([0b11101, 0b11101], fields) == "low=5, high=-1"
