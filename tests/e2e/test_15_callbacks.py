"""The callbacks of real kernels against a model of what they must write: buffers that are full, garbage in word 0,
pointers to all kinds of memory, fields of all sizes (tests/emulated.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.runtime import Runtime
from kernel import kernels
from kernel.cell import CellNames, resolve
from tests import emulated
from tests.emulated import ENTRY, RETURN, Machine, Operand, State

pytestmark = pytest.mark.e2e

PC = 0xFFFFFFFF8104D00D
MANY = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
# Start and length of where pointers point to: also to the last bytes of each kind of memory, and behind.
PLACES = {
    "nothing": (0, 0), "an error": (2**64 - 14, 0), "user": (emulated.USER, 64), "low": (emulated.LOW, 0xFF00),
    "before the hole": (emulated.HOLE - 64, 64), "in the hole": (emulated.HOLE, 0x5FFFF), "above": (emulated.ABOVE, 64),
    "objects": (emulated.OBJECTS, 15 * emulated.PAGE), "half there": (emulated.ABSENT - 64, 64),
    "not there": (emulated.ABSENT, 64), "the last": (emulated.LAST + emulated.PAGE - 64, 63),
    "behind the last": (emulated.LAST + emulated.PAGE, 64), "before the stack": (emulated.STACK - 64, 63),
    "stack": (emulated.STACK, 0x1000),
    "the end of the stack": (emulated.STACK + emulated.STACK_SIZE - 64, 63), "vmalloc": (emulated.VMALLOC, 64),
}  # fmt: skip


@functools.cache
def machine(series: str, toolchain: str, *sets: str) -> Machine:
    """The callbacks of a tiny kernel; built, if no test before has."""
    cell = resolve(CellNames(toolchain, series, "all", "tiny", "x86_64", "7.1.8", sets=sets))
    return Machine(kernels.build(cell, Runtime("docker")).path / "vmlinux")


def test_the_image_may_be_read() -> None:
    kernel = machine("kit", "plugin-19")
    assert kernel.readable_end(kernel.image) == kernel.symbols["_end"]
    assert kernel.read(emulated.OBJECTS + 8, 4) == (emulated.OBJECTS + 8) & 0xFFFFFFFF
    assert kernel.read(emulated.ABSENT - 4, 8) == emulated.UNREADABLE


@st.composite
def addresses(draw: st.DrawFn) -> int:
    start, length = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    last = st.integers(length - min(length, 12), length)
    return start + draw(st.one_of(st.integers(0, length), last, st.sampled_from((0, length))))


@st.composite
def structs(draw: st.DrawFn, sizes: Sequence[int] = (8, 8, 4, 1, 2, 3, 5, 6, 7, 16, 0)) -> Operand:
    fields, at = [], 0
    for size in draw(st.lists(st.sampled_from(sizes), min_size=1, max_size=40)):
        at += draw(st.sampled_from((0, 0, 0, 4, 300)))
        fields.append((at, size))
        at += size
    return Operand(max(at, 1), tuple(fields), draw(addresses()))


@st.composite
def scalars(draw: st.DrawFn) -> Operand:
    return Operand(draw(st.sampled_from((0, 1, 2, 3, 4, 7, 8, 16, 400))), (), draw(addresses()))


@st.composite
def numbers(draw: st.DrawFn) -> Operand:
    return Operand(draw(st.integers(1, 8)), value=(draw(st.integers(0, 2**64 - 1)),))


@st.composite
def pairs(draw: st.DrawFn) -> Operand:
    fields = draw(st.sampled_from(((), ((0, 4), (4, 4), (8, 8)), ((0, 8), (8, 1)))))
    return Operand(16, fields, value=(draw(st.integers(0, 2**64 - 1)), draw(st.integers(0, 2**64 - 1))), second=8)


@st.composite
def states(draw: st.DrawFn) -> State:
    # Most reports fit: what was not written says nothing about values.
    size = draw(st.sampled_from((4096, 4096, draw(st.integers(13, 80)), draw(st.integers(2, 12)))))
    used = draw(st.sampled_from((0, 0, draw(st.integers(0, size + 2)), 2**63, 2**64 - 1, 2**64 - 5)))
    sequence = draw(st.sampled_from((0, 7, 0xFFFFFE, 0xFFFFFF, 0x1000005, 0xFFFFFFFF)))
    return State((used, *[emulated.GUARD] * (size - 1)), sequence, draw(st.integers(0, 3)))


def holds(kernel: Machine, report: Callable[..., None], before: State, kind: int, operands: Sequence[Operand]) -> None:
    """Report, and compare with what must come of it."""
    kernel.start(before)
    wanted = emulated.expected(kernel, before, PC, kind, operands)
    report(PC, kind, operands)
    found = kernel.state(len(before.words))
    used = before.words[0]
    assert emulated.without_copies(found, used, operands) == emulated.without_copies(wanted, used, operands)


@MANY
@given(states(), st.sampled_from((ENTRY, RETURN)), st.one_of(structs(), scalars()))
def test_one_call_for_an_operand(before: State, kind: int, operand: Operand) -> None:
    kernel = machine("kit", "plugin-19")
    holds(kernel, kernel.one_by_one, before, kind, [operand])


@pytest.mark.slow
@MANY
@given(
    states(),
    st.sampled_from((ENTRY, RETURN)),
    st.lists(
        st.one_of(structs(), structs((8, 4, 1)), scalars(), numbers(), st.just(Operand(0))), min_size=1, max_size=8
    ),
    st.lists(pairs(), max_size=1),
)
def test_one_call_for_a_gate(before: State, kind: int, operands: list[Operand], more: list[Operand]) -> None:
    kernel = machine("kit-g1", "plugin-19-g1", "FRAME_WARN=2048")  # as bench.idle has it
    if more:
        operands = [*more, *operands[:6]]
    holds(kernel, kernel.gate, before, kind, operands)
