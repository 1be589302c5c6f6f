"""Write buffers as a kernel of layout kit-1 does, for benchmarks and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ENTRY, RETURN = 0xE, 0xF


@dataclass(frozen=True)
class Row:
    """One record to write."""

    kind: int
    pc: int
    values: tuple[int, ...]
    index: int = 0
    size: int = 8
    pointer: int = 0


def words(rows: Sequence[Row], first: int = 0) -> list[int]:
    """Return the buffer of some records, word 0 included, numbered from `first`."""
    out = [0]
    for number, row in enumerate(rows, first):
        out.append(len(row.values) << 32 | row.kind << 28 | number & 0xFFFFFF)
        out.append(row.pc)
        out.append(row.index << 56 | row.size << 48 | row.pointer & 0xFFFF_FFFF_FFFF)
        out.extend(row.values)
    out[0] = len(out) - 1
    return out
