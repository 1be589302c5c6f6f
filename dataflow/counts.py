"""Cut records that do not state their own length and type, with the help of the kernel's code.

These are the records of layouts that leak, K1 to K3: K1 has no count; in all three a size of 256 or more runs into the
index, and a count of 16 or more into the type. What the code of each function passes to the callbacks decides. Nothing
is guessed: if two answers fit the words, the buffer is refused.
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
    """What the code of a kernel passes, by run-time address; see `decoding.decode`.

    Raises:
        UserError: it is not known where the kernel was.
    """
    away = symbols.shift(mapped, stext)
    known: dict[int, tuple[Passed, ...]] = {}

    def passed(pc: int) -> tuple[Passed, ...]:
        if pc not in known:
            place = pc - away & _U64
            try:
                own = kernel.code(place) if kernel.symbols.at(place) else None
            except UnderTest:
                own = None
            sites = own.sites if own is not None else ()
            leaf = own is not None and not own.callees and not own.opaque
            known[pc] = tuple(
                Passed(s.kind, s.index, s.size, s.values, leaf) for s in sites if s.pc == place and s.size is not None
            )
        return known[pc]

    return passed


def cut(buffer: NDArray[np.uint64], used: int, form: Layout, code: Code | None) -> Records:
    """Cut `used` words behind word 0; see `decoding.decode` for what it raises."""
    import numpy as np

    if code is None:
        raise UserError(
            f"records of layout {form.name} do not say for certain how many values they have: they need their kernel",
            "show them with the vmlinux and System.map of the kernel that wrote them",
        )
    words: list[int] = buffer[: used + 1].tolist()
    starts: list[int] = []
    found: list[Passed] = []
    open_ = _Open(words, form, code)
    position = 1
    while position <= used:
        fits = [one for one in _fits(words, position, form, code) if position + HEADER_WORDS + one.count <= used + 1]
        if not fits:
            raise _refused(buffer, position, used, form, code)
        fits = open_.allows(position, fits)
        if len({one.count for one in fits}) > 1:
            fits = [one for one in fits if _follows(words, position, one.count, form, code)] or fits
        if len({one.count for one in fits}) > 1:
            counts = " and ".join(str(n) for n in sorted({one.count for one in fits}))
            raise UserError(
                f"word {position} of the buffer: its record may have {counts} values, and nothing tells which",
                "a kernel of a later series writes the count into the record",
            )
        if len({(one.kind, one.index) for one in fits}) > 1:
            raise UserError(
                f"word {position} of the buffer: its record may be an entry or a return, and nothing tells which",
                "a kernel of a later series keeps the type of a record whatever its number of values is",
            )
        starts.append(position)
        found.append(fits[0])
        open_.take(words[position + 1], fits[0])
        position += HEADER_WORDS + fits[0].count
    at = np.array(starts, dtype=np.int64)
    return Records(
        words=buffer,
        kind=np.array([one.kind for one in found], dtype=np.uint8),
        sequence=form.sequence.of(buffer[at]).astype(np.uint32),
        pc=buffer[at + 1],
        index=np.array([min(one.index, CLAMP) for one in found], dtype=np.uint8),
        size=np.array([min(one.size, CLAMP) for one in found], dtype=np.uint8),
        pointer=np.where(
            np.array([one.kind == COMPARE for one in found], dtype=bool), buffer[at + 2], addresses(buffer[at + 2])
        ),
        count=np.array([one.count for one in found], dtype=np.uint16),
        first=at + HEADER_WORDS,
    )


class _Open:
    """The calls that have not returned, as far as records tell: what may come next."""

    def __init__(self, words: list[int], form: Layout, code: Code) -> None:
        self.words, self.form, self.code = words, form, code
        self.calls: list[int] = []
        self.last: tuple[int, Passed] | None = None

    def allows(self, position: int, fits: list[Passed]) -> list[Passed]:
        """What of some possibilities agrees with what was before; all of them if none does: records may be missing."""
        pc = self.words[position + 1]
        if len({(one.kind, one.index) for one in fits}) < 2:
            return fits
        # The arguments of one call are reported one behind the other, all of them, before anything else is.
        if self.last is not None and self.last[0] == pc and self.last[1].kind == ENTRY:
            following = [one for one in fits if (one.kind, one.index) == (ENTRY, self.last[1].index + 1)]
            if following:
                return following
        begins = [one for one in fits if one.kind == ENTRY and one.index == 0]
        ends = [one for one in fits if one.kind == RETURN]
        if not begins or not ends:
            return begins + ends or fits
        if self._begins(position, pc, begins[0]):
            return begins
        return ends if self._ends(position, pc, ends[0]) else begins + ends

    def _second(self, position: int, pc: int, count: int) -> set[tuple[int, int]] | None:
        """What the record behind may be, if of the same function; None if no second argument is to be reported."""
        after = position + HEADER_WORDS + count
        if after >= len(self.words) or all((one.kind, one.index) != (ENTRY, 1) for one in self.code(pc)):
            return None
        if after + 1 >= len(self.words) or self.words[after + 1] != pc:
            return set()
        return {(one.kind, one.index) for one in _fits(self.words, after, self.form, self.code)}

    def _begins(self, position: int, pc: int, one: Passed) -> bool:
        """Whether it must be the first argument of a call."""
        if self._second(position, pc, one.count) == {(ENTRY, 1)} or pc not in self.calls:
            return True
        above = self.calls[len(self.calls) - self.calls[::-1].index(pc) :]
        return any(other.kind == RETURN for inner in above for other in self.code(inner))

    def _ends(self, position: int, pc: int, one: Passed) -> bool:
        """Whether it must be a return: the second argument does not follow, or the innermost call calls nothing."""
        second = self._second(position, pc, one.count)
        return (second is not None and (ENTRY, 1) not in second) or (one.leaf and self.calls[-1] == pc)

    def take(self, pc: int, one: Passed) -> None:
        """A record that was read."""
        if one.kind == ENTRY and one.index == 0:
            self.calls.append(pc)
        elif one.kind == RETURN and pc in self.calls:
            del self.calls[len(self.calls) - 1 - self.calls[::-1].index(pc) :]
        self.last = (pc, one)


def _fits(words: list[int], position: int, form: Layout, code: Code) -> list[Passed]:
    """What a record that begins there may be."""
    if position + HEADER_WORDS >= len(words) or words[position] >> 32 or _stray(words[position], form):
        return []
    header, meta = words[position], words[position + 2]
    if COMPARE in form.kinds and header >> 24 == COMPARE << 4 | 2:
        return [Passed(COMPARE, 0, 0, 2)]
    return [
        one
        for one in code(words[position + 1])
        if _top(one, form) == header >> 24 and (one.index << 8 | one.size) & 0xFFFF == meta >> 48
    ]


def _stray(header: int, form: Layout) -> bool:
    return not form.count.width and bool(header & form.reserved)


def _top(one: Passed, form: Layout) -> int:
    """The bits above the sequence number as the kernel writes them: 32 bits, nothing masked."""
    count = one.count << form.count.shift if form.count.width else 0
    return (one.kind << form.kind.shift | count) >> 24 & 0xFF


def _follows(words: list[int], position: int, count: int, form: Layout, code: Code) -> bool:
    """Whether what comes behind a record of that many values may be the next one, or the end."""
    after = position + HEADER_WORDS + count
    if after == len(words):
        return True
    mask = form.sequence.mask
    return (words[after] - words[position]) & mask == 1 and bool(_fits(words, after, form, code))


def _refused(buffer: NDArray[np.uint64], position: int, used: int, form: Layout, code: Code) -> UnderTest:
    """Why no record begins there."""
    word = int(buffer[position])
    kind = word >> form.kind.shift & form.kind.mask
    if word >> 32 or _stray(word, form) or kind not in form.kinds or position + 1 > used:
        return bad_header(buffer, position, form)
    if position + HEADER_WORDS > used:
        return too_long(position, position + HEADER_WORDS + 1, used)
    fits = _fits(buffer[: used + 1].tolist(), position, form, code)
    if fits:
        return too_long(position, position + HEADER_WORDS + min(one.count for one in fits), used)
    pc, meta = int(buffer[position + 1]), int(buffer[position + 2])
    return UnderTest(
        f"word {position} of the buffer: its record names index {meta >> 56} and size {meta >> 48 & 0xFF}, "
        f"and the code at {pc:#x} passes no such value",
        "the capture is damaged, or this is not the kernel that wrote it",
    )
