"""Records: the words of a buffer, cut into what the kernel wrote.

What comes in is a buffer of u64 words and the name of its layout, as the metadata of the capture states it; the content
only checks it. What goes out is a table with one row per record. Nothing is guessed: words that the layout does not
allow are an error that names the word. Records that do not say what they are need the kernel's code (dataflow.counts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UnderTest, UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARE = 0xC  # two operands of a comparison; layouts K3 to K5
ENTRY = 0xE
RETURN = 0xF
HEADER_WORDS = 3  # header, pc, and index/size/pointer; the same in all known layouts
UNREADABLE = 0xBADADD85  # what the kernel stores for a value that it could not read
CLAMP = 255  # the largest index and size that a record can state
_SEQUENCE_BITS = 24
_POINTER_BITS = 48


@dataclass(frozen=True)
class Bits:
    """A run of bits in a word: its lowest one, and how many."""

    shift: int
    width: int

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1

    def of(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The number in these bits, of each word."""
        import numpy as np

        return (words >> np.uint64(self.shift)) & np.uint64(self.mask)


@dataclass(frozen=True)
class Layout:
    """How a kernel lays out a record.

    Attributes:
        count, kind, sequence: where in the header word these are; `count` is of no width if no record states it.
        index, size: where they are, in the header if `packed` is false, else in word 2.
        packed: word 2 holds index, size and the low 48 bits of the pointer; else it is all pointer.
        info_version: what KCOV_DF_INFO calls this layout; None where there is no such call.
        leaks: nothing is clamped: a size of 256 or more runs into the index, a count of 16 or more into the type.
        kinds: the types that its headers have.
        link_time: the kernel has taken its KASLR offset out of the pc.
        inside: the pc is within the call of the callback, not the function's start.
    """

    name: str
    count: Bits
    index: Bits = Bits(56, 8)
    size: Bits = Bits(48, 8)
    packed: bool = True
    kind: Bits = Bits(28, 4)
    sequence: Bits = Bits(0, _SEQUENCE_BITS)
    info_version: int | None = None
    leaks: bool = False
    kinds: tuple[int, ...] = (ENTRY, RETURN)
    link_time: bool = False
    inside: bool = False

    @property
    def reserved(self) -> int:
        """The header bits that nothing uses: always zero."""
        used = [self.count, self.kind, self.sequence]
        if not self.packed:
            used += [self.index, self.size]
        taken = 0
        for bits in used:
            taken |= bits.mask << bits.shift
        return ~taken & (1 << 64) - 1


_TRACED = (COMPARE, ENTRY, RETURN)
# Our own series (docs/architecture.md, "The kernel ABI of series kit"), then those of the RFC: the posting of 3 June
# 2026, that of 11 June, and the branches after it (spec/kcov-dataflow.md, sections 2 and 3).
LAYOUTS: Mapping[str, Layout] = {
    form.name: form
    for form in (
        Layout("kit-1", Bits(32, 16), info_version=1),
        Layout("kit-2", Bits(32, 16), info_version=2, inside=True),
        Layout("K1", Bits(0, 0), leaks=True),
        Layout("K2", Bits(24, 4), leaks=True),
        Layout("K3", Bits(24, 4), leaks=True, kinds=_TRACED),
        Layout("K4", Bits(32, 16), packed=False, kinds=_TRACED, link_time=True),
        Layout("K5", Bits(32, 16), packed=False, kinds=_TRACED, link_time=True, inside=True),
    )
}


@dataclass(frozen=True)
class Passed:
    """What the code of a function passes to a callback, as records of a layout that leaks need to be told.

    Attributes:
        kind: ENTRY or RETURN.
        index, size: as passed, not clamped.
        count: how many values its record has.
        leaf: the function calls nothing but callbacks.
    """

    kind: int
    index: int
    size: int
    count: int
    leaf: bool = False


# From the run-time address of a function to what its code passes.
Code = Callable[[int], Iterable[Passed]]


@dataclass(frozen=True)
class Records:
    """A table of records; every array has one element per record.

    Attributes:
        words: the buffer, word 0 included, u64.
        kind: ENTRY, RETURN or COMPARE.
        sequence: 24-bit number that the kernel counts up by one per record.
        pc: address of the function, or within its call of the callback (`Layout.inside`): at run time, or as linked
            (`Layout.link_time`); u64.
        index: number of the argument, 0 for returns, at most 255.
        size: bytes of the value or object, at most 255.
        pointer: address that was read; sign-extended from bit 47 where the layout keeps 48 bits; the kind of the
            comparison for COMPARE; u64.
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
        found: list[int] = self.words[start : start + int(self.count[row])].tolist()
        return found

    def rows(self, pc: int, kind: int) -> list[int]:
        """The rows of one function and kind, in order."""
        import numpy as np

        found: list[int] = np.flatnonzero((self.pc == np.uint64(pc)) & (self.kind == kind)).tolist()
        return found

    def flat(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """All values one after another, and where those of each record begin (one element more than records)."""
        import numpy as np

        counts = self.count.astype(np.int64)
        begins = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
        places = np.arange(int(begins[-1]), dtype=np.int64) + np.repeat(self.first - begins[:-1], counts)
        return self.words[places], begins


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


def decode(words: Any, layout_name: str, *, whole: bool = True, code: Code | None = None) -> Records:
    """Cut a buffer into records.

    Args:
        words: array of u64, word 0 (the number of words that follow) included; what lies behind them is not looked at.
        layout_name: as the capture's metadata states it.
        whole: also demand that the sequence steps by one; `gaps` tells where it does not.
        code: what the kernel's code passes (`dataflow.counts`); layouts that leak are not read without it.

    Raises:
        UserError: the layout is not known, or its words mean nothing without the kernel's code.
        UnderTest: the words are not what the layout allows; the message names the word.
    """
    table = cut(words, layout(layout_name), code)
    if whole and (jumps := gaps(table)):
        row = jumps[0]
        before, after = int(table.sequence[row - 1]), int(table.sequence[row])
        raise _bad(int(table.first[row]) - HEADER_WORDS, f"sequence number {after} follows {before}")
    return table


def cut(words: Any, form: Layout, code: Code | None = None) -> Records:
    """Cut a buffer into records of a given layout; see `decode`."""
    import numpy as np

    buffer = np.ascontiguousarray(words, dtype=np.uint64)
    if buffer.ndim != 1 or len(buffer) == 0:
        raise _bad(0, "there is no word 0")
    used = int(buffer[0])
    if used > len(buffer) - 1:
        raise _bad(0, f"it counts {used} words, the buffer has {len(buffer) - 1}")
    if form.leaks:
        from dataflow import counts

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


def addresses(meta: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The pointers in packed words: their low 48 bits, sign-extended."""
    import numpy as np

    shift = np.int64(64 - _POINTER_BITS)
    return ((meta.view(np.int64) << shift) >> shift).view(np.uint64)


def _check(table: Records, form: Layout) -> None:
    """What no header says of itself: whether the words speak of another layout."""
    import numpy as np

    compares = np.flatnonzero((table.kind == COMPARE) & (table.count != 2))
    if len(compares):
        raise _bad(int(table.first[compares[0]]) - HEADER_WORDS, "is a comparison without two operands")
    traced = table.kind != COMPARE
    # A kernel that packs index and size into word 2 leaves these bits of the header empty, and word 2 has too many.
    if not form.packed and np.any(traced) and not np.any(table.size[traced]):
        filled = np.flatnonzero(traced & (table.pointer != 0))
        if len(filled):
            place = int(table.first[filled[0]]) - 1
            raise _bad(place, f"it has an address, and no record of the buffer has a size: this is not {form.name}")


def _starts(buffer: NDArray[np.uint64], used: int, form: Layout) -> list[int]:
    """Where the records begin: each one tells where the next one is, so this walks; everything else is vectorised."""
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


def too_long(position: int, after: int, used: int) -> UnderTest:
    """A record that ends where no counted word is any more."""
    return _bad(position, f"its record ends before word {after}, but only {used} words are counted")


def bad_header(buffer: NDArray[np.uint64], position: int, form: Layout) -> UnderTest:
    """A word that should be a header."""
    return _bad(position, f"{int(buffer[position]):#x} {_why(int(buffer[position]), form)}")


def _why(word: int, form: Layout) -> str:
    """What keeps a word from being a header."""
    if word & form.reserved:
        return f"is no record header: it has reserved bits {word & form.reserved:#x}"
    kind = word >> form.kind.shift & form.kind.mask
    if kind not in form.kinds:
        return f"is no record header: {kind:#x} is no type"
    return "is a record header without values"


def gaps(records: Records) -> list[int]:
    """The rows whose sequence number does not follow that of the row before."""
    import numpy as np

    numbers = records.sequence.astype(np.int64)
    steps = (numbers[1:] - numbers[:-1]) & np.int64((1 << _SEQUENCE_BITS) - 1)
    found: list[int] = (np.flatnonzero(steps != 1) + 1).tolist()
    return found
