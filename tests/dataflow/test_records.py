"""Records: every buffer is either read as it was written or refused with the word that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.buffers import ENTRY, RETURN, Row, words
from core.errors import UnderTest, UserError
from dataflow import decoding, records

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
    table = decoding.decode(buffer(words(rows, first) + [0xDEAD] * room), "kit-1")
    assert len(table) == len(rows)
    assert records.gaps(table) == []
    flat, begins = table.flat()
    assert flat.tolist() == [value for row in rows for value in row.values]
    for i, row in enumerate(rows):
        assert (int(table.kind[i]), int(table.pc[i]), int(table.index[i])) == (row.kind, row.pc, row.index)
        assert (int(table.size[i]), table.values(i)) == (row.size, list(row.values))
        assert flat[begins[i] : begins[i + 1]].tolist() == list(row.values)
        top = 0xFFFF << 48 if row.pointer >> 47 else 0
        assert int(table.pointer[i]) == row.pointer | top


@given(st.lists(U64, max_size=40))
def test_hostile_words_end_in_a_sentence_or_in_records(values: list[int]) -> None:
    try:
        table = decoding.decode(buffer(values), "kit-1")
    except UnderTest as error:
        assert error.message.startswith("word ")
        return
    assert int(table.count.sum()) + 3 * len(table) == values[0]


@given(ROWS, st.data())
def test_any_one_word_may_be_anything(rows: list[Row], data: st.DataObject) -> None:
    """Damage near the truth reaches further into the decoder than noise does."""
    values = words(rows)
    values[data.draw(st.integers(0, len(values) - 1))] = data.draw(st.one_of(U64, st.integers(0, len(values) + 2)))
    try:
        table = decoding.decode(buffer(values), "kit-1", whole=data.draw(st.booleans()))
    except UnderTest as error:
        assert error.message.startswith("word ")
        return
    assert int(table.count.sum()) + 3 * len(table) == values[0]


@given(ROWS.filter(bool), st.data())
def test_one_damaged_header_is_noticed(rows: list[Row], data: st.DataObject) -> None:
    """A flipped bit among those that are always zero or say the type."""
    good = words(rows)
    bit = data.draw(st.sampled_from([*range(24, 28), *range(48, 64), 29, 30, 31]))
    good[1] ^= 1 << bit
    with pytest.raises(UnderTest, match="word 1 of the buffer"):
        decoding.decode(buffer(good), "kit-1")


@given(ROWS.filter(bool), st.data())
def test_a_cut_buffer_is_noticed(rows: list[Row], data: st.DataObject) -> None:
    """Wherever the counted words end, they end with a record."""
    good = words(rows)
    used = data.draw(st.integers(0, len(good) - 2))
    good[0] = used
    ends, position = [], 0
    for row in rows:
        position += 3 + len(row.values)
        ends.append(position)
    if used == 0 or used in ends:
        assert len(decoding.decode(buffer(good), "kit-1")) == (ends.index(used) + 1 if used else 0)
        return
    with pytest.raises(UnderTest, match=r"^word \d+ of the buffer: its record ends before word \d+"):
        decoding.decode(buffer(good[: used + 1]), "kit-1")


HEADER = 1 << 32 | 0xE << 28


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], r"word 0 .*there is no word 0"),
        ([5, 1], r"word 0 .*it counts 5 words, but the buffer has 1"),
        ([2**64 - 1, 1], r"word 0 .*it counts 18446744073709551615 words"),
        ([4, 0, 1, 2, 3], r"word 1 .*0x0 is not a type"),
        ([4, 0xE << 28, 1, 2, 3], r"word 1 .*is a record header without values"),
        ([4, 2 << 32 | 0xE << 28, 1, 2, 3], r"word 1 .*its record ends before word 6"),
        ([4, 0xFFFF << 32 | 0xE << 28, 1, 2, 3], r"word 1 .*its record ends before word 65539"),
        ([1, HEADER], r"word 1 .*its record ends before word 5"),
        ([4, 1 << 32 | 0xD << 28, 1, 2, 3], r"word 1 .*0xd is not a type"),
        ([4, HEADER | 1 << 60, 1, 2, 3], r"word 1 .*it has reserved bits 0x1000000000000000"),
        ([4, HEADER | 1 << 24, 1, 2, 3], r"word 1 .*it has reserved bits 0x1000000"),
        ([8, HEADER, 1, 2, 3, HEADER | 2, 1, 2, 3], r"word 5 .*sequence number 2 follows 0"),
        ([8, HEADER, 1, 2, 3, HEADER, 1, 2, 3], r"word 5 .*sequence number 0 follows 0"),
    ],
)
def test_each_defect_has_its_sentence(values: list[int], said: str) -> None:
    with pytest.raises(UnderTest, match=said):
        decoding.decode(buffer(values), "kit-1")


def test_gaps_name_the_record_after_the_gap() -> None:
    one = words([Row(RETURN, 1, (0,))], 7)
    two = words([Row(RETURN, 1, (0,))], 9)
    joined = [len(one) + len(two) - 2, *one[1:], *two[1:]]
    assert records.gaps(decoding.decode(buffer(joined), "kit-1", whole=False)) == [1]


def test_the_sequence_wraps() -> None:
    rows = [Row(RETURN, 1, (0,))] * 3
    assert len(decoding.decode(buffer(words(rows, 2**24 - 2)), "kit-1")) == 3


@pytest.mark.parametrize("name", ["kit-9", "k1", ""])
def test_an_unknown_layout_is_refused_never_guessed(name: str) -> None:
    with pytest.raises(UserError, match=r"layout .* is not known"):
        decoding.decode(buffer([0]), name)
