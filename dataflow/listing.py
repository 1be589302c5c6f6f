"""List a capture: a call tree for people, or one JSON object per call for programs.

Takes a capture and the kernel that wrote it. Marks what the records do not contain, and never makes anything up
(docs/records.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError, nearest
from dataflow import capture, formatting, identification, sites, symbols, tree
from dataflow.capture import Capture
from dataflow.layouts import UNREADABLE
from dataflow.rust_names import demangle
from dataflow.symbols import Symbols
from dataflow.tree import Call, Inside, Seen, Value
from dataflow.types import Function, Parameter, Types

MODULES = "modules"  # directory of a kernel product that contains its modules
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Shown:
    """A capture, ready to be written."""

    capture: Capture
    calls: tuple[Call, ...]
    symbols: Symbols
    types: Types


def prepare(path: Path, kernel_dir: Path) -> Shown:
    """Decode a capture and open the kernel that wrote it.

    Args:
        path: of NAME.words or NAME.json.
        kernel_dir: contains `vmlinux` with debug information, `System.map`, and `modules/` if the kernel has any.

    Raises:
        UserError: a file is missing or cannot be read.
        UnderTest: the layout does not allow the words.
    """
    captured = capture.load(path)
    mapped = symbols.read(kernel_dir / "System.map")
    loaded = symbols.modules(kernel_dir / MODULES, captured.modules, mapped, captured.stext)
    identified = identification.read(
        captured, mapped, lambda by_value: sites.load(kernel_dir / "vmlinux", mapped, loaded, by_value=by_value)
    )
    placed = symbols.module_files(kernel_dir / MODULES, captured.modules, mapped, captured.stext)
    types = Types(kernel_dir / "vmlinux", placed)
    inside = Inside(identified.places.tolist(), types.inlined, types.size) if identified.form.inside else None
    calls = tree.calls(identified.table, identified.functions.tolist(), identified.kernel, inside)
    return Shown(identified.capture, tuple(calls), identified.kernel.symbols, types)


def _chosen(shown: Shown, only: str) -> Iterable[Call]:
    """Return the calls of one function with everything they call; return all calls if `only` is empty.

    Raises:
        UserError: no recorded function has that name.
    """
    if not only:
        return shown.calls
    known = {name for call in shown.calls for name in named(shown, call)[0]}
    if only not in known:
        raise UserError(f"the capture has no record of a function {only}{nearest(only, known)}")
    return _subtrees(shown, only)


def _subtrees(shown: Shown, only: str) -> Iterator[Call]:
    top: int | None = None
    for call in shown.calls:
        if top is not None and call.depth > top:
            yield call
            continue
        top = call.depth if only in named(shown, call)[0] else None
        if top is not None:
            yield call


def names(shown: Shown, pc: int) -> tuple[str, ...]:
    """Return all names of a function, demangled; the debug information's name first, then the symbol table's."""
    known = shown.types.function(pc)
    table = shown.symbols.at(pc)
    all_names = (*((known.name,) if known else ()), *table)
    return tuple(dict.fromkeys(map(demangle, all_names))) or (f"{pc:#x}",)


def text(shown: Shown, only: str = "") -> Iterator[str]:
    """Return the call tree, one line per call.

    Args:
        only: name of a function; return only its calls and what they call.

    Raises:
        UserError: no recorded function has that name.
    """
    first: int | None = None
    for call in _chosen(shown, only):
        first = call.depth if first is None or call.depth < first else first
        yield "  " * (call.depth - first) + line(shown, call)
    if not shown.calls:
        yield "(nothing was recorded)"
    if shown.capture.dropped:
        yield f"({shown.capture.dropped} records did not fit into the buffer and were dropped)"


def line(shown: Shown, call: Call) -> str:
    """Write one call as `name(parameter=value, ...) = value`."""
    (name, *aliases), known = named(shown, call)
    if call.compared is not None:
        return _comparison(call.compared)
    arguments = ", ".join(_argument(known, argument) for argument in call.arguments)
    parts = [f"{name}({'...' if call.entry is Seen.MISSING else arguments})"]
    if call.returned is not None and not _is_void(known, call.returned):
        parts.append(f" = {_returned(known, call.returned)}")
    elif call.exit is Seen.MISSING:
        parts.append(" = ?  (no return recorded)")
    if call.entry is Seen.MISSING:
        parts.append("  (return without an entry)")
    if call.pc in shown.symbols.modules:
        parts.append(f"  [module {shown.symbols.modules[call.pc]}]")
    if aliases:
        parts.append(f"  [also {', '.join(aliases)}]")
    if call.inlined:
        through = f" through {', '.join(call.inlined[:-1])}" if call.inlined[:-1] else ""
        parts.append(f"  [inlined{through}]")
    return "".join(parts)


def named(shown: Shown, call: Call) -> tuple[tuple[str, ...], Function | None]:
    """Return the names of the called function, inlined or not, and its debug information."""
    if call.inlined and call.place is not None:
        return call.inlined[-1:], shown.types.inlined_function(call.place)
    if call.compared is not None:
        return ("(comparison)",), None
    return names(shown, call.pc), shown.types.function(call.pc)


def _comparison(record: Value) -> str:
    """Write a comparison. Bit 0 of its kind marks a constant first operand, bits 1 and 2 its size (linux/kcov.h)."""
    size = 1 << (record.pointer >> 1 & 3)
    constant = " (a constant)" if record.pointer & 1 else ""
    return f"(comparison of {size} bytes: {record.values[0]:#x}{constant}, {record.values[1]:#x})"


def _parameter(known: Function | None, index: int) -> Parameter | None:
    return known.parameters[index] if known and index < len(known.parameters) else None


def _argument(known: Function | None, record: Value) -> str:
    parameter = _parameter(known, record.index)
    name = (parameter.name if parameter else "") or f"arg{record.index}"
    if record.size == 0 and record.pointer == 0:
        return f"{name}=<removed>"
    if parameter is None or not _is_object(record, parameter):
        return f"{name}={_scalar(record, parameter)}"
    if parameter.form.kind == "pointer" and (wrong := _no_object(record)):
        return f"{name}={wrong}"
    return f"{name}={_fields(record, parameter)}"


def _is_void(known: Function | None, record: Value) -> bool:
    """Check whether a return record is of a void function, which generation L3 reports as well."""
    return known is not None and known.returned is None and record.size == 0


def _returned(known: Function | None, record: Value) -> str:
    parameter = known.returned if known else None
    if record.size == 0 and record.pointer == 0:
        return "<removed>"
    if parameter is None or not _is_object(record, parameter):
        if parameter is not None and len(record.values) == 1:
            return formatting.write_returned(record.values[0], parameter.form)
        return _scalar(record, parameter)
    if parameter.form.kind != "pointer":
        return _fields(record, parameter)
    return _no_object(record) or f"{record.pointer:#x} {_fields(record, parameter)}"


def _is_object(record: Value, parameter: Parameter) -> bool:
    """Check whether the values are those of fields: by the code, or if it does not decide, by their number."""
    if record.certain:
        return record.fields is not None
    return parameter.fields is not None and len(parameter.fields) == len(record.values)


def _no_object(record: Value) -> str:
    """Return `NULL` or the error that a pointer encodes; empty if it may point at an object."""
    if record.pointer == 0:
        return "NULL"
    error = formatting.write(record.pointer & _MASK, formatting.Form("pointer", 8))
    return error if error.startswith("-") else ""


def _fields(record: Value, parameter: Parameter) -> str:
    known = parameter.fields
    if all(value == UNREADABLE for value in record.values):
        return f"{{{formatting.UNREADABLE_TEXT}}}"
    if known is not None and len(known) == len(record.values):
        positions = tuple((f.offset, f.size) for f in known)
        if not record.certain or positions == record.fields:
            return formatting.write_fields(record.values, known)
    if record.fields is None:
        return _raw(record.values)
    # The debug information has another type than the compiler saw, so print the offset of each value in the object.
    return "{" + ", ".join(f"+{at}={v:#x}" for (at, _size), v in zip(record.fields, record.values, strict=True)) + "}"


def _scalar(record: Value, parameter: Parameter | None) -> str:
    if parameter is None or len(record.values) != 1:
        return _raw(record.values)
    return formatting.write(record.values[0], parameter.form)


def _raw(values: Sequence[int]) -> str:
    words = [formatting.UNREADABLE_TEXT if value == UNREADABLE else f"{value:#x}" for value in values]
    return words[0] if len(words) == 1 else f"{{{', '.join(words)}}}"


def objects(shown: Shown, only: str = "") -> Iterator[dict[str, Any]]:
    """Return one object per call, in the order in which the calls began (docs/records.md explains the keys).

    Raises:
        UserError: no recorded function has that name.
    """
    for call in _chosen(shown, only):
        (name, *aliases), known = named(shown, call)
        yield {
            "function": name,
            "aliases": aliases,
            "module": shown.symbols.modules.get(call.pc),
            "pc": f"{call.pc:#x}",
            "depth": call.depth,
            "inlined": list(call.inlined),
            "compared": None if call.compared is None else _object(call.compared, None),
            "entry": call.entry.value,
            "exit": call.exit.value,
            "arguments": [
                _object(record, _parameter(known, record.index)) | {"text": _argument(known, record).partition("=")[2]}
                for record in call.arguments
            ],
            "returned": None
            if call.returned is None
            else _object(call.returned, known.returned if known else None)
            | {"text": _returned(known, call.returned)},
        }  # fmt: skip


def _object(record: Value, parameter: Parameter | None) -> dict[str, Any]:
    """Return a record as JSON values; numbers are hexadecimal text, since JSON readers cut integers above 53 bits."""
    positions = record.fields
    named = parameter.fields if parameter and parameter.fields and _is_object(record, parameter) else None
    same = named is not None and positions == tuple((f.offset, f.size) for f in named)
    return {
        "record": record.row,
        "index": record.index,
        "name": parameter.name if parameter else "",
        "type": parameter.type_name if parameter else "",
        "size": record.size,
        "pointer": f"{record.pointer:#x}",
        "values": [f"{value:#x}" for value in record.values],
        "fields": None
        if positions is None
        else [
            {"offset": at, "size": size, "name": named[i].name if same and named else ""}
            for i, (at, size) in enumerate(positions)
        ],
    }
