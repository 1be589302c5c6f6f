"""Types: names of parameters and fields, from the debug information of a vmlinux, by the address of a function.

drgn reads the file; no kernel runs. The field rules are those of the compiler pass, so that the values of a record and
the fields of its type go together one by one: direct members that are not static and have a size; a bit field widens to
whole bytes (docs/pass.md).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from dataflow.records import UNREADABLE
from dataflow.symbols import Symbols

_MAX_ERRNO = 4095  # include/linux/err.h


@dataclass(frozen=True)
class Form:
    """How a value is written.

    Attributes:
        kind: `signed`, `unsigned`, `bool`, `pointer`, `enum`, `mode`, `flags`, `float`; `bytes` for what is no scalar.
        size: bytes of the value.
        names: of an enumeration, by value.
    """

    kind: str
    size: int
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Field:
    """One field of a structure, as the pass tables it: byte offset and byte size.

    Attributes:
        bits: (first bit, number of bits) within those bytes, of a bit field; None for others.
    """

    name: str
    offset: int
    size: int
    form: Form
    bits: tuple[int, int] | None = None

    def value(self, recorded: int) -> int:
        """The field's own value in the whole bytes that were recorded."""
        if self.bits is None or recorded == UNREADABLE:
            return recorded
        first, count = self.bits
        value = recorded >> first & (1 << count) - 1
        negative = self.form.kind == "signed" and value >> count - 1
        return value - (1 << count) if negative else value


@dataclass(frozen=True)
class Parameter:
    """One parameter, or a return value.

    Attributes:
        type_name: as C writes it.
        fields: those of the structure that it is or points to; None for others.
    """

    name: str
    type_name: str
    form: Form
    fields: tuple[Field, ...] | None


@dataclass(frozen=True)
class Function:
    """A function as the debug information knows it."""

    name: str
    parameters: tuple[Parameter, ...]
    returned: Parameter | None


class Types:
    """The types of one vmlinux."""

    def __init__(self, vmlinux: Path, symbols: Symbols) -> None:
        """Open a kernel image with debug information.

        Raises:
            UserError: it is not there, or has none.
        """
        import drgn

        if not vmlinux.is_file():
            raise UserError(f"there is no {vmlinux}")
        self._program: Any = drgn.Program(drgn.host_platform)
        module = self._program.extra_module("vmlinux", create=True)
        # Without its range drgn does not know which addresses are this image's.
        module.address_ranges = [(symbols.stext, max(symbols.etext, int(symbols.addresses[-1]) + 1))]
        try:
            module.try_file(vmlinux, force=True)
        except Exception as error:  # drgn has no common class for what it finds wrong with a file
            raise UserError(f"{vmlinux} cannot be read: {error}") from error
        if not module.wants_debug_file() and module.debug_file_path is None:
            raise UserError(f"{vmlinux} has no debug information")
        self._functions: dict[int, Function | None] = {}

    def function(self, address: int) -> Function | None:
        """The function that starts at a link-time address; None if the debug information does not know it."""
        if address not in self._functions:
            self._functions[address] = self._find(address)
        return self._functions[address]

    def _find(self, address: int) -> Function | None:
        try:
            lines = self._program.source_location(address)
        except LookupError:
            return None
        # The last entry is the function itself, those before it are what was inlined at its start.
        name, filename = lines[-1].name(), lines[-1].filename
        try:
            found = self._program.function(name, filename)
        except LookupError:
            return None
        if found.address_ != address:
            return None
        kind = found.type_
        import drgn

        parameters = tuple(_parameter(p.name or "", p.type) for p in kind.parameters)
        returned = None if kind.type.kind == drgn.TypeKind.VOID else _parameter("", kind.type)
        return Function(name, parameters, returned)


def _stripped(kind: Any) -> Any:
    import drgn

    while kind.kind == drgn.TypeKind.TYPEDEF:
        kind = kind.type
    return kind


def _parameter(name: str, kind: Any) -> Parameter:
    import drgn

    bare = _stripped(kind)
    target = _stripped(bare.type) if bare.kind == drgn.TypeKind.POINTER else bare
    fields = None
    if target.kind in (drgn.TypeKind.STRUCT, drgn.TypeKind.CLASS) and target.is_complete():
        fields = _fields(target) or None
    return Parameter(name, kind.type_name(), _form(name, kind), fields)


def _fields(kind: Any) -> tuple[Field, ...]:
    """The direct members of a structure, as the pass tables them."""
    found: list[Field] = []
    for member in kind.members:
        bits = member.bit_field_size
        if bits is None:
            try:
                size_bits = 8 * _size(member.type)
            except TypeError:
                continue
        else:
            size_bits = bits
        if not size_bits:
            continue
        offset = member.bit_offset // 8
        end = (member.bit_offset + size_bits + 7) // 8
        within = None if bits is None else (member.bit_offset % 8, size_bits)
        found.append(Field(member.name or "", offset, end - offset, _form(member.name or "", member.type), within))
    return tuple(found)


def _size(kind: Any) -> int:
    """Bytes of a type; 0 for a flexible array."""
    import drgn

    bare = _stripped(kind)
    if bare.kind == drgn.TypeKind.ARRAY:
        return 0 if bare.length is None else int(bare.length) * _size(bare.type)
    return int(drgn.sizeof(bare))


def _form(name: str, kind: Any) -> Form:
    """How a value of a type, and of a name where that says more, is written."""
    import drgn

    bare = _stripped(kind)
    names = _typedef_names(kind)
    if bare.kind == drgn.TypeKind.POINTER:
        return Form("pointer", 8)
    if bare.kind == drgn.TypeKind.BOOL:
        return Form("bool", bare.size)
    if bare.kind == drgn.TypeKind.ENUM and bare.is_complete():
        return Form("enum", bare.type.size, tuple((e.value, e.name) for e in bare.enumerators))
    if bare.kind == drgn.TypeKind.FLOAT:
        return Form("float", bare.size)
    if bare.kind == drgn.TypeKind.INT:
        if "umode_t" in names or "mode_t" in names or name in ("mode", "umask"):
            return Form("mode", bare.size)
        if "flags" in name:
            return Form("flags", bare.size)
        return Form("signed" if bare.is_signed else "unsigned", bare.size)
    return Form("bytes", 8)


def _typedef_names(kind: Any) -> list[str]:
    import drgn

    names: list[str] = []
    while kind.kind == drgn.TypeKind.TYPEDEF:
        names.append(kind.name)
        kind = kind.type
    return names


def write(value: int, form: Form) -> str:
    """A value as its type says, such as `-100`, `0640`, `0x8241`, `-ENOENT`, `true`."""
    if value == UNREADABLE:
        return "<unreadable>"
    size = min(form.size, 8) or 8
    bits = value & (1 << 8 * size) - 1
    if form.kind in ("pointer", "bytes"):
        error = (1 << 64) - bits
        return (
            f"-{errno.errorcode.get(error, error)}" if 0 < error <= _MAX_ERRNO else (f"{bits:#x}" if bits else "NULL")
        )
    if form.kind == "bool":
        return "true" if bits & 0xFF else "false"
    if form.kind == "mode":
        return f"0{bits:o}"
    if form.kind in ("flags", "float"):
        return f"{bits:#x}"
    number = bits - (1 << 8 * size) if form.kind != "unsigned" and bits >> (8 * size - 1) else bits
    if form.kind == "enum":
        return next((name for v, name in form.names if v in (number, bits)), str(number))
    return str(number)


def write_returned(value: int, form: Form) -> str:
    """A return value: small negative integers are error codes in the kernel."""
    text = write(value, form)
    if form.kind == "signed" and text.startswith("-") and text[1:].isdigit() and int(text[1:]) in errno.errorcode:
        return f"-{errno.errorcode[int(text[1:])]}"
    return text


def write_fields(values: Sequence[int], fields: Sequence[Field]) -> str:
    """The values of a structure with the names of its fields."""
    return ", ".join(
        f"{field.name or '<anonymous>'}={write(field.value(value), field.form)}"
        for field, value in zip(fields, values, strict=True)
    )
