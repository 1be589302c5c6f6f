"""List a capture: a call tree for people, or one JSON object per call for programs.

It takes a capture and the kernel that wrote it. Where the records do not tell something, the line says so; nothing is
made up (docs/records.md).
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

MODULES = "modules"  # directory of a kernel product that holds its modules
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Shown:
    """A capture, ready to be written."""

    capture: Capture
    calls: tuple[Call, ...]
    symbols: Symbols
    types: Types


def prepare(path: Path, kernel_dir: Path) -> Shown:
    """Decode a capture and open the kernel that made it.

    Args:
        path: of NAME.words or NAME.json.
        kernel_dir: holds `vmlinux` with debug information, `System.map`, and `modules/` if it has any.

    Raises:
        UserError: a file is not there or not what it should be.
        UnderTest: the words are not what the layout allows.
    """
    one = capture.load(path)
    mapped = symbols.read(kernel_dir / "System.map")
    loaded = symbols.modules(kernel_dir / MODULES, one.modules, mapped, one.stext)
    found = identification.read(
        one, mapped, lambda by_value: sites.load(kernel_dir / "vmlinux", mapped, loaded, by_value=by_value)
    )
    placed = symbols.module_files(kernel_dir / MODULES, one.modules, mapped, one.stext)
    types = Types(kernel_dir / "vmlinux", placed)
    inside = Inside(found.places.tolist(), types.inlined, types.size) if found.form.inside else None
    made = tree.calls(found.table, found.functions.tolist(), found.kernel, inside)
    return Shown(found.capture, tuple(made), found.kernel.symbols, types)


def _chosen(shown: Shown, only: str) -> Iterable[Call]:
    """The calls of one function with all that they call; all calls if `only` is empty.

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
    """All names of a function, Rust's demangled: the debug information's first, then the symbol table's."""
    known = shown.types.function(pc)
    table = shown.symbols.at(pc)
    found = (*((known.name,) if known else ()), *table)
    return tuple(dict.fromkeys(map(demangle, found))) or (f"{pc:#x}",)


def text(shown: Shown, only: str = "") -> Iterator[str]:
    """The call tree, one line per call.

    Args:
        only: name of a function: its calls and what they call.

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
    """One call: `name(parameter=value, ...) = value`."""
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
    """The names of what was called, inlined or not, and what the debug information knows of it."""
    if call.inlined and call.place is not None:
        return call.inlined[-1:], shown.types.inlined_function(call.place)
    if call.compared is not None:
        return ("(comparison)",), None
    return names(shown, call.pc), shown.types.function(call.pc)


def _comparison(one: Value) -> str:
    """The kind is KCOV's: bit 0 says that the first operand is a constant, the next two the size (linux/kcov.h)."""
    size = 1 << (one.pointer >> 1 & 3)
    constant = " (a constant)" if one.pointer & 1 else ""
    return f"(comparison of {size} bytes: {one.values[0]:#x}{constant}, {one.values[1]:#x})"


def _parameter(known: Function | None, index: int) -> Parameter | None:
    return known.parameters[index] if known and index < len(known.parameters) else None


def _argument(known: Function | None, one: Value) -> str:
    parameter = _parameter(known, one.index)
    name = (parameter.name if parameter else "") or f"arg{one.index}"
    if one.size == 0 and one.pointer == 0:
        return f"{name}=<removed>"
    if parameter is None or not _is_object(one, parameter):
        return f"{name}={_scalar(one, parameter)}"
    if parameter.form.kind == "pointer" and (wrong := _no_object(one)):
        return f"{name}={wrong}"
    return f"{name}={_fields(one, parameter)}"


def _is_void(known: Function | None, one: Value) -> bool:
    """Generation L3 reports a return of nothing, too."""
    return known is not None and known.returned is None and one.size == 0


def _returned(known: Function | None, one: Value) -> str:
    parameter = known.returned if known else None
    if one.size == 0 and one.pointer == 0:
        return "<removed>"
    if parameter is None or not _is_object(one, parameter):
        if parameter is not None and len(one.values) == 1:
            return formatting.write_returned(one.values[0], parameter.form)
        return _scalar(one, parameter)
    if parameter.form.kind != "pointer":
        return _fields(one, parameter)
    return _no_object(one) or f"{one.pointer:#x} {_fields(one, parameter)}"


def _is_object(one: Value, parameter: Parameter) -> bool:
    """Whether the values are those of fields: the code says so; failing that, their number must be that of the type."""
    if one.certain:
        return one.fields is not None
    return parameter.fields is not None and len(parameter.fields) == len(one.values)


def _no_object(one: Value) -> str:
    """What a pointer is that points at no object: NULL or an error; empty if it may point at one."""
    if one.pointer == 0:
        return "NULL"
    error = formatting.write(one.pointer & _MASK, formatting.Form("pointer", 8))
    return error if error.startswith("-") else ""


def _fields(one: Value, parameter: Parameter) -> str:
    known = parameter.fields
    if all(value == UNREADABLE for value in one.values):
        return f"{{{formatting.UNREADABLE_TEXT}}}"
    if known is not None and len(known) == len(one.values):
        places = tuple((f.offset, f.size) for f in known)
        if not one.certain or places == one.fields:
            return formatting.write_fields(one.values, known)
    if one.fields is None:
        return _raw(one.values)
    # The type in the debug information is another one than the compiler saw: say where in the object a value is.
    return "{" + ", ".join(f"+{at}={v:#x}" for (at, _size), v in zip(one.fields, one.values, strict=True)) + "}"


def _scalar(one: Value, parameter: Parameter | None) -> str:
    if parameter is None or len(one.values) != 1:
        return _raw(one.values)
    return formatting.write(one.values[0], parameter.form)


def _raw(values: Sequence[int]) -> str:
    words = [formatting.UNREADABLE_TEXT if value == UNREADABLE else f"{value:#x}" for value in values]
    return words[0] if len(words) == 1 else f"{{{', '.join(words)}}}"


def objects(shown: Shown, only: str = "") -> Iterator[dict[str, Any]]:
    """One object per call, in the order in which they began (docs/records.md says what its keys are).

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
                _object(one, _parameter(known, one.index)) | {"text": _argument(known, one).partition("=")[2]}
                for one in call.arguments
            ],
            "returned": None
            if call.returned is None
            else _object(call.returned, known.returned if known else None)
            | {"text": _returned(known, call.returned)},
        }  # fmt: skip


def _object(one: Value, parameter: Parameter | None) -> dict[str, Any]:
    """A record: raw numbers as hexadecimal text, since JSON readers cut integers above 53 bits."""
    places = one.fields
    named = parameter.fields if parameter and parameter.fields and _is_object(one, parameter) else None
    same = named is not None and places == tuple((f.offset, f.size) for f in named)
    return {
        "record": one.row,
        "index": one.index,
        "name": parameter.name if parameter else "",
        "type": parameter.type_name if parameter else "",
        "size": one.size,
        "pointer": f"{one.pointer:#x}",
        "values": [f"{value:#x}" for value in one.values],
        "fields": None
        if places is None
        else [
            {"offset": at, "size": size, "name": named[i].name if same and named else ""}
            for i, (at, size) in enumerate(places)
        ],
    }
