"""Decode a buffer: cut its words into the records that the kernel wrote.

Takes the words and the name of their layout, which comes from the metadata of the capture. Gives a table of records.
Never guesses: if the layout does not allow a word, the error names the word. Records that do not contain their own
length need the kernel's code (`dataflow.counts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflow import counts
from dataflow.layouts import COMPARE, HEADER_WORDS, Layout, layout
from dataflow.records import Code, Records, addresses, bad_header, bad_word, gaps, too_long

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode(words: Any, layout_name: str, *, whole: bool = True, code: Code | None = None) -> Records:
    """Cut a buffer into records.

    Args:
        words: array of u64, word 0 (the number of words that follow) included; any words after those are ignored.
        layout_name: from the capture's metadata.
        whole: also raise if the sequence does not step by one; `gaps` lists where it does not.
        code: what the kernel's code passes (`dataflow.counts`); layouts that leak cannot be read without it.

    Raises:
        UserError: the layout is not known, or needs the kernel's code.
        UnderTest: the layout does not allow the words; the message names the word.
    """
    table = cut(words, layout(layout_name), code)
    if whole and (jumps := gaps(table)):
        row = jumps[0]
        before, after = int(table.sequence[row - 1]), int(table.sequence[row])
        raise bad_word(int(table.first[row]) - HEADER_WORDS, f"sequence number {after} follows {before}")
    return table


def cut(words: Any, form: Layout, code: Code | None = None) -> Records:
    """Cut a buffer into records of a given layout; see `decode`."""
    import numpy as np

    buffer = np.ascontiguousarray(words, dtype=np.uint64)
    if buffer.ndim != 1 or len(buffer) == 0:
        raise bad_word(0, "there is no word 0")
    used = int(buffer[0])
    if used > len(buffer) - 1:
        raise bad_word(0, f"it counts {used} words, but the buffer has {len(buffer) - 1}")
    if form.leaks:
        return counts.cut(buffer, used, form, code)
    starts = np.array(_starts(buffer, used, form), dtype=np.int64)
    header = buffer[starts]
    meta = buffer[starts + 2]
    where = meta if form.packed else header
    table = Records(
        words=buffer,
        kind=form.kind.of(header).astype(np.uint8),
        sequence=form.sequence.of(header).astype(np.uint32),
        pc=buffer[starts + 1],
        index=form.index.of(where).astype(np.uint8),
        size=form.size.of(where).astype(np.uint8),
        pointer=addresses(meta) if form.packed else meta,
        count=form.count.of(header).astype(np.uint16),
        first=starts + HEADER_WORDS,
    )
    _check(table, form)
    return table


def _check(table: Records, form: Layout) -> None:
    """Raise if the table as a whole shows that the words have another layout."""
    import numpy as np

    compares = np.flatnonzero((table.kind == COMPARE) & (table.count != 2))
    if len(compares):
        raise bad_word(int(table.first[compares[0]]) - HEADER_WORDS, "it is a comparison without two operands")
    traced = table.kind != COMPARE
    # A kernel that packs index and size into word 2 leaves their bits in the header empty.
    if not form.packed and np.any(traced) and not np.any(table.size[traced]):
        filled = np.flatnonzero(traced & (table.pointer != 0))
        if len(filled):
            position = int(table.first[filled[0]]) - 1
            raise bad_word(
                position, f"it has an address, but no record of the buffer has a size: this is not {form.name}"
            )


def _starts(buffer: NDArray[np.uint64], used: int, form: Layout) -> list[int]:
    """Return the positions where records begin.

    Each record's length gives the position of the next one, so this is a loop; everything else is vectorised.
    """
    import numpy as np

    body = buffer[: used + 1]
    kinds = form.kind.of(body)
    plausible = ((body & np.uint64(form.reserved)) == 0) & np.isin(kinds, form.kinds)
    counts: list[int] = np.where(plausible, form.count.of(body), 0).tolist()
    starts: list[int] = []
    position, end = 1, used + 1
    while position < end:
        count = counts[position]
        if count == 0:
            raise bad_header(buffer, position, form)
        starts.append(position)
        position += HEADER_WORDS + count
    if position != end:
        raise too_long(starts[-1], position, used)
    return starts
