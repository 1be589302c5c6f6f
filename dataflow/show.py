"""Show: a capture as a call tree, for people, or one JSON object per call, for programs.

What comes in is a capture and the kernel that made it; what goes out is lines. The kernel records entries with
arguments and returns with values, nothing else: a function without parameters has no entry, one that returns nothing
has no return. What cannot be known is said, not made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError, nearest
from dataflow import capture as captures
from dataflow import symbols as symbol_tables
from dataflow.capture import Capture
from dataflow.records import ENTRY, Records
from dataflow.sites import Kernel
from dataflow.symbols import Symbols
from dataflow.types import Function, Types, write, write_fields, write_returned

_POINTER = "pointer"


@dataclass
class Call:
    """One call of a function, as far as the records tell.

    Attributes:
        pc: link-time address of the function.
        depth: how many recorded calls it is in.
        arguments: (index, size, values) as recorded.
        returned: values of the return record, or None if there is none.
        result: the address that the return record passed: that of the object, if it returned one.
        entered: False for a return whose entry was not recorded though the function has parameters.
        slot: lowest stack address that its entry passed, or None: it tells which calls are over.
    """

    pc: int
    depth: int
    arguments: list[tuple[int, int, list[int]]] = field(default_factory=list)
    returned: list[int] | None = None
    result: int = 0
    entered: bool = True
    slot: int | None = None


def calls(table: Records, pcs: Sequence[int], kernel: Kernel) -> list[Call]:
    """Group records into calls, in the order in which they began.

    A call ends with its return record. One that returns nothing ends when its caller returns, or when an entry passes a
    stack address that is not below its own: the stack grows down, so that one is no callee of it.

    Args:
        pcs: the link-time address of each record.
    """
    made: list[Call] = []
    open_: list[Call] = []
    kinds, indexes = table.kind.tolist(), table.index.tolist()
    sizes, pointers = table.size.tolist(), table.pointer.tolist()
    for row, pc in enumerate(pcs):
        values = table.values(row)
        if kinds[row] == ENTRY:
            current = made[-1] if made else None
            slot = _slot(kernel, pc, indexes[row], pointers[row])
            follows = (
                current is not None
                and open_
                and open_[-1] is current
                and current.pc == pc
                and row > 0
                and kinds[row - 1] == ENTRY
                and indexes[row] > current.arguments[-1][0]
            )
            if not follows or current is None:
                while slot is not None and open_ and (top := open_[-1].slot) is not None and slot >= top:
                    open_.pop()
                current = Call(pc, len(open_))
                made.append(current)
                open_.append(current)
            current.arguments.append((indexes[row], sizes[row], values))
            if slot is not None:
                current.slot = slot if current.slot is None else min(slot, current.slot)
            continue
        place = next((i for i in range(len(open_) - 1, -1, -1) if open_[i].pc == pc), None)
        if place is not None:
            open_[place].returned, open_[place].result = values, pointers[row]
            del open_[place:]
            continue
        has_parameters = any(site.kind == ENTRY for site in kernel.sites(pc))
        made.append(Call(pc, len(open_), returned=values, result=pointers[row], entered=not has_parameters))
    return made


def _slot(kernel: Kernel, pc: int, index: int, pointer: int) -> int | None:
    """The stack address that an entry record passed: that of a scalar's copy; None for objects."""
    for site in kernel.sites(pc):
        if site.kind == ENTRY and min(site.index, 255) == index:
            return pointer if site.fields is None and site.size else None
    return None


@dataclass(frozen=True)
class Shown:
    """A capture, ready to be written."""

    capture: Capture
    calls: tuple[Call, ...]
    symbols: Symbols
    kernel: Kernel
    types: Types


def prepare(path: Path, kernel_dir: Path) -> Shown:
    """Decode a capture and open the kernel that made it.

    Raises:
        UserError: a file is not there or not what it should be.
        UnderTest: the words are not what the layout allows.
    """
    one = captures.load(path)
    table = one.records()
    names = symbol_tables.read(kernel_dir / "System.map")
    kernel = Kernel(kernel_dir / "vmlinux", names)
    pcs = [int(pc) for pc in symbol_tables.link_time(table.pc, names, one.stext)]
    return Shown(one, tuple(calls(table, pcs, kernel)), names, kernel, Types(kernel_dir / "vmlinux", names))


def _chosen(shown: Shown, only: str) -> Iterable[Call]:
    """The calls of one function with all that they call; all calls if `only` is empty.

    Raises:
        UserError: no recorded function has that name.
    """
    if not only:
        return shown.calls
    known = {name for call in shown.calls for name in _names(shown, call.pc)}
    if only not in known:
        raise UserError(f"the capture has no record of a function {only}{nearest(only, known)}")
    return _subtrees(shown, only)


def _subtrees(shown: Shown, only: str) -> Iterator[Call]:
    top: int | None = None
    for call in shown.calls:
        if top is not None and call.depth > top:
            yield call
            continue
        top = call.depth if only in _names(shown, call.pc) else None
        if top is not None:
            yield call


def _names(shown: Shown, pc: int) -> tuple[str, ...]:
    """All names of a function: the debug information's first, then the symbol table's."""
    known = shown.types.function(pc)
    table = shown.symbols.at(pc)
    return tuple(dict.fromkeys((*((known.name,) if known else ()), *table))) or (f"{pc:#x}",)


def text(shown: Shown, only: str = "") -> Iterator[str]:
    """The call tree, one line per call.

    Args:
        only: the name of a function: its calls and what they call.
    """
    first: int | None = None
    for call in _chosen(shown, only):
        first = call.depth if first is None or call.depth < first else first
        yield "  " * (call.depth - first) + line(shown, call)
    if shown.capture.dropped:
        yield f"({shown.capture.dropped} records did not fit into the buffer and were dropped)"


def line(shown: Shown, call: Call) -> str:
    """One call: `name(parameter=value, ...) = value`."""
    name, *aliases = _names(shown, call.pc)
    known = shown.types.function(call.pc)
    arguments = ", ".join(_argument(known, *argument) for argument in call.arguments)
    also = f"  [also {', '.join(aliases)}]" if aliases else ""
    if not call.entered:
        return f"...{name} = {_returned(known, call)}  (return without an entry){also}"
    after = "" if call.returned is None else f" = {_returned(known, call)}"
    return f"{name}({arguments}){after}{also}"


def _argument(known: Function | None, index: int, size: int, values: Sequence[int]) -> str:
    parameter = known.parameters[index] if known and index < len(known.parameters) else None
    name = (parameter.name if parameter else "") or f"arg{index}"
    if size == 0 and values == [0]:
        return f"{name}=<removed>"
    if parameter is None:
        return f"{name}={_raw(values)}"
    if parameter.fields and len(parameter.fields) == len(values) and not (len(values) == 1 and size == 8):
        return f"{name}={{{write_fields(values, parameter.fields)}}}"
    if len(values) == 1 and (parameter.fields is None or parameter.form.kind == _POINTER):
        return f"{name}={write(values[0], parameter.form)}"
    return f"{name}={_raw(values)}"


def _returned(known: Function | None, call: Call) -> str:
    values = call.returned or []
    parameter = known.returned if known else None
    if parameter is None:
        return _raw(values)
    if parameter.fields and len(parameter.fields) == len(values):
        where = f"{write(call.result, parameter.form)} " if parameter.form.kind == _POINTER else ""
        return f"{where}{{{write_fields(values, parameter.fields)}}}"
    return write_returned(values[0], parameter.form) if len(values) == 1 else _raw(values)


def _raw(values: Sequence[int]) -> str:
    words = [f"{value:#x}" for value in values]
    return words[0] if len(words) == 1 else f"{{{', '.join(words)}}}"


def objects(shown: Shown, only: str = "") -> Iterator[dict[str, Any]]:
    """One object per call (docs/records.md): names, depth, pc, arguments and returned values, raw and written."""
    for call in _chosen(shown, only):
        known = shown.types.function(call.pc)
        yield {
            "function": _names(shown, call.pc)[0],
            "aliases": list(_names(shown, call.pc)[1:]),
            "pc": f"{call.pc:#x}",
            "depth": call.depth,
            "entered": call.entered,
            "arguments": [
                {
                    "index": index,
                    "name": known.parameters[index].name if known and index < len(known.parameters) else "",
                    "type": known.parameters[index].type_name if known and index < len(known.parameters) else "",
                    "size": size,
                    "values": [f"{value:#x}" for value in values],
                    "text": _argument(known, index, size, values),
                }
                for index, size, values in call.arguments
            ],
            "returned": None
            if call.returned is None
            else {"values": [f"{v:#x}" for v in call.returned], "text": _returned(known, call)},
        }
