"""List the calls that a run of the sample modules must record (kernel/samples).

Takes the drawn number. Gives each call with its arguments and its result, as the values of the records. C and Rust have
the same calls; only this module knows where the two languages pass values differently.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dataflow.layouts import ENTRY, RETURN
from dataflow.records import Records
from dataflow.rust_names import demangle
from dataflow.symbols import Symbols

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Stands for any recorded pointer that is not null.
POINTER = -1

Values = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a sample function.

    Attributes:
        function: its name in C without the prefix, or in Rust the last part of its path.
        arguments: the values of each argument, as unsigned numbers of its width; POINTER for an address that is not
            null.
        result: the values that it returned.
    """

    function: str
    arguments: tuple[Values, ...]
    result: Values


def name(language: str, function: str) -> str:
    """Return the full name of a sample function, which is the label of its records."""
    if language == "c":
        return f"kdf_{function}"
    crate = "kcov_dataflow_rust"
    if function == "total":
        return f"<{crate}::Pair>::total"
    if function.startswith("generic_"):
        return f"{crate}::generic::<{function.removeprefix('generic_')}>"
    return f"{crate}::{function}"


def calls(language: str, n: int) -> list[Call]:
    """Return the calls that a module makes, in order.

    Args:
        language: `rust` or `c`.
        n: the number that was written to its file.
    """
    widths = (8, 16, 32, 64, 8, 16, 32, 64)
    signed = (False, False, False, False, True, True, True, True)
    arguments = [_cut(n * (i + 1), bits) for i, bits in enumerate(widths)]
    as_numbers = [_signed(v, bits) if s else v for v, bits, s in zip(arguments, widths, signed, strict=True)]
    a, b, c = arguments[:3]
    first, second, third = _cut(n, 32), _cut(n * 2, 32), _cut(n * 3, 32)
    after = _cut(second + 1, 32)
    large = (_cut(n, 64), _cut(n * 2, 64), _cut(n * 3, 64))
    made = [Call(f"args{k}", tuple((v,) for v in arguments[:k]), (_cut(sum(as_numbers[:k]), 64),)) for k in range(1, 9)]
    made += [
        Call("truth", ((n & 1,),), (1 - (n & 1),)),
        Call("reference", ((first, second),), (first,)),
        Call("exclusive", ((first, second),), (after,)),
        # An optional reference is an enum in Rust's debug information, so its address is recorded. In C it points to a
        # structure, so the fields are recorded, or zeroes for a null pointer.
        Call("optional", ((POINTER,) if language == "rust" else (first, after),), (after,)),
        Call("optional", ((0,) if language == "rust" else (0, 0),), (0,)),
    ]
    if language == "rust":
        # One word contains a tag and a number; tag 0 is Ok.
        made += [
            Call("fallible", ((c << 32,),), (c << 32 | 1,)),
            Call("fallible", ((c << 32 | 1,),), (c << 32,)),
        ]
    # A slice has an address and a length: one argument in Rust, two in C.
    slice_of = ((POINTER, 3),) if language == "rust" else ((POINTER,), (3,))
    made += [
        Call("slice", slice_of, (_cut(first + second + third, 64),)),
        Call("small", ((first, after),), (first + after,)),
        Call("large", (large,), (_cut(sum(large), 64),)),
        Call("total", ((first, after), (b,)), (_cut((first + after) * b, 64),)),
        Call("generic_u8", ((a,),), (a + 1,)),
        Call("generic_u32", ((c,),), (c + 1,)),
    ]
    return made


def recorded(table: Records, addresses: NDArray[np.uint64], symbols: Symbols, language: str) -> list[Call]:
    """Return the calls of sample functions in a capture, in order; the result is empty if no return was recorded.

    Args:
        addresses: link-time address of each record's function.
    """
    ours = _named(symbols, language)
    got: list[Call] = []
    for row, address in enumerate(addresses.tolist()):
        if address not in ours:
            continue
        values = tuple(table.values(row))
        if int(table.kind[row]) == RETURN:
            if got and got[-1].function == ours[address] and not got[-1].result:
                got[-1] = replace(got[-1], result=values)
        elif int(table.kind[row]) == ENTRY:
            if int(table.index[row]) == 0:
                got.append(Call(ours[address], (), ()))
            if got:
                got[-1] = replace(got[-1], arguments=(*got[-1].arguments, values))
    return got


def _named(symbols: Symbols, language: str) -> dict[int, str]:
    """Return address -> sample function. Functions with equal bodies may share one address with both names."""
    wanted = {name(language, call.function): call.function for call in calls(language, 0)}
    functions: dict[int, str] = {}
    for address in symbols.modules:
        for symbol in symbols.at(address):
            if demangle(symbol) in wanted:
                functions[address] = wanted[demangle(symbol)]
    return functions


def same(asked: Call, got: Call) -> bool:
    """Check whether a recorded call is the expected one."""
    return (
        asked.function == got.function
        and len(asked.arguments) == len(got.arguments)
        and all(_same(a, g) for a, g in zip(asked.arguments, got.arguments, strict=True))
        and _same(asked.result, got.result)
    )


def _same(asked: Values, got: Values) -> bool:
    return len(asked) == len(got) and all(v != 0 if a == POINTER else a == v for a, v in zip(asked, got, strict=True))


def shown(call: Call) -> str:
    """Format a call for a table."""
    return f"({', '.join(map(_shown, call.arguments))}) = {_shown(call.result)}"


def _shown(values: Values) -> str:
    words = ["pointer" if value == POINTER else f"{value:#x}" for value in values]
    return words[0] if len(words) == 1 else f"{{{', '.join(words)}}}"


def _cut(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
