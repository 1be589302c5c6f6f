"""Records: every buffer is either read as it was written or refused with the word that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnderTest, UserError
from dataflow import records
from tests.buffers import ENTRY, RETURN, Row, words

U64 = st.integers(0, 2**64 - 1)
ROWS = st.lists(
    st.builds(
        Row,
        kind=st.sampled_from([ENTRY, RETURN]),
        pc=U64,
        values=st.lists(U64, min_size=1, max_size=9).map(tuple),
        index=st.integers(0, 255),
        size=st.integers(0, 255),
        pointer=st.integers(0, 2**48 - 1),
    ),
    max_size=30,
)


def buffer(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@given(ROWS, st.integers(0, 2**24 - 1), st.integers(0, 20))
def test_what_is_written_is_read(rows: list[Row], first: int, room: int) -> None:
    table = records.decode(buffer(words(rows, first) + [0xDEAD] * room), "kit-1")
    assert len(table) == len(rows)
    assert records.gaps(table) == []
    for i, row in enumerate(rows):
        assert (int(table.kind[i]), int(table.pc[i]), int(table.index[i])) == (row.kind, row.pc, row.index)
        assert (int(table.size[i]), table.values(i)) == (row.size, list(row.values))
        top = 0xFFFF << 48 if row.pointer >> 47 else 0
        assert int(table.pointer[i]) == row.pointer | top


@given(st.lists(U64, max_size=40))
def test_hostile_words_end_in_a_sentence_or_in_records(values: list[int]) -> None:
    try:
        table = records.decode(buffer(values), "kit-1")
    except UnderTest as error:
        assert error.message.startswith("word ")
        return
    assert int(table.count.sum()) + 3 * len(table) == values[0]


@given(ROWS.filter(bool), st.data())
def test_one_damaged_header_is_noticed_or_changes_nothing_else(rows: list[Row], data: st.DataObject) -> None:
    """A flipped bit among those that are always zero or say the type."""
    good = words(rows)
    bit = data.draw(st.sampled_from([*range(24, 28), *range(48, 64), 29, 30, 31]))
    good[1] ^= 1 << bit
    with pytest.raises(UnderTest, match="word 1 of the buffer"):
        records.decode(buffer(good), "kit-1")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "there is no word 0"),
        ([5, 1], "it counts 5 words, the buffer has 1"),
        ([4, 0, 1, 2, 3], "it counts no values"),
        ([4, 2 << 32 | 0xE << 28, 1, 2, 3], "its record ends at word 6"),
        ([1, 1 << 32 | 0xE << 28], "its record ends at word 5"),
        ([4, 1 << 32 | 0xD << 28, 1, 2, 3], "is no record header"),
    ],
)
def test_each_defect_has_its_sentence(values: list[int], said: str) -> None:
    with pytest.raises(UnderTest, match=said):
        records.decode(buffer(values), "kit-1")


def test_gaps_name_the_record_after_the_gap() -> None:
    one = words([Row(RETURN, 1, (0,))], 7)
    two = words([Row(RETURN, 1, (0,))], 9)
    joined = [len(one) + len(two) - 2, *one[1:], *two[1:]]
    assert records.gaps(records.decode(buffer(joined), "kit-1")) == [1]


def test_the_sequence_wraps() -> None:
    rows = [Row(RETURN, 1, (0,))] * 3
    assert records.gaps(records.decode(buffer(words(rows, 2**24 - 2)), "kit-1")) == []


def test_an_unknown_layout_is_refused_never_guessed() -> None:
    with pytest.raises(UserError, match="layout kit-2 is not known"):
        records.decode(buffer([0]), "kit-2")
