"""Compare two captures of the same workload, function by function, from kernels that other compilers or series made.

The result has one row for each function that differs, with the reason if the kernels tell it. Addresses and drawn
values differ from run to run, so they are not compared. What is compared: how often a function was called, which
arguments were recorded and with which size, and whether a return was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dataflow.listing import Shown, named
from dataflow.tree import Call


@dataclass(frozen=True)
class Shape:
    """What was recorded of one call, without its values.

    Attributes:
        arguments: (index, size, number of values) of each; size 0 is a parameter that the compiler removed.
        returned: (size, number of values), or None.
    """

    arguments: tuple[tuple[int, int, int], ...]
    returned: tuple[int, int] | None

    def __str__(self) -> str:
        told = [f"arg{index}:{size or 'removed'}{f'/{count}' if count != 1 else ''}"
                for index, size, count in self.arguments]  # fmt: skip
        return f"({', '.join(told)})" + (f" = {self.returned[0]}" if self.returned else "")


@dataclass(frozen=True)
class Difference:
    """A function of which two captures tell different things.

    Attributes:
        function: its name.
        calls: how many calls of it each capture has.
        reason: why, as far as the kernels tell.
    """

    function: str
    calls: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        functions: how many were recorded in each capture.
        common: how many in both.
        equal: how many were called as often in both, and recorded alike.
        calls: how many calls each capture has.
    """

    functions: tuple[int, int]
    common: int
    equal: int
    calls: tuple[int, int]
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def compare(one: Shown, other: Shown) -> Comparison:
    """Compare two captures function by function; functions are told apart by their names in the symbol tables."""
    first, second = _shapes(one), _shapes(other)
    common = first.keys() & second.keys()
    differences = [
        Difference(name, (first[name].total(), second[name].total()), reason)
        for name in sorted(common)
        if (reason := _reason(first[name], second[name]))
    ]
    equal = len(common) - len(differences)
    for there, missing, numbers in ((first, other, (0, 1)), (second, one, (1, 0))):
        for name in sorted(there.keys() - common):
            counts = there[name].total(), 0
            differences.append(Difference(name, (counts[numbers[0]], counts[numbers[1]]), _absence(name, missing)))
    return Comparison(
        (len(first), len(second)),
        len(common),
        equal,
        (len(one.calls), len(other.calls)),
        tuple(differences),
    )


def _shapes(shown: Shown) -> dict[str, Counter[Shape]]:
    """How often each function was recorded in which way."""
    found: dict[str, Counter[Shape]] = {}
    label: dict[tuple[int, tuple[str, ...]], str] = {}
    for call in shown.calls:
        if call.compared is not None:
            continue
        key = (call.pc, call.inlined)
        if key not in label:
            label[key] = _stable(named(shown, call)[0])
        found.setdefault(label[key], Counter())[_shape(call)] += 1
    return found


def _stable(known: Sequence[str]) -> str:
    """One name of several, the same in every kernel; compilers add suffixes such as .cold or .llvm.123 of their own."""
    return min(name.partition(".")[0] for name in known)


def _shape(call: Call) -> Shape:
    arguments = tuple((one.index, one.size, len(one.values)) for one in call.arguments)
    returned = (call.returned.size, len(call.returned.values)) if call.returned else None
    return Shape(arguments, returned)


def _reason(first: Counter[Shape], second: Counter[Shape]) -> str:
    """Why two tallies of one function differ; empty if they do not."""
    if first == second:
        return ""
    left, right = set(first), set(second)
    if left == right:
        return "called another number of times"
    return f"recorded as {_list(left - right) or 'nothing else'}, there as {_list(right - left) or 'nothing else'}"


def _list(shapes: set[Shape]) -> str:
    return " or ".join(sorted(str(shape) for shape in shapes))


def _absence(name: str, shown: Shown) -> str:
    """Why a function has no record in a capture."""
    address = shown.symbols.address(name)
    if address is None:
        return "that kernel has no such function: its compiler put it into its callers"
    return "that kernel has it, and it was not called or has nothing to report"
