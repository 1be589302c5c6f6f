"""Two captures side by side: what differs is named with its reason, values and addresses do not count."""

from __future__ import annotations

import numpy as np

from dataflow.capture import Capture
from dataflow.comparison import Shape, compare
from dataflow.listing import Shown
from dataflow.symbols import Symbols
from dataflow.tree import Call, Value


class NoTypes:
    """Debug information that knows nothing."""

    def function(self, _address: int) -> None:
        return None


def value(index: int, size: int = 4, count: int = 1, what: int = 7) -> Value:
    return Value(0, index, size, 0xFFFF_8880_0000_0000, (what,) * count, None, True)


def shown(functions: dict[int, tuple[str, ...]], calls: list[Call]) -> Shown:
    addresses = sorted(functions)
    table = Symbols(np.array(addresses, dtype=np.uint64), tuple(functions[a] for a in addresses), {}, {}, 0, 0)
    one = Capture("x", "kit-1", 512, 0, {}, {}, 0, {}, "x86_64", np.array([0], dtype=np.uint64))
    return Shown(one, tuple(calls), table, NoTypes())  # type: ignore[arg-type]


def test_other_values_at_other_addresses_are_no_difference() -> None:
    one = shown({0x10: ("f",)}, [Call(0x10, 0, [value(0, what=1)], value(0, what=2))])
    other = shown({0x90: ("f",)}, [Call(0x90, 3, [value(0, what=5)], value(0, what=6))])
    found = compare(one, other)
    assert (found.common, found.equal, found.differences) == (1, 1, ())


def test_each_difference_has_its_reason() -> None:
    one = shown(
        {0x10: ("often",), 0x20: ("shape",), 0x30: ("inlined.cold", "inlined"), 0x40: ("silent",)},
        [
            Call(0x10, 0, [value(0)]),
            Call(0x10, 0, [value(0)]),
            Call(0x20, 0, [value(0), value(1, size=0, count=0)]),
            Call(0x30, 0, [value(0)]),
        ],
    )
    other = shown(
        {0x110: ("often",), 0x120: ("shape",), 0x140: ("silent",)},
        [Call(0x110, 0, [value(0)]), Call(0x120, 0, [value(0), value(1)]), Call(0x140, 0, [value(0)])],
    )
    found = compare(one, other)
    told = {d.function: (d.calls, d.reason) for d in found.differences}
    assert told["often"] == ((2, 1), "called another number of times")
    assert told["shape"] == ((1, 1), "recorded as (arg0:4, arg1:removed/0), there as (arg0:4, arg1:4)")
    assert told["inlined"] == ((1, 0), "that kernel has no such function: its compiler put it into its callers")
    assert told["silent"] == ((0, 1), "that kernel has it, and it was not called or has nothing to report")
    assert (found.functions, found.common, found.equal, found.calls) == ((3, 3), 2, 0, (4, 3))


def test_a_shape_reads_like_a_call() -> None:
    assert str(Shape(((0, 8, 3), (1, 4, 1)), (8, 1))) == "(arg0:8/3, arg1:4) = 8"
