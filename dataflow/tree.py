"""Group records into calls, and calls into a tree.

Takes a table of records and the kernel that wrote it. Gives one Call per call, in the order in which the calls began,
with its depth. docs/records.md explains how certain the result is.
"""

# The kernel records arguments at an entry and values at a return, and nothing else. A function without parameters has
# no entry record, and a void function has no return record. So the position and the end of a call come from three
# things: return records; stack addresses, which are in the records of scalars; and the code of the functions, which
# shows who calls whom, and at which height of the stack.

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
    """What is needed to read records whose pc is in the call of the callback.

    Attributes:
        places: link-time address of each record, within such a call.
        inlined: returns the functions that are inlined at a place, outermost first.
        size: returns the declared bytes of the value at (function, place, kind, index); 0 if that is not known.
    """

    places: Sequence[int]
    inlined: Callable[[int], tuple[str, ...]]
    size: Callable[[int, int, int, int], int]


class Seen(Enum):
    """Whether an entry or a return was recorded."""

    RECORDED = "recorded"
    NONE = "none"  # the function has nothing to record: no parameters, or no return value
    MISSING = "missing"  # the function has something to record, but there is no record


@dataclass(frozen=True)
class Value:
    """One record of a call.

    Attributes:
        row: its number in the table.
        index: of the argument, 0 for a return.
        size: bytes, at most 255; 0 for a parameter that the compiler removed.
        pointer: address that it was read from.
        fields: the table that the code passes for it; None for a scalar.
        certain: the code decides whether it is an object or a scalar; if not, `fields` is None.
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
    """One call of a function, as far as the records show it.

    Attributes:
        pc: link-time address of the function.
        depth: number of recorded calls that it is in.
        arguments: as recorded, by index.
        returned: its return record.
        entry, exit: whether these were recorded.
        inlined: names of the functions that are inlined into `pc` here, outermost first; the last one was entered.
        place: address of the first record, if the layout has it.
        compared: the comparison, if this is a comparison in the function and not a call.
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
    """A call that may not be over, with its code and its stack pointer at the start, if they are known."""

    call: Call
    code: Code | None
    sp: int | None


class _Fit(Enum):
    """Whether a call can have made another call."""

    CALLS = 1  # its code calls the function, and nothing contradicts it
    MAY = 2  # possibly through a pointer, or through a function that is not recorded
    OVER = 3  # no: the call has ended


def calls(table: Records, pcs: Sequence[int], kernel: Kernel, inside: Inside | None = None) -> list[Call]:
    """Group records into calls.

    Args:
        pcs: the link-time address of each record's function.
        inside: only for layouts whose pc is in the call of the callback.
    """
    builder = _Builder(table, pcs, kernel, inside)
    steps = {ENTRY: builder.enter, COMPARE: builder.compare}
    row = 0
    while row < len(pcs):
        row = steps.get(builder.kinds[row], builder.leave)(row)
    return builder.made


class _Builder:
    """Reads rows in order; `open` contains the calls that may not be over, outermost first."""

    def __init__(self, table: Records, pcs: Sequence[int], kernel: Kernel, inside: Inside | None) -> None:
        self.table, self.pcs, self.kernel, self.inside = table, pcs, kernel, inside
        self.kinds: list[int] = table.kind.tolist()
        self.indexes: list[int] = table.index.tolist()
        self.sizes: list[int] = table.size.tolist()
        self.pointers: list[int] = table.pointer.tolist()
        self.counts: list[int] = table.count.tolist()
        self.made: list[Call] = []
        # For each call in `made`: the stack pointer at the start, and whether the code confirms its caller.
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
        """Return a record, and the stack pointer at the start of its function if the record shows it."""
        code, index, size = self.code(self.pcs[row]), self.indexes[row], self.sizes[row]
        pointer, count = self.pointers[row], self.counts[row]
        sites = self.sites(row, code)
        sites = tuple(s for s in sites if s.values == count)
        tables = {site.fields for site in sites}
        slots = {site.slot for site in sites if site.size}
        slot = slots.pop() if len(slots) == 1 and None in tables else None
        values = tuple(self.table.values(row))
        fields = tables.pop() if len(tables) == 1 else None
        value = Value(row, index, size, pointer, values, fields, certain=bool(sites) and not tables)
        return value, None if slot is None else pointer - slot

    def sites(self, row: int, code: Code | None) -> tuple[Site, ...]:
        """Return the calls of a callback that a record may come from."""
        if code is None:
            return ()
        if self.inside is None:
            return code.of(self.kinds[row], self.indexes[row])
        return tuple(s for s in code.inside(self.inside.places[row]) if s.kind == self.kinds[row])

    def inlined(self, row: int) -> tuple[str, ...]:
        return self.inside.inlined(self.inside.places[row]) if self.inside is not None else ()

    def taken(self, row: int) -> tuple[Value, int | None, int]:
        """Return a value, the stack pointer if the record shows it, and the next row.

        A value that was passed in several registers has one record for each register. They follow one another, come
        from different places, and together are not larger than the type.
        """
        first, sp = self.value(row)
        after = row + 1
        if self.inside is None or first.fields is not None:
            return first, sp, after
        key = (self.kinds[row], self.pcs[row], first.index)
        size = self.inside.size(self.pcs[row], self.inside.places[row], self.kinds[row], first.index)
        pieces = [first]
        while after < len(self.pcs) and (self.kinds[after], self.pcs[after], self.indexes[after]) == key:
            if sum(piece.size for piece in pieces) + self.sizes[after] > size or not self.sizes[after]:
                break
            if self.inside.places[after] <= self.inside.places[after - 1] or self.inlined(after) != self.inlined(row):
                break
            pieces.append(self.value(after)[0])
            after += 1
        if len(pieces) == 1:
            return first, sp, after
        offsets = [sum(piece.size for piece in pieces[:i]) for i in range(len(pieces))]
        fields = tuple((at, piece.size) for at, piece in zip(offsets, pieces, strict=True))
        values = tuple(piece.values[0] for piece in pieces)
        return Value(row, first.index, size, 0, values, fields, certain=True), sp, after

    def enter(self, row: int) -> int:
        """Read the entry records of one call, which have one function and growing indexes; return the next row."""
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
        position, sp, sure = self.parent(pc, sp)
        del self.open[position + 1 :]
        call.depth = len(self.open)
        self.made.append(call)
        self.known.append((sp, sure))
        self.open.append(_Open(call, code, sp))
        return row

    def put(self, call: Call) -> None:
        """Add an event inside a function to its innermost open call; nothing is inside the event."""
        owner = next((i for i in range(len(self.open) - 1, -1, -1) if self.open[i].call.pc == call.pc), None)
        if owner is not None:
            del self.open[owner + 1 :]
        call.depth = len(self.open)
        self.made.append(call)
        self.known.append((None, True))

    def compare(self, row: int) -> int:
        """Read a comparison; return the next row."""
        values = tuple(self.table.values(row))
        value = Value(row, 0, self.sizes[row], self.pointers[row], values, None, certain=True)
        self.put(Call(self.pcs[row], 0, entry=Seen.NONE, exit=Seen.NONE, compared=value))
        return row + 1

    def leave(self, row: int) -> int:
        """Read a return record; return the next row."""
        pc = self.pcs[row]
        value, sp, after = self.taken(row)
        for position in range(len(self.open) - 1, -1, -1):
            candidate = self.open[position]
            if candidate.call.pc == pc and (sp is None or candidate.sp is None or candidate.sp == sp):
                candidate.call.returned, candidate.call.exit = value, Seen.RECORDED
                del self.open[position:]
                return after
        code = self.code(pc)
        entry = Seen.NONE if code is not None and not self.has_entry(code) else Seen.MISSING
        position, sp, sure = self.parent(pc, sp)
        del self.open[position + 1 :]
        call = Call(pc, len(self.open), returned=value, entry=entry, exit=Seen.RECORDED)
        first = self.callees(_Open(call, code, sp))
        for callee in self.made[first:]:
            callee.depth += 1
        self.made.insert(first, call)
        self.known.insert(first, (sp, sure))
        return after

    def has_entry(self, code: Code) -> bool:
        """Check whether a function reports its own parameters, not only those of functions inlined into it."""
        if self.inside is None:
            return code.has_parameters
        inlined = self.inside.inlined
        return any(site.kind == ENTRY and not inlined(site.after - 1) for site in code.sites)

    def callees(self, caller: _Open) -> int:
        """Return where in `made` the callees of a call begin, if the call has no entry record.

        Until its return record comes, its callees have the same depth as the call. They are the last calls at that
        depth that no caller's code confirms, and whose height on the stack fits this call.
        """
        first = len(self.made)
        for position in range(len(self.made) - 1, -1, -1):
            call, (sp, sure) = self.made[position], self.known[position]
            if call.depth > caller.call.depth:
                continue
            if call.depth < caller.call.depth or sure or sp is None or caller.sp is None:
                break
            if _fit(caller, call.pc, sp) is not _Fit.CALLS:
                break
            first = position
        return first

    def parent(self, pc: int, sp: int | None) -> tuple[int, int | None, bool]:
        """Return the position of the open call that made a call; -1 if none did.

        Also return the stack pointer at the start of the call, if it is known now, and whether the caller's code
        confirms the call.
        """
        chosen, fit = -1, _Fit.MAY
        for position in range(len(self.open) - 1, -1, -1):
            caller = self.open[position]
            fit = _fit(caller, pc, sp)
            if fit is _Fit.CALLS:
                chosen = position
                break
            if fit is _Fit.MAY:
                chosen = max(chosen, position)
                # A call whose return is still due is not over, so no call outside it can have made this one.
                if caller.code is None or caller.code.returns_value:
                    break
        if fit is _Fit.CALLS:
            sp = _tied(self.open[chosen], pc, sp)
        return chosen, sp, fit is _Fit.CALLS


def _starts(code: Code, pc: int) -> set[int]:
    return {start for target, start in code.callees if target == pc and start is not None}


def _fit(caller: _Open, pc: int, sp: int | None) -> _Fit:
    if caller.code is None:
        return _Fit.MAY
    direct = any(target == pc for target, _start in caller.code.callees)
    if sp is None or caller.sp is None:
        if direct:
            return _Fit.CALLS
        return _Fit.MAY if caller.code.callees or caller.code.opaque else _Fit.OVER
    height = sp - caller.sp
    if direct and (height in _starts(caller.code, pc) or (height < 0 and not _starts(caller.code, pc))):
        return _Fit.CALLS
    if height in caller.code.open_calls:
        return _Fit.CALLS
    # The stack grows down: all direct and indirect callees begin at or below the height of one of its calls.
    known = [start for _target, start in caller.code.callees if start is not None] + list(caller.code.open_calls)
    highest = max(known, default=0)
    certain = len(known) == len(caller.code.callees) + len(caller.code.open_calls)
    if height > highest and certain and (caller.code.callees or caller.code.opaque):
        return _Fit.OVER
    return _Fit.OVER if height >= 0 else _Fit.MAY


def _tied(caller: _Open, pc: int, sp: int | None) -> int | None:
    """Compute the stack pointer of a caller or of its direct callee from that of the other; return the callee's."""
    starts = _starts(caller.code, pc) if caller.code is not None else set()
    if len(starts) == 1:
        (start,) = starts
        if sp is None and caller.sp is not None:
            return caller.sp + start
        if caller.sp is None and sp is not None:
            caller.sp = sp - start
    return sp


def consistent(made: Sequence[Call]) -> bool:
    """Check whether depths grow by at most one from call to call, as in any tree."""
    before = -1
    for call in made:
        if call.depth > before + 1:
            return False
        before = call.depth
    return True
