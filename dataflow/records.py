"""Hold the records of a buffer as a table, with one row per record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UnderTest
from dataflow.layouts import POINTER_BITS, SEQUENCE_BITS, Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Passed:
    """The operands of one callback call in a function's code; needed to read records of a layout that leaks.

    Attributes:
        kind: ENTRY or RETURN.
        index, size: as passed, not clamped.
        count: number of values of its record.
        leaf: the function calls only callbacks.
    """

    kind: int
    index: int
    size: int
    count: int
    leaf: bool = False


# Maps the run-time address of a function to what its code passes.
Code = Callable[[int], Iterable[Passed]]


@dataclass(frozen=True)
class Records:
    """A table of records; every array has one element per record.

    Attributes:
        words: the buffer, word 0 included, u64.
        kind: ENTRY, RETURN or COMPARE.
        sequence: 24-bit number that the kernel increases by one per record.
        pc: start of the function, or an address within its call of the callback (`Layout.inside`); a run-time address,
            or a link-time address (`Layout.link_time`); u64.
        index: number of the argument, 0 for returns, at most 255.
        size: bytes of the value or object, at most 255.
        pointer: address that was read, sign-extended from bit 47 if the layout keeps 48 bits; for COMPARE, the kind of
            the comparison; u64.
        count: number of values of the record.
        first: position in `words` of its first value.
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
        """Return the values of one record."""
        start = int(self.first[row])
        values: list[int] = self.words[start : start + int(self.count[row])].tolist()
        return values

    def rows(self, pc: int, kind: int) -> list[int]:
        """Return the rows of one function and kind, in order."""
        import numpy as np

        rows: list[int] = np.flatnonzero((self.pc == np.uint64(pc)) & (self.kind == kind)).tolist()
        return rows

    def flat(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return all values one after another, and where each record's begin (one element more than records)."""
        import numpy as np

        counts = self.count.astype(np.int64)
        begins = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
        positions = np.arange(int(begins[-1]), dtype=np.int64) + np.repeat(self.first - begins[:-1], counts)
        return self.words[positions], begins


def gaps(records: Records) -> list[int]:
    """Return the rows whose sequence number does not follow that of the row before."""
    import numpy as np

    numbers = records.sequence.astype(np.int64)
    steps = (numbers[1:] - numbers[:-1]) & np.int64((1 << SEQUENCE_BITS) - 1)
    rows: list[int] = (np.flatnonzero(steps != 1) + 1).tolist()
    return rows


def addresses(meta: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the pointers in packed words: their low 48 bits, sign-extended."""
    import numpy as np

    shift = np.int64(64 - POINTER_BITS)
    return ((meta.view(np.int64) << shift) >> shift).view(np.uint64)


def bad_word(position: int, what: str) -> UnderTest:
    """Make the error for a word that the layout does not allow."""
    return UnderTest(
        f"word {position} of the buffer: {what}",
        "check that the capture has the layout of the kernel's series; if it has, the kernel or the capture is damaged",
    )


def too_long(position: int, after: int, used: int) -> UnderTest:
    """Make the error for a record that ends after the last counted word."""
    return bad_word(position, f"its record ends before word {after}, but only {used} words are counted")


def bad_header(buffer: NDArray[np.uint64], position: int, form: Layout) -> UnderTest:
    """Make the error for a word that should be a header."""
    return bad_word(position, f"{int(buffer[position]):#x} {_why(int(buffer[position]), form)}")


def _why(word: int, form: Layout) -> str:
    """Return why a word is not a header."""
    if word & form.reserved:
        return f"is not a record header: it has reserved bits {word & form.reserved:#x}"
    kind = word >> form.kind.shift & form.kind.mask
    if kind not in form.kinds:
        return f"is not a record header: {kind:#x} is not a type"
    return "is a record header without values"
