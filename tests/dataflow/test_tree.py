"""Call trees: grouping of records into calls."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.buffers import ENTRY, RETURN, Row, words
from core.errors import UnderTest
from dataflow import decoding, tree
from dataflow.sites import Code, Site
from dataflow.tree import Call, Seen

OUTER, INNER, VOID, BARE, LEAF, POINTER, ALIEN = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x9999
STACK = 0x7F00_0000
FRAME = 0x40  # of every function here: what it calls starts so far below its own start


def site(kind: int, pc: int, index: int = 0, slot: int | None = -16, size: int = 4) -> Site:
    return Site(kind, pc, index, size, None if slot is not None else ((0, 8),), slot, 0)


def code(pc: int, parameters: int, returns: bool, callees: tuple[int, ...], slot: int | None = -16) -> Code:
    entries = tuple(site(ENTRY, pc, i, slot) for i in range(parameters))
    exits = (site(RETURN, pc),) if returns else ()
    return Code(entries + exits, frozenset((c, -FRAME) for c in callees), frozenset(), opaque=False)


CODES = {
    OUTER: code(OUTER, 2, True, (INNER, VOID, BARE, POINTER)),
    INNER: code(INNER, 1, True, (INNER, LEAF)),
    VOID: code(VOID, 1, False, (INNER, LEAF)),
    BARE: code(BARE, 0, True, (INNER,)),
    LEAF: code(LEAF, 1, False, ()),
    POINTER: code(POINTER, 1, False, (VOID,), slot=None),
}


class FakeKernel:
    """Knows the code of some functions."""

    def code(self, pc: int) -> Code:
        if pc not in CODES:
            raise UnderTest("no code")
        return CODES[pc]


def grouped(*rows: Row) -> list[Call]:
    table = decoding.decode(np.array(words(list(rows)), dtype=np.uint64), "kit-1")
    return tree.calls(table, table.pc.tolist(), FakeKernel())  # type: ignore[arg-type]


def shape(*rows: Row) -> list[tuple[int, int]]:
    return [(c.pc, c.depth) for c in grouped(*rows)]


def entry(pc: int, level: int = 0, index: int = 0, value: int = 1) -> Row:
    """An entry of a function that is called from so many others."""
    return Row(ENTRY, pc, (value,), index=index, size=4, pointer=STACK - FRAME * level - 16)


def ret(pc: int, level: int = 0, value: int = 0) -> Row:
    return Row(RETURN, pc, (value,), size=4, pointer=STACK - FRAME * level - 16)


def test_arguments_of_one_call_belong_together() -> None:
    found = grouped(entry(OUTER, 0, 0), entry(OUTER, 0, 1), ret(OUTER, value=5))
    assert len(found) == 1
    assert [a.index for a in found[0].arguments] == [0, 1]
    assert found[0].returned is not None
    assert found[0].returned.values == (5,)
    assert (found[0].entry, found[0].exit) == (Seen.RECORDED, Seen.RECORDED)


def test_callees_are_deeper() -> None:
    assert shape(entry(OUTER), entry(INNER, 1), ret(INNER, 1), ret(OUTER)) == [(OUTER, 0), (INNER, 1)]


def test_recursion_is_not_one_call() -> None:
    assert shape(entry(INNER), entry(INNER, 1), ret(INNER, 1), ret(INNER)) == [(INNER, 0), (INNER, 1)]


def test_of_a_recursion_the_return_that_is_there_is_paired_by_its_stack() -> None:
    """The inner call's return is lost: the outer one's must not be taken for it."""
    found = grouped(entry(INNER), entry(INNER, 1), ret(INNER, 0, 7))
    assert [(c.depth, c.exit) for c in found] == [(0, Seen.RECORDED), (1, Seen.MISSING)]


def test_a_call_that_returns_nothing_is_over_when_the_stack_is_back() -> None:
    found = shape(entry(OUTER), entry(VOID, 1), entry(INNER, 1), ret(INNER, 1), ret(OUTER))
    assert found == [(OUTER, 0), (VOID, 1), (INNER, 1)]


def test_what_is_called_from_one_that_returns_nothing_is_in_it() -> None:
    found = shape(entry(OUTER), entry(VOID, 1), entry(INNER, 2), ret(INNER, 2), entry(INNER, 1), ret(INNER, 1))
    assert found == [(OUTER, 0), (VOID, 1), (INNER, 2), (INNER, 1)]


def test_a_function_that_calls_nothing_has_no_callees() -> None:
    found = shape(entry(OUTER), entry(VOID, 1), entry(LEAF, 2), entry(INNER, 1), ret(INNER, 1))
    assert found == [(OUTER, 0), (VOID, 1), (LEAF, 2), (INNER, 1)]


def test_without_a_stack_address_the_code_says_who_calls_whom() -> None:
    """POINTER's own records hold an object's address only; VOID is called by it, INNER by OUTER or by VOID."""
    pointer = Row(ENTRY, POINTER, (1,), size=8, pointer=0x1234)
    assert shape(entry(OUTER), pointer, entry(VOID, 2), entry(INNER, 3), ret(INNER, 3)) == [
        (OUTER, 0),
        (POINTER, 1),
        (VOID, 2),
        (INNER, 3),
    ]
    assert shape(entry(OUTER), pointer, entry(VOID, 1), ret(OUTER)) == [(OUTER, 0), (POINTER, 1), (VOID, 1)]


def test_a_tail_call_is_in_its_caller() -> None:
    """A jump leaves the caller's frame: what it reaches starts at the caller's own height."""
    tail = Code((site(ENTRY, 0x7000),), frozenset({(LEAF, 0)}), frozenset(), opaque=False)
    CODES[0x7000] = tail
    assert shape(entry(OUTER), entry(0x7000, 1), entry(LEAF, 1)) == [(OUTER, 0), (0x7000, 1), (LEAF, 2)]


def test_a_return_without_an_entry_is_no_call_without_parameters() -> None:
    found = grouped(ret(OUTER), ret(BARE, value=9))
    assert [(c.pc, c.entry) for c in found] == [(OUTER, Seen.MISSING), (BARE, Seen.NONE)]


def test_a_call_without_parameters_is_where_its_caller_is() -> None:
    found = grouped(entry(OUTER), ret(BARE, 1), ret(OUTER))
    assert [(c.pc, c.depth, c.entry) for c in found] == [(OUTER, 0, Seen.RECORDED), (BARE, 1, Seen.NONE)]


def test_what_a_call_without_parameters_has_called_is_in_it() -> None:
    """Its return is the first that is known of it; the height of the stack says that OUTER did not call INNER."""
    found = shape(entry(OUTER), entry(INNER, 2), entry(LEAF, 3), ret(INNER, 2), ret(BARE, 1), entry(VOID, 1))
    assert found == [(OUTER, 0), (BARE, 1), (INNER, 2), (LEAF, 3), (VOID, 1)]


def test_what_a_call_without_parameters_may_not_have_called_is_not_in_it() -> None:
    found = shape(entry(OUTER), entry(INNER, 1), ret(INNER, 1), ret(BARE, 1))
    assert found == [(OUTER, 0), (INNER, 1), (BARE, 1)]


def test_what_has_not_returned_says_whether_it_should_have() -> None:
    found = grouped(entry(OUTER), entry(VOID, 1))
    assert [c.exit for c in found] == [Seen.MISSING, Seen.NONE]


def test_functions_without_known_code_are_shown_all_the_same() -> None:
    found = grouped(entry(ALIEN), entry(INNER, 1), ret(INNER, 1), ret(ALIEN))
    assert [(c.pc, c.depth, c.exit) for c in found] == [(ALIEN, 0, Seen.RECORDED), (INNER, 1, Seen.RECORDED)]
    assert not found[0].arguments[0].certain


def test_more_arguments_than_an_index_can_say() -> None:
    """Their index is clamped to 255; they still belong to one call."""
    rows = [entry(ALIEN, 0, min(i, 255)) for i in range(258)]
    assert [len(c.arguments) for c in grouped(*rows)] == [258]


def runs(level: int = 0) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Real histories: calls of functions with the levels that their code allows."""

    def of(pc: int, level: int) -> st.SearchStrategy[list[tuple[int, int]]]:
        callees = [target for target, _start in CODES[pc].callees if target in (INNER, VOID, LEAF)]
        inner = st.lists(st.sampled_from(callees), max_size=2) if callees and level < 4 else st.just([])
        return inner.flatmap(
            lambda chosen: st.tuples(*(of(c, level + 1) for c in chosen)).map(
                lambda parts: [(pc, level), *(one for part in parts for one in part)]
            )
        )

    return of(OUTER, level)


@given(runs())
def test_a_tree_that_was_recorded_is_the_tree_that_is_built(history: list[tuple[int, int]]) -> None:
    rows: list[Row] = []
    open_: list[tuple[int, int]] = []

    def close(level: int) -> None:
        while open_ and open_[-1][1] >= level:
            pc, at = open_.pop()
            if CODES[pc].returns_value:
                rows.append(ret(pc, at))

    for pc, level in history:
        close(level)
        rows += [entry(pc, level, i) for i in range(2 if pc == OUTER else 1)]
        open_.append((pc, level))
    close(0)
    found = grouped(*rows)
    assert [(c.pc, c.depth) for c in found] == history
    assert all(c.exit is not Seen.MISSING for c in found)


@given(
    st.lists(
        st.builds(
            Row,
            kind=st.sampled_from([ENTRY, RETURN]),
            pc=st.sampled_from([*CODES, ALIEN]),
            values=st.just((1,)),
            index=st.integers(0, 3),
            size=st.sampled_from([0, 4, 8]),
            pointer=st.integers(0, 20).map(lambda n: STACK - 16 * n),
        ),
        max_size=40,
    )
)
def test_any_records_make_a_tree(rows: list[Row]) -> None:
    found = grouped(*rows)
    assert tree.consistent(found)
    seen = [v.row for c in found for v in (*c.arguments, *([c.returned] if c.returned else []))]
    assert sorted(seen) == list(range(len(rows)))
