"""Tree: records grouped into calls, and calls into a tree.

What comes in is a table of records and the code that made them; what goes out is one Call per call, in the order in
which they began, with its depth. The kernel records arguments at an entry and values at a return, nothing else: a
function without parameters has no entry, one that returns nothing has no return. So where a call is, and when it is
over, is read from what there is: return records; the stack, whose addresses the records of scalars hold; and the code
of the functions, which says who calls whom, and at which height of the stack. docs/records.md says what this can know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from core.errors import UnderTest
from dataflow.layouts import CLAMP, COMPARE, ENTRY
from dataflow.records import Records
from dataflow.sites import Code, Kernel, Site


@dataclass(frozen=True)
class Inside:
    """What a layout needs whose records name the calls of the callbacks.

    Attributes:
        places: link-time address of each record, within such a call.
        inlined: the functions that are inlined at a place, outermost first.
        size: declared bytes of what a record at (function, place, kind, index) is of; 0 if that is not known.
    """

    places: Sequence[int]
    inlined: Callable[[int], tuple[str, ...]]
    size: Callable[[int, int, int, int], int]


class Seen(Enum):
    """Whether an entry or a return was recorded."""

    RECORDED = "recorded"
    NONE = "none"  # there is nothing to record: no parameters, or no value
    MISSING = "missing"  # there is, but no record of it


@dataclass(frozen=True)
class Value:
    """One record of a call.

    Attributes:
        row: its number in the table.
        index: of the argument, 0 for a return.
        size: bytes, at most 255; 0 for a parameter that the compiler removed.
        pointer: where it was read.
        fields: the table that the code passes for it; None for a scalar.
        certain: the code says what it is; if not, `fields` is a guess from the number of values alone: None.
    """

    row: int
    index: int
    size: int
    pointer: int
    values: tuple[int, ...]
    fields: tuple[tuple[int, int], ...] | None
    certain: bool


@dataclass
class Call:
    """One call of a function, as far as the records tell.

    Attributes:
        pc: link-time address of the function.
        depth: how many recorded calls it is in.
        arguments: as recorded, by index.
        returned: its return record.
        entry, exit: whether these were recorded.
        inlined: names of the functions that are inlined into `pc` here, outermost first; the last one was entered.
        place: address of the first record, where a layout tells it.
        compared: this is no call but a comparison in the function.
    """

    pc: int
    depth: int
    arguments: list[Value] = field(default_factory=list)
    returned: Value | None = None
    entry: Seen = Seen.RECORDED
    exit: Seen = Seen.MISSING
    inlined: tuple[str, ...] = ()
    place: int | None = None
    compared: Value | None = None


@dataclass
class _Open:
    """A call that may not be over: its stack pointer at the start, if known, and its code, if there is any."""

    call: Call
    code: Code | None
    sp: int | None


class _Fit(Enum):
    """Can a call have made another one?"""

    CALLS = 1  # its code does, and nothing speaks against it
    MAY = 2  # through a pointer, or something that is not recorded
    OVER = 3  # no: it has ended


def calls(table: Records, pcs: Sequence[int], kernel: Kernel, inside: Inside | None = None) -> list[Call]:
    """Group records into calls.

    Args:
        pcs: the link-time address of each record's function.
        inside: if the layout is such a one.
    """
    builder = _Builder(table, pcs, kernel, inside)
    steps = {ENTRY: builder.enter, COMPARE: builder.compare}
    row = 0
    while row < len(pcs):
        row = steps.get(builder.kinds[row], builder.leave)(row)
    return builder.made


class _Builder:
    """Reads rows in order; `open` are the calls that may not be over, outermost first."""

    def __init__(self, table: Records, pcs: Sequence[int], kernel: Kernel, inside: Inside | None) -> None:
        self.table, self.pcs, self.kernel, self.inside = table, pcs, kernel, inside
        self.kinds: list[int] = table.kind.tolist()
        self.indexes: list[int] = table.index.tolist()
        self.sizes: list[int] = table.size.tolist()
        self.pointers: list[int] = table.pointer.tolist()
        self.counts: list[int] = table.count.tolist()
        self.made: list[Call] = []
        # Beside `made`: the stack pointer at the start, and whether the code speaks for the call it is in.
        self.known: list[tuple[int | None, bool]] = []
        self.open: list[_Open] = []
        self._codes: dict[int, Code | None] = {}

    def code(self, pc: int) -> Code | None:
        if pc not in self._codes:
            try:
                self._codes[pc] = self.kernel.code(pc)
            except UnderTest:
                self._codes[pc] = None
        return self._codes[pc]

    def value(self, row: int) -> tuple[Value, int | None]:
        """A record, and the stack pointer at the start of its function, if it tells."""
        code, index, size = self.code(self.pcs[row]), self.indexes[row], self.sizes[row]
        pointer, count = self.pointers[row], self.counts[row]
        sites = self.sites(row, code)
        sites = tuple(s for s in sites if s.values == count)
        tables = {site.fields for site in sites}
        slots = {site.slot for site in sites if site.size}
        slot = slots.pop() if len(slots) == 1 and None in tables else None
        values = tuple(self.table.values(row))
        fields = tables.pop() if len(tables) == 1 else None
        one = Value(row, index, size, pointer, values, fields, certain=bool(sites) and not tables)
        return one, None if slot is None else pointer - slot

    def sites(self, row: int, code: Code | None) -> tuple[Site, ...]:
        """The calls of a callback that a record may come from."""
        if code is None:
            return ()
        if self.inside is None:
            return code.of(self.kinds[row], self.indexes[row])
        return tuple(s for s in code.inside(self.inside.places[row]) if s.kind == self.kinds[row])

    def inlined(self, row: int) -> tuple[str, ...]:
        return self.inside.inlined(self.inside.places[row]) if self.inside is not None else ()

    def taken(self, row: int) -> tuple[Value, int | None, int]:
        """A value, the stack pointer if it tells, and the row behind it.

        What came in several registers has as many records, one behind the other and from as many places; no more than
        its type has bytes.
        """
        first, sp = self.value(row)
        after = row + 1
        if self.inside is None or first.fields is not None:
            return first, sp, after
        key = (self.kinds[row], self.pcs[row], first.index)
        size = self.inside.size(self.pcs[row], self.inside.places[row], self.kinds[row], first.index)
        pieces = [first]
        while after < len(self.pcs) and (self.kinds[after], self.pcs[after], self.indexes[after]) == key:
            if sum(one.size for one in pieces) + self.sizes[after] > size or not self.sizes[after]:
                break
            if self.inside.places[after] <= self.inside.places[after - 1] or self.inlined(after) != self.inlined(row):
                break
            pieces.append(self.value(after)[0])
            after += 1
        if len(pieces) == 1:
            return first, sp, after
        offsets = [sum(one.size for one in pieces[:i]) for i in range(len(pieces))]
        fields = tuple((at, one.size) for at, one in zip(offsets, pieces, strict=True))
        values = tuple(one.values[0] for one in pieces)
        return Value(row, first.index, size, 0, values, fields, certain=True), sp, after

    def enter(self, row: int) -> int:
        """The entry records of one call: those of one function whose index grows. Returns the row behind them."""
        pc, first = self.pcs[row], row
        inlined = self.inlined(row)
        call, sp = Call(pc, 0, inlined=inlined, place=self.inside.places[row] if self.inside else None), None
        last = -1
        while row < len(self.pcs) and (self.kinds[row], self.pcs[row]) == (ENTRY, pc):
            index = self.indexes[row]
            if row > first and not (index > last or index == last == CLAMP):
                break
            if self.inlined(row) != inlined:
                break
            argument, seen, row = self.taken(row)
            call.arguments.append(argument)
            sp = seen if sp is None else sp
            last = index
        if inlined:
            call.exit = Seen.NONE
            self.put(call)
            return row
        code = self.code(pc)
        call.exit = Seen.NONE if code is not None and not code.returns_value else Seen.MISSING
        place, sp, sure = self.parent(pc, sp)
        del self.open[place + 1 :]
        call.depth = len(self.open)
        self.made.append(call)
        self.known.append((sp, sure))
        self.open.append(_Open(call, code, sp))
        return row

    def put(self, call: Call) -> None:
        """What happens inside of a function: it is in the innermost open call of that, and nothing is in it."""
        owner = next((i for i in range(len(self.open) - 1, -1, -1) if self.open[i].call.pc == call.pc), None)
        if owner is not None:
            del self.open[owner + 1 :]
        call.depth = len(self.open)
        self.made.append(call)
        self.known.append((None, True))

    def compare(self, row: int) -> int:
        """A comparison. Returns the row behind it."""
        values = tuple(self.table.values(row))
        one = Value(row, 0, self.sizes[row], self.pointers[row], values, None, certain=True)
        self.put(Call(self.pcs[row], 0, entry=Seen.NONE, exit=Seen.NONE, compared=one))
        return row + 1

    def leave(self, row: int) -> int:
        """A return record. Returns the row behind it."""
        pc = self.pcs[row]
        value, sp, after = self.taken(row)
        for place in range(len(self.open) - 1, -1, -1):
            one = self.open[place]
            if one.call.pc == pc and (sp is None or one.sp is None or one.sp == sp):
                one.call.returned, one.call.exit = value, Seen.RECORDED
                del self.open[place:]
                return after
        code = self.code(pc)
        entry = Seen.NONE if code is not None and not self.has_entry(code) else Seen.MISSING
        place, sp, sure = self.parent(pc, sp)
        del self.open[place + 1 :]
        call = Call(pc, len(self.open), returned=value, entry=entry, exit=Seen.RECORDED)
        first = self.callees(_Open(call, code, sp))
        for callee in self.made[first:]:
            callee.depth += 1
        self.made.insert(first, call)
        self.known.insert(first, (sp, sure))
        return after

    def has_entry(self, code: Code) -> bool:
        """Whether a function reports parameters of its own, not only those of what is inlined into it."""
        if self.inside is None:
            return code.has_parameters
        inlined = self.inside.inlined
        return any(site.kind == ENTRY and not inlined(site.after - 1) for site in code.sites)

    def callees(self, one: _Open) -> int:
        """Where in `made` the callees of a call begin that left no entry, so that they stand beside it so far.

        They are the last calls at its depth; nothing but their height speaks for a caller, and this one is it.
        """
        first = len(self.made)
        for place in range(len(self.made) - 1, -1, -1):
            call, (sp, sure) = self.made[place], self.known[place]
            if call.depth > one.call.depth:
                continue
            if call.depth < one.call.depth or sure or sp is None or one.sp is None:
                break
            if _fit(one, call.pc, sp) is not _Fit.CALLS:
                break
            first = place
        return first

    def parent(self, pc: int, sp: int | None) -> tuple[int, int | None, bool]:
        """Which open call made a call, -1 for none of them.

        Also the stack pointer at its start as far as that tells, and whether the caller's code says so.
        """
        chosen, fit = -1, _Fit.MAY
        for place in range(len(self.open) - 1, -1, -1):
            one = self.open[place]
            fit = _fit(one, pc, sp)
            if fit is _Fit.CALLS:
                chosen = place
                break
            if fit is _Fit.MAY:
                chosen = max(chosen, place)
                # What will return has not returned: nothing outside of it can have made the call.
                if one.code is None or one.code.returns_value:
                    break
        if fit is _Fit.CALLS:
            sp = _tied(self.open[chosen], pc, sp)
        return chosen, sp, fit is _Fit.CALLS


def _starts(code: Code, pc: int) -> set[int]:
    return {start for target, start in code.callees if target == pc and start is not None}


def _fit(one: _Open, pc: int, sp: int | None) -> _Fit:
    if one.code is None:
        return _Fit.MAY
    direct = any(target == pc for target, _start in one.code.callees)
    if sp is None or one.sp is None:
        if direct:
            return _Fit.CALLS
        return _Fit.MAY if one.code.callees or one.code.opaque else _Fit.OVER
    height = sp - one.sp
    if direct and (height in _starts(one.code, pc) or (height < 0 and not _starts(one.code, pc))):
        return _Fit.CALLS
    if height in one.code.open_calls:
        return _Fit.CALLS
    # The stack grows down: what it calls, and what that calls, begins at or below the height of one of its calls.
    known = [start for _target, start in one.code.callees if start is not None] + list(one.code.open_calls)
    highest = max(known, default=0)
    certain = len(known) == len(one.code.callees) + len(one.code.open_calls)
    if height > highest and certain and (one.code.callees or one.code.opaque):
        return _Fit.OVER
    return _Fit.OVER if height >= 0 else _Fit.MAY


def _tied(one: _Open, pc: int, sp: int | None) -> int | None:
    """A caller and what it calls directly know each other's stack pointer."""
    starts = _starts(one.code, pc) if one.code is not None else set()
    if len(starts) == 1:
        (start,) = starts
        if sp is None and one.sp is not None:
            return one.sp + start
        if one.sp is None and sp is not None:
            one.sp = sp - start
    return sp


def consistent(made: Sequence[Call]) -> bool:
    """Whether depths grow by one at most: what a tree must have."""
    before = -1
    for call in made:
        if call.depth > before + 1:
            return False
        before = call.depth
    return True
