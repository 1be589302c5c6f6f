"""Compare two captures of the same workload, function by function, from kernels of different compilers or series.

Gives one row for each function that differs, with a reason. Compares how often a function was called, which arguments
were recorded with which size, and whether a return was recorded. Never compares addresses and drawn values, which
differ from run to run.
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
    """The records of one call, without their values.

    Attributes:
        arguments: (index, size, number of values) of each; size 0 means that the compiler removed the parameter.
        returned: (size, number of values), or None.
    """

    arguments: tuple[tuple[int, int, int], ...]
    returned: tuple[int, int] | None

    def __str__(self) -> str:
        parts = [f"arg{index}:{size or 'removed'}{f'/{count}' if count != 1 else ''}"
                for index, size, count in self.arguments]  # fmt: skip
        return f"({', '.join(parts)})" + (f" = {self.returned[0]}" if self.returned else "")


@dataclass(frozen=True)
class Difference:
    """A function whose records differ between two captures.

    Attributes:
        function: its name.
        calls: number of calls of it in each capture.
        reason: why, as far as the kernels show it.
    """

    function: str
    calls: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two captures.

    Attributes:
        functions: number of functions recorded in each capture.
        common: number recorded in both.
        equal: number of those that have the same calls with the same records in both.
        calls: number of calls in each capture.
    """

    functions: tuple[int, int]
    common: int
    equal: int
    calls: tuple[int, int]
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the whole comparison as JSON values."""
        return asdict(self)


def compare(left: Shown, right: Shown) -> Comparison:
    """Compare two captures function by function; match functions by their names in the symbol tables."""
    first, second = _shapes(left), _shapes(right)
    common = first.keys() & second.keys()
    differences = [
        Difference(name, (first[name].total(), second[name].total()), reason)
        for name in sorted(common)
        if (reason := _reason(first[name], second[name]))
    ]
    equal = len(common) - len(differences)
    for shapes, missing, numbers in ((first, right, (0, 1)), (second, left, (1, 0))):
        for name in sorted(shapes.keys() - common):
            counts = shapes[name].total(), 0
            differences.append(Difference(name, (counts[numbers[0]], counts[numbers[1]]), _absence(name, missing)))
    return Comparison(
        (len(first), len(second)),
        len(common),
        equal,
        (len(left.calls), len(right.calls)),
        tuple(differences),
    )


def _shapes(shown: Shown) -> dict[str, Counter[Shape]]:
    """Return name -> how often a call of the function had each shape."""
    shapes: dict[str, Counter[Shape]] = {}
    label: dict[tuple[int, tuple[str, ...]], str] = {}
    for call in shown.calls:
        if call.compared is not None:
            continue
        key = (call.pc, call.inlined)
        if key not in label:
            label[key] = _stable(named(shown, call)[0])
        shapes.setdefault(label[key], Counter())[_shape(call)] += 1
    return shapes


def _stable(known: Sequence[str]) -> str:
    """Return one of several names, without the suffixes that compilers add, such as .cold or .llvm.123."""
    return min(name.partition(".")[0] for name in known)


def _shape(call: Call) -> Shape:
    arguments = tuple((value.index, value.size, len(value.values)) for value in call.arguments)
    returned = (call.returned.size, len(call.returned.values)) if call.returned else None
    return Shape(arguments, returned)


def _reason(first: Counter[Shape], second: Counter[Shape]) -> str:
    """Return why the shapes of one function differ; empty if they do not."""
    if first == second:
        return ""
    left, right = set(first), set(second)
    if left == right:
        return "called another number of times"
    return f"recorded as {_list(left - right) or 'nothing else'}, there as {_list(right - left) or 'nothing else'}"


def _list(shapes: set[Shape]) -> str:
    return " or ".join(sorted(str(shape) for shape in shapes))


def _absence(name: str, shown: Shown) -> str:
    """Return why a function has no record in a capture."""
    address = shown.symbols.address(name)
    if address is None:
        return "that kernel has no such function: its compiler put it into its callers"
    return "that kernel has it, and it was not called or has nothing to report"
