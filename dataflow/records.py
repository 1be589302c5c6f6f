"""Records: the words of a buffer, cut into what the kernel wrote.

What comes in is a buffer of u64 words and the name of its layout, as the metadata of the capture states it; the content
only checks it. What goes out is a table with one row per record. Nothing is guessed: words that the layout does not
allow are an error that names the word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UnderTest, UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENTRY = 0xE
RETURN = 0xF
HEADER_WORDS = 3  # header, pc, and index/size/pointer
UNREADABLE = 0xBADADD85  # what the kernel stores for a value that it could not read
_SEQUENCE_MASK = (1 << 24) - 1


@dataclass(frozen=True)
class Layout:
    """How a kernel lays out a record.

    Attributes:
        count_shift, count_mask: where the header holds the number of values.
        reserved: header bits that are always zero.
    """

    name: str
    count_shift: int
    count_mask: int
    reserved: int


# Our own series: bits 47:32 count, 31:28 type, 23:0 sequence (docs/architecture.md). The RFC's later layouts hold more
# in the header and come with the import of those series; K1 has no count, so that its buffers alone cannot be read.
LAYOUTS: Mapping[str, Layout] = {"kit-1": Layout("kit-1", 32, 0xFFFF, 0xFFFF_0000_0F00_0000)}


@dataclass(frozen=True)
class Records:
    """A table of records; every array has one element per record.

    Attributes:
        words: the buffer, word 0 included, u64.
        kind: ENTRY or RETURN.
        sequence: 24-bit number that the kernel counts up by one per record.
        pc: address of the function, u64.
        index: number of the argument, 0 for returns.
        size: bytes of the value or object, at most 255.
        pointer: address that was read, sign-extended from bit 47, u64.
        count: how many values the record has.
        first: where in `words` its first value is.
    """

    words: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    sequence: NDArray[np.uint32]
    pc: NDArray[np.uint64]
    index: NDArray[np.uint8]
    size: NDArray[np.uint8]
    pointer: NDArray[np.uint64]
    count: NDArray[np.uint16]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pc)

    def values(self, row: int) -> list[int]:
        """The values of one record."""
        start = int(self.first[row])
        return [int(word) for word in self.words[start : start + int(self.count[row])]]

    def rows(self, pc: int, kind: int) -> list[int]:
        """The rows of one function and kind, in order."""
        import numpy as np

        return [int(row) for row in np.nonzero((self.pc == np.uint64(pc)) & (self.kind == kind))[0]]


def layout(name: str) -> Layout:
    """A layout by name.

    Raises:
        UserError: it is not known, so nothing can be said of the words.
    """
    if name not in LAYOUTS:
        raise UserError(
            f"the record layout {name or '(none)'} is not known{nearest(name, LAYOUTS)}",
            "a capture's layout comes from the series that its kernel was built with",
        )
    return LAYOUTS[name]


def _bad(position: int, what: str) -> UnderTest:
    return UnderTest(f"word {position} of the buffer: {what}", "the kernel wrote what its layout does not allow")


def decode(words: Any, layout_name: str) -> Records:
    """Cut a buffer into records.

    Args:
        words: array of u64, word 0 (the number of words that follow) included.
        layout_name: as the capture's metadata states it.

    Raises:
        UserError: the layout is not known.
        UnderTest: the words are not what the layout allows; the message names the word.
    """
    import numpy as np

    kind_of = layout(layout_name)
    buffer = np.ascontiguousarray(words, dtype=np.uint64)
    if len(buffer) == 0:
        raise _bad(0, "there is no word 0")
    used = int(buffer[0])
    if used > len(buffer) - 1:
        raise _bad(0, f"it counts {used} words, the buffer has {len(buffer) - 1}")
    starts = np.array(_starts(buffer, used, kind_of), dtype=np.int64)
    header = buffer[starts] if len(starts) else buffer[:0]
    wrong = header & np.uint64(kind_of.reserved)
    kind = ((header >> np.uint64(28)) & np.uint64(0xF)).astype(np.uint8)
    bad = np.nonzero((wrong != 0) | ((kind != ENTRY) & (kind != RETURN)))[0]
    if len(bad):
        raise _bad(int(starts[bad[0]]), f"{int(header[bad[0]]):#x} is no record header")
    meta = buffer[starts + 2] if len(starts) else buffer[:0]
    low = (meta & np.uint64((1 << 48) - 1)).astype(np.int64)
    return Records(
        words=buffer,
        kind=kind,
        sequence=(header & np.uint64(_SEQUENCE_MASK)).astype(np.uint32),
        pc=buffer[starts + 1] if len(starts) else buffer[:0],
        index=(meta >> np.uint64(56)).astype(np.uint8),
        size=((meta >> np.uint64(48)) & np.uint64(0xFF)).astype(np.uint8),
        pointer=((low << 16) >> 16).astype(np.uint64),
        count=((header >> np.uint64(kind_of.count_shift)) & np.uint64(kind_of.count_mask)).astype(np.uint16),
        first=starts + HEADER_WORDS,
    )


def _starts(buffer: NDArray[np.uint64], used: int, kind_of: Layout) -> list[int]:
    """Where the records begin: each one tells where the next one is, so this walks; everything else is vectorised."""
    import numpy as np

    counts = ((buffer[: used + 1] >> np.uint64(kind_of.count_shift)) & np.uint64(kind_of.count_mask)).tolist()
    starts: list[int] = []
    position, end = 1, used + 1
    while position < end:
        count = counts[position]
        if count == 0:
            raise _bad(position, f"{int(buffer[position]):#x} is no record header: it counts no values")
        starts.append(position)
        position += HEADER_WORDS + count
    if position != end:
        raise _bad(starts[-1], f"its record ends at word {position}, but only {used} words are counted")
    return starts


def gaps(records: Records) -> list[int]:
    """The rows whose sequence number does not follow that of the row before."""
    import numpy as np

    if len(records) < 2:
        return []
    steps = (records.sequence[1:].astype(np.int64) - records.sequence[:-1].astype(np.int64)) & _SEQUENCE_MASK
    return [int(row) + 1 for row in np.nonzero(steps != 1)[0]]
