"""Find the ends of records that do not contain their own length and type, from the kernel's code.

Takes a buffer of a layout that leaks (K1 to K3) and the operands that each function passes to the callbacks. K1 has no
count. In all three, a size of 256 or more overflows into the index, and a count of 16 or more into the type. Never
guesses: if two answers fit the words, it refuses the buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UnderTest, UserError
from dataflow import symbols
from dataflow.layouts import CLAMP, COMPARE, ENTRY, HEADER_WORDS, RETURN, Layout
from dataflow.records import Code, Passed, Records, addresses, bad_header, too_long

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dataflow.sites import Kernel
    from dataflow.symbols import Symbols

_U64 = (1 << 64) - 1


def of(kernel: Kernel, mapped: Symbols, stext: int | None) -> Code:
    """Return a function from run-time address to what the kernel's code there passes; see `decoding.decode`.

    Raises:
        UserError: the kernel's address at run time is not known.
    """
    away = symbols.shift(mapped, stext)
    known: dict[int, tuple[Passed, ...]] = {}

    def passed(pc: int) -> tuple[Passed, ...]:
        if pc not in known:
            address = pc - away & _U64
            try:
                own = kernel.code(address) if kernel.symbols.at(address) else None
            except UnderTest:
                own = None
            sites = own.sites if own is not None else ()
            leaf = own is not None and not own.callees and not own.opaque
            known[pc] = tuple(
                Passed(s.kind, s.index, s.size, s.values, leaf) for s in sites if s.pc == address and s.size is not None
            )
        return known[pc]

    return passed


def cut(buffer: NDArray[np.uint64], used: int, form: Layout, code: Code | None) -> Records:
    """Cut the `used` words after word 0 into records; see `decoding.decode` for the errors."""
    import numpy as np

    if code is None:
        raise UserError(
            f"records of layout {form.name} do not state reliably how many values they have",
            "show them with the vmlinux and System.map of the kernel that wrote them",
        )
    words: list[int] = buffer[: used + 1].tolist()
    starts: list[int] = []
    passed: list[Passed] = []
    open_calls = _Open(words, form, code)
    position = 1
    while position <= used:
        fits = [
            record
            for record in _fits(words, position, form, code)
            if position + HEADER_WORDS + record.count <= used + 1
        ]
        if not fits:
            raise _refused(buffer, position, used, form, code)
        fits = open_calls.allows(position, fits)
        if len({record.count for record in fits}) > 1:
            fits = [record for record in fits if _follows(words, position, record.count, form, code)] or fits
        if len({record.count for record in fits}) > 1:
            counts = " and ".join(str(n) for n in sorted({record.count for record in fits}))
            raise UserError(
                f"word {position} of the buffer: its record may have {counts} values, and nothing decides which",
                "use a kernel of a later series, which writes the count into the record",
            )
        if len({(record.kind, record.index) for record in fits}) > 1:
            raise UserError(
                f"word {position} of the buffer: its record may be an entry or a return, and nothing decides which",
                "use a kernel of a later series, where the number of values cannot change the type of a record",
            )
        starts.append(position)
        passed.append(fits[0])
        open_calls.take(words[position + 1], fits[0])
        position += HEADER_WORDS + fits[0].count
    at = np.array(starts, dtype=np.int64)
    return Records(
        words=buffer,
        kind=np.array([record.kind for record in passed], dtype=np.uint8),
        sequence=form.sequence.of(buffer[at]).astype(np.uint32),
        pc=buffer[at + 1],
        index=np.array([min(record.index, CLAMP) for record in passed], dtype=np.uint8),
        size=np.array([min(record.size, CLAMP) for record in passed], dtype=np.uint8),
        pointer=np.where(
            np.array([record.kind == COMPARE for record in passed], dtype=bool),
            buffer[at + 2],
            addresses(buffer[at + 2]),
        ),
        count=np.array([record.count for record in passed], dtype=np.uint16),
        first=at + HEADER_WORDS,
    )


class _Open:
    """The calls that have not returned, as far as the records show; they limit which record may come next."""

    def __init__(self, words: list[int], form: Layout, code: Code) -> None:
        self.words, self.form, self.code = words, form, code
        self.calls: list[int] = []
        self.last: tuple[int, Passed] | None = None

    def allows(self, position: int, fits: list[Passed]) -> list[Passed]:
        """Return the possibilities that agree with the records before; all of them if records may be missing."""
        pc = self.words[position + 1]
        if len({(record.kind, record.index) for record in fits}) < 2:
            return fits
        # A call reports all its arguments one after another, before any other record.
        if self.last is not None and self.last[0] == pc and self.last[1].kind == ENTRY:
            following = [record for record in fits if (record.kind, record.index) == (ENTRY, self.last[1].index + 1)]
            if following:
                return following
        begins = [record for record in fits if record.kind == ENTRY and record.index == 0]
        ends = [record for record in fits if record.kind == RETURN]
        if not begins or not ends:
            return begins + ends or fits
        if self._begins(position, pc, begins[0]):
            return begins
        return ends if self._ends(position, pc, ends[0]) else begins + ends

    def _second(self, position: int, pc: int, count: int) -> set[tuple[int, int]] | None:
        """Return (kind, index) that the next record may have in the same function; None if there is no argument 1."""
        after = position + HEADER_WORDS + count
        if after >= len(self.words) or all((record.kind, record.index) != (ENTRY, 1) for record in self.code(pc)):
            return None
        if after + 1 >= len(self.words) or self.words[after + 1] != pc:
            return set()
        return {(record.kind, record.index) for record in _fits(self.words, after, self.form, self.code)}

    def _begins(self, position: int, pc: int, record: Passed) -> bool:
        """Check whether the record must be the first argument of a call."""
        if self._second(position, pc, record.count) == {(ENTRY, 1)} or pc not in self.calls:
            return True
        above = self.calls[len(self.calls) - self.calls[::-1].index(pc) :]
        return any(other.kind == RETURN for inner in above for other in self.code(inner))

    def _ends(self, position: int, pc: int, record: Passed) -> bool:
        """Check whether the record must be a return: argument 1 does not follow, or the innermost call is a leaf."""
        second = self._second(position, pc, record.count)
        return (second is not None and (ENTRY, 1) not in second) or (record.leaf and self.calls[-1] == pc)

    def take(self, pc: int, record: Passed) -> None:
        """Remember a record that was read."""
        if record.kind == ENTRY and record.index == 0:
            self.calls.append(pc)
        elif record.kind == RETURN and pc in self.calls:
            del self.calls[len(self.calls) - 1 - self.calls[::-1].index(pc) :]
        self.last = (pc, record)


def _fits(words: list[int], position: int, form: Layout, code: Code) -> list[Passed]:
    """Return what a record that begins at a position may be."""
    if position + HEADER_WORDS >= len(words) or words[position] >> 32 or _stray(words[position], form):
        return []
    header, meta = words[position], words[position + 2]
    if COMPARE in form.kinds and header >> 24 == COMPARE << 4 | 2:
        return [Passed(COMPARE, 0, 0, 2)]
    return [
        record
        for record in code(words[position + 1])
        if _top(record, form) == header >> 24 and (record.index << 8 | record.size) & 0xFFFF == meta >> 48
    ]


def _stray(header: int, form: Layout) -> bool:
    return not form.count.width and bool(header & form.reserved)


def _top(record: Passed, form: Layout) -> int:
    """Return the bits above the sequence number as the kernel writes them: 32 bits, without a mask."""
    count = record.count << form.count.shift if form.count.width else 0
    return (record.kind << form.kind.shift | count) >> 24 & 0xFF


def _follows(words: list[int], position: int, count: int, form: Layout, code: Code) -> bool:
    """Check whether a record with `count` values ends at the end of the buffer or before a possible record."""
    after = position + HEADER_WORDS + count
    if after == len(words):
        return True
    mask = form.sequence.mask
    return (words[after] - words[position]) & mask == 1 and bool(_fits(words, after, form, code))


def _refused(buffer: NDArray[np.uint64], position: int, used: int, form: Layout, code: Code) -> UnderTest:
    """Make the error for a position where no record can begin."""
    word = int(buffer[position])
    kind = word >> form.kind.shift & form.kind.mask
    if word >> 32 or _stray(word, form) or kind not in form.kinds or position + 1 > used:
        return bad_header(buffer, position, form)
    if position + HEADER_WORDS > used:
        return too_long(position, position + HEADER_WORDS + 1, used)
    fits = _fits(buffer[: used + 1].tolist(), position, form, code)
    if fits:
        return too_long(position, position + HEADER_WORDS + min(record.count for record in fits), used)
    pc, meta = int(buffer[position + 1]), int(buffer[position + 2])
    return UnderTest(
        f"word {position} of the buffer: its record names index {meta >> 56} and size {meta >> 48 & 0xFF}, "
        f"and the code at {pc:#x} does not pass such a value",
        "check that this is the kernel that wrote the capture; if it is, the capture is damaged",
    )
