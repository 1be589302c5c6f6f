"""Buffers of the RFC's layouts, written from the RFC's own description and independent of the code that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.buffers import Row
from dataflow.records import Passed

COMPARE = 0xC
_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1


def encode(rows: Sequence[Row], layout: str, first: int = 0) -> list[int]:
    """The buffer of some records, word 0 included, numbered from `first`."""
    out = [0]
    for number, row in enumerate(rows, first):
        header = row.kind << 28 | number & 0xFFFFFF
        if layout in ("K2", "K3"):
            header |= len(row.values) << 24  # never masked: 16 values turn an entry into a return
        header &= _U32
        if layout in ("K4", "K5"):
            header |= min(row.index, 255) << 56 | min(row.size, 255) << 48 | min(len(row.values), 65535) << 32
            meta = row.pointer
        elif row.kind == COMPARE:
            meta = row.pointer
        else:  # size is not masked before the shift
            meta = (row.index << 56 | row.size << 48) & _U64 | row.pointer & 0xFFFF_FFFF_FFFF
        out += [header, row.pc, meta, *row.values]
    out[0] = len(out) - 1
    return out


def passed(rows: Iterable[Row]) -> dict[int, list[Passed]]:
    """What the code of the functions passes that wrote these rows."""
    found: dict[int, list[Passed]] = {}
    for row in rows:
        if row.kind != COMPARE:
            found.setdefault(row.pc, []).append(Passed(row.kind, row.index, row.size, len(row.values)))
    return found
