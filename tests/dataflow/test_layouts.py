"""The RFC's layouts: what their kernels write is read as it was meant, or refused; never guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.buffers import ENTRY, RETURN, Row, words
from core.errors import UnderTest, UserError
from dataflow import decoding, identification, records
from dataflow.capture import Capture
from dataflow.layouts import LAYOUTS
from dataflow.records import Passed
from dataflow.sites import Code, Site
from dataflow.symbols import Symbols
from tests.layouts import COMPARE, encode, passed

U64 = st.integers(0, 2**64 - 1)
RFC = ("K1", "K2", "K3", "K4", "K5")
TEXT, KASLR = 0xFFFF_FFFF_8100_0000, 0x1400_0000
STACK = 0xFFFF_8880_0123_4000
# Three functions, 0x100 apart: open(dfd, how *) with 3 fields, wide(struct of 20 fields and 600 bytes), leaf(int).
OPEN, WIDE, LEAF = TEXT, TEXT + 0x100, TEXT + 0x200
SITES = {
    OPEN: [(ENTRY, 0, 4, 1), (ENTRY, 1, 24, 3), (RETURN, 0, 4, 1)],
    WIDE: [(ENTRY, 0, 600, 20), (RETURN, 0, 8, 1)],
    LEAF: [(ENTRY, 0, 0, 1), (ENTRY, 1, 300, 1)],
}


def buffer(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def run(moved: int = KASLR) -> list[Row]:
    """One run of these functions as K1 to K4 see it, at run-time addresses."""
    how = Row(ENTRY, OPEN + moved, (0x8241, 0o640, 0), 1, 24, STACK + 64)
    wide = Row(ENTRY, WIDE + moved, tuple(range(0xE000_0000, 0xE000_0014)), 0, 600, STACK + 128)
    return [
        Row(ENTRY, OPEN + moved, (2**32 - 100,), 0, 4, STACK),
        how,
        wide,
        Row(ENTRY, LEAF + moved, (0,), 0, 0, 0),
        Row(ENTRY, LEAF + moved, (7,), 1, 300, STACK - 64),
        Row(RETURN, WIDE + moved, (0xE000_0005,), 0, 8, STACK + 8),
        Row(RETURN, OPEN + moved, (3,), 0, 4, STACK + 8),
    ]


def code(moved: int = KASLR) -> dict[int, list[Passed]]:
    return {pc + moved: [Passed(*one) for one in some] for pc, some in SITES.items()}


def read(values: list[int], name: str, known: dict[int, list[Passed]] | None = None) -> records.Records:
    return decoding.decode(buffer(values), name, code=lambda pc: (code() if known is None else known).get(pc, ()))


# Golden: words written by hand after the spec. `open` got dfd -100; K1 says nothing of the count.
GOLDEN = {
    "K1": [4, 0xE000_0000, OPEN, 0x0004_8880_0123_4000, 0xFFFF_FF9C],
    "K2": [4, 0xE100_0000, OPEN, 0x0004_8880_0123_4000, 0xFFFF_FF9C],
    "K3": [4, 0xE100_0000, OPEN, 0x0004_8880_0123_4000, 0xFFFF_FF9C],
    "K4": [4, 0x0004_0001_E000_0000, OPEN, STACK, 0xFFFF_FF9C],
    "K5": [4, 0x0004_0001_E000_0000, OPEN, 0, 0xFFFF_FF9C],
}


@pytest.mark.parametrize("name", RFC)
def test_golden(name: str) -> None:
    table = read(GOLDEN[name], name, code(0))
    assert (table.pc.tolist(), table.kind.tolist(), table.sequence.tolist()) == ([OPEN], [ENTRY], [0])
    assert (table.index.tolist(), table.size.tolist(), table.values(0)) == ([0], [4], [0xFFFF_FF9C])
    assert table.pointer.tolist() == [0 if name == "K5" else STACK]


@pytest.mark.parametrize("name", RFC)
def test_a_run_is_read_as_it_was(name: str) -> None:
    """Structs of 600 bytes and 20 fields, whose numbers run into their neighbours in K1 to K3, among them."""
    rows = run()
    table = read(encode(rows, name), name)
    assert len(table) == len(rows)
    for i, row in enumerate(rows):
        assert (int(table.kind[i]), int(table.pc[i]), table.values(i)) == (row.kind, row.pc, list(row.values))
        assert (int(table.index[i]), int(table.size[i])) == (row.index, min(row.size, 255))
        assert int(table.pointer[i]) == row.pointer


@pytest.mark.parametrize("name", ["K1", "K2", "K3"])
def test_layouts_that_leak_need_their_kernel(name: str) -> None:
    with pytest.raises(UserError, match="do not state reliably how many values they have"):
        decoding.decode(buffer(encode(run(), name)), name)


def test_a_value_that_looks_like_a_header_is_a_value() -> None:
    """What K1's own readers trip over: they read on until a word has E or F in bits 31:28."""
    rows = [Row(ENTRY, OPEN, (0xE000_0001, OPEN, 0x18_0000_0000_0001), 1, 24, STACK), Row(RETURN, OPEN, (3,), 0, 4, 8)]
    table = read(encode(rows, "K1"), "K1", code(0))
    assert [table.values(i) for i in (0, 1)] == [list(rows[0].values), [3]]


def test_k1_refuses_what_the_code_does_not_pass() -> None:
    rows = [replace(run()[0], size=8)]
    with pytest.raises(
        UnderTest, match=r"word 1 of the buffer: .*index 0 and size 8, and the code at .* does not pass such"
    ):
        read(encode(rows, "K1"), "K1")


def test_two_answers_are_refused_unless_what_follows_tells() -> None:
    """A function whose code passes two structs of one size as the same argument."""
    known = {OPEN: [Passed(ENTRY, 0, 8, 1), Passed(ENTRY, 0, 8, 2)]}
    rows = [Row(ENTRY, OPEN, (1, 2), 0, 8), Row(ENTRY, OPEN, (3,), 0, 8)]
    table = read(encode(rows, "K1"), "K1", known)
    assert [table.values(i) for i in (0, 1)] == [[1, 2], [3]]
    # Its other values are, word by word, what the next record would be.
    known[OPEN][1] = Passed(ENTRY, 0, 8, 5)
    inner = encode([Row(ENTRY, OPEN, (6,), 0, 8)], "K1", 1)[1:]
    rows = [Row(ENTRY, OPEN, (1, *inner), 0, 8), Row(ENTRY, OPEN, (2,), 0, 8)]
    with pytest.raises(
        UserError, match="word 1 of the buffer: its record may have 1 and 5 values, and nothing decides"
    ):
        read(encode(rows, "K1"), "K1", known)


WIDE_VALUES = tuple(range(20))


def wide(kind: int, index: int = 0) -> Row:
    """A struct of 20 fields and 768 bytes: K2 writes an entry and a return alike, K1 to K3 the arguments 0 to 3."""
    return Row(kind, OPEN, WIDE_VALUES, index, 768)


def kinds(rows: list[Row], name: str, leaf: bool = False) -> list[tuple[int, int]]:
    known = {pc: [replace(one, leaf=leaf) for one in some] for pc, some in passed([*rows, wide(RETURN)]).items()}
    table = read(encode(rows, name), name, known)
    return list(zip(table.kind.tolist(), table.index.tolist(), strict=True))


@pytest.mark.parametrize("name", ["K1", "K2", "K3"])
def test_arguments_that_leak_into_each_other_are_told_by_their_order(name: str) -> None:
    rows = [wide(ENTRY, 0), wide(ENTRY, 1), wide(ENTRY, 2), wide(RETURN)] * 2
    assert kinds(rows, name, leaf=True) == [(ENTRY, 0), (ENTRY, 1), (ENTRY, 2), (RETURN, 0)] * 2


def test_an_entry_that_looks_like_a_return_is_told_by_what_is_open() -> None:
    assert kinds([wide(ENTRY), wide(RETURN)] * 2, "K2", leaf=True) == [(ENTRY, 0), (RETURN, 0)] * 2
    # The inner call has not returned, so the outer one cannot have.
    inner = [Row(ENTRY, LEAF, (1,), 0, 4), Row(RETURN, LEAF, (1,), 0, 4)]
    rows = [wide(ENTRY), inner[0], wide(ENTRY), wide(RETURN), inner[1]]
    assert [kind for kind, _ in kinds(rows, "K2", leaf=True)] == [ENTRY, ENTRY, ENTRY, RETURN, RETURN]
    with pytest.raises(UserError, match="may be an entry or a return, and nothing decides which"):
        kinds([wide(ENTRY), wide(RETURN)], "K2")
    # K1 keeps the type.
    assert kinds([wide(ENTRY), wide(ENTRY), wide(RETURN)], "K1") == [(ENTRY, 0), (ENTRY, 0), (RETURN, 0)]


def test_comparisons() -> None:
    rows = [Row(COMPARE, LEAF + 9, (5, 6), 0, 0, 7), run()[0]]
    for name in ("K3", "K4", "K5"):
        table = read(encode(rows, name), name)
        assert (table.kind.tolist(), table.values(0), int(table.pointer[0])) == ([COMPARE, ENTRY], [5, 6], 7)
    with pytest.raises(UnderTest, match="word 1 of the buffer"):
        read(encode(rows, "K2"), "K2")
    with pytest.raises(UnderTest, match="a comparison without two operands"):
        read(encode([replace(rows[0], values=(5,)), rows[1]], "K4"), "K4")


@pytest.mark.parametrize("written", ["kit-1", *RFC])
@pytest.mark.parametrize("stated", ["kit-1", *RFC])
def test_the_stated_layout_is_checked_against_the_words(written: str, stated: str) -> None:
    """Each pair that the words can tell apart; K2 and K3, K4 and K5 have the same headers."""
    if written == stated or {written, stated} in ({"K2", "K3"}, {"K4", "K5"}):
        return
    small = [row for row in run() if row.size < 256]
    values = words(small) if written == "kit-1" else encode(small, written)
    with pytest.raises(UnderTest, match=r"^word \d+ of the buffer"):
        read(values, stated)


# ---- the kernel's part: which layout it is ----


class FakeKernel:
    """The code of the three functions; `inside` are the addresses of the calls of generation L3."""

    def __init__(self, by_value: bool) -> None:
        self.by_value = by_value
        names = (("open",), ("wide",), ("leaf",), ("end",))
        self.symbols = Symbols(buffer([OPEN, WIDE, LEAF, TEXT + 0x300]), names, {}, {}, TEXT, TEXT + 0x300)

    def code(self, pc: int) -> Code:
        if pc not in SITES:
            raise UnderTest(f"no code at {pc:#x}")
        sites = tuple(
            Site(kind, pc, index, size, ((0, 8),) * n if n > 1 else None, None, pc + 16 * i, pc + 16 * i + 5)
            for i, (kind, index, size, n) in enumerate(SITES[pc])
        )
        return Code(sites, frozenset(), frozenset(), opaque=False)


def captured(layout: str, values: list[int]) -> Capture:
    return Capture("x", layout, 4096, None, {}, {}, TEXT + KASLR, {}, "x86_64", buffer(values))


def identified(layout: str, values: list[int]) -> identification.Identified:
    return identification.read(captured(layout, values), FakeKernel(False).symbols, FakeKernel)  # type: ignore[arg-type]


def content(name: str) -> list[int]:
    """A run as a kernel of that layout writes it: K4 and K5 without KASLR, K5 from within the calls."""
    if name == "kit-1":
        return words([row for row in run() if row.size < 256])
    if name == "K4":
        return encode(run(0), name)
    if name == "K5":
        return encode(
            [replace(row, pc=row.pc + 4, pointer=row.pointer if row.size == 24 else 0) for row in run(0)], name
        )
    return encode(run(), name)


@pytest.mark.parametrize("name", ["kit-1", *RFC])
def test_a_stated_layout_is_read_and_addresses_are_link_time_ones(name: str) -> None:
    found = identified(name, content(name))
    assert found.form is LAYOUTS[name]
    assert found.kernel.by_value is (name == "K5")
    assert set(found.functions.tolist()) == {OPEN, WIDE, LEAF}


@pytest.mark.parametrize("name", ["kit-1", "K1", "K4", "K5"])
def test_without_metadata_the_one_possible_layout_is_found(name: str) -> None:
    assert identified("", content(name)).form.name == name


@pytest.mark.parametrize("name", ["K2", "K3"])
def test_without_metadata_what_is_ambiguous_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"may be of any of the layouts K2, K3"):
        identified("", content(name))
    compared = encode([*run(), Row(COMPARE, LEAF + KASLR + 9, (5, 6), 0, 0, 7)], "K3")
    assert identified("", compared).form.name == "K3"


def test_an_empty_buffer_tells_nothing() -> None:
    with pytest.raises(UserError, match="may be of any of the layouts kit-1, kit-2, K1"):
        identified("", [0])
    with pytest.raises(UserError, match="of no known layout"):
        identified("", [4, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("stated", "written", "said"), [("K4", "K5", "not the start of a function"), ("K5", "K4", "the start")]
)
def test_words_that_fit_both_are_told_apart_by_their_addresses(stated: str, written: str, said: str) -> None:
    with pytest.raises(UnderTest, match=rf"which is {said}.*this is not layout {stated}"):
        identified(stated, content(written))


# ---- hostile words ----

ROWS = st.lists(
    st.builds(
        Row,
        kind=st.sampled_from([ENTRY, RETURN]),
        pc=st.integers(0, 2**64 - 1),
        values=st.lists(U64, min_size=1, max_size=40).map(tuple),
        index=st.integers(0, 255),
        size=st.integers(1, 0xFFFF),
        pointer=st.integers(0, 2**47 - 1),
    ),
    max_size=20,
    unique_by=lambda row: row.pc,
)


@given(ROWS, st.sampled_from(RFC), st.integers(0, 2**24 - 1), st.integers(0, 9))
def test_what_is_written_is_read(rows: list[Row], name: str, first: int, room: int) -> None:
    table = read(encode(rows, name, first) + [0xDEAD] * room, name, passed(rows))
    assert [table.values(i) for i in range(len(rows))] == [list(row.values) for row in rows]
    assert table.pc.tolist() == [row.pc for row in rows]
    assert table.size.tolist() == [min(row.size, 255) for row in rows]
    assert table.kind.tolist() == [row.kind for row in rows]


@given(st.lists(U64, max_size=40), st.sampled_from(RFC))
def test_noise_ends_in_a_sentence_or_in_records(values: list[int], name: str) -> None:
    _sound(values, name, {})


@given(ROWS, st.sampled_from(RFC), st.data())
def test_any_one_word_may_be_anything(rows: list[Row], name: str, data: st.DataObject) -> None:
    values = encode(rows, name)
    known = passed(rows)
    near = st.sampled_from([0, *values]) if values else st.just(0)
    values[data.draw(st.integers(0, len(values) - 1))] = data.draw(
        st.one_of(U64, near, st.integers(0, len(values) + 2))
    )
    _sound(values, name, known)


def _sound(values: list[int], name: str, known: dict[int, list[Passed]]) -> None:
    try:
        table = decoding.decode(buffer(values), name, whole=False, code=lambda pc: known.get(pc, ()))
    except (UnderTest, UserError) as error:
        assert error.message.startswith("word ")
        return
    assert int(table.count.sum()) + 3 * len(table) == values[0]
