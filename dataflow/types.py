"""Look up the types of a function's parameters and fields in the debug information of a kernel, by address.

Takes a vmlinux and modules with debug information, which drgn reads. Gives names, types and fields, by the rules of the
compiler pass, so that each value of a record has one field: direct members that are not static and have a size; a bit
field widens to whole bytes; one pointer is followed (docs/pass.md). Never runs a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from dataflow import image
from dataflow.formatting import Field, Form
from dataflow.layouts import RETURN

# Typedefs and names with a special form of their integer type (include/linux/types.h, gfp_types.h, fs.h).
_MODE_TYPES = frozenset({"umode_t", "mode_t"})
_MODE_NAMES = frozenset({"mode", "umask", "i_mode"})
_FLAG_TYPES = frozenset({"gfp_t", "fmode_t", "slab_flags_t", "vm_flags_t", "blk_opf_t", "kernel_cap_t", "rwf_t"})


@dataclass(frozen=True)
class Parameter:
    """One parameter, or a return value.

    Attributes:
        type_name: in C notation.
        form: how a value of it is written.
        fields: fields of the structure that it is or points to; None for other types.
    """

    name: str
    type_name: str
    form: Form
    fields: tuple[Field, ...] | None


@dataclass(frozen=True)
class Function:
    """A function in the debug information.

    Attributes:
        returned: its return value; None for a void function.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returned: Parameter | None


class Types:
    """The types of one kernel and of its loaded modules."""

    def __init__(self, vmlinux: Path, modules: Mapping[Path, Mapping[str, int]] | None = None) -> None:
        """Open a kernel image with debug information.

        Args:
            modules: .ko file -> section -> link-time address.

        Raises:
            UserError: a file does not exist, or has no debug information.
        """
        import drgn

        self._program: Any = drgn.Program(drgn.host_platform)
        kernel = self._program.extra_module("vmlinux", create=True)
        # drgn maps the lowest address to the first segment; any other address would shift all of them.
        kernel.address_ranges = [image.extent(vmlinux)]
        _load(kernel, vmlinux)
        for path, sections in (modules or {}).items():
            name = path.stem.replace("-", "_")
            module = self._program.relocatable_module(name, sections.get(".text", 0), create=True)
            module.section_addresses.update(sections)
            sizes = image.section_sizes(path)
            module.address_ranges = sorted({(start, start + sizes[s]) for s, start in sections.items() if sizes.get(s)})
            _load(module, path)
        self._functions: dict[int, Function | None] = {}
        self._inlined: dict[int, tuple[str, ...]] = {}

    def inlined(self, place: int) -> tuple[str, ...]:
        """Return the functions that are inlined at a link-time address within a function, outermost first."""
        if place not in self._inlined:
            self._inlined[place] = tuple(str(frame.name()) for frame in reversed(self._frames(place)[:-1]))
        return self._inlined[place]

    def size(self, function: int, place: int, kind: int, index: int) -> int:
        """Return the bytes of the value that a callback at a place in a function reports; 0 if that is not known."""
        known = self.inlined_function(place) if self.inlined(place) else self.function(function)
        if known is None:
            return 0
        if kind == RETURN:
            return known.returned.form.size if known.returned else 0
        return known.parameters[index].form.size if index < len(known.parameters) else 0

    def _frames(self, place: int) -> list[Any]:
        try:
            return list(self._program.source_location(place))
        except LookupError:
            return []

    def inlined_function(self, place: int) -> Function | None:
        """Return the innermost function that is inlined at a link-time address; None if it is not known."""
        frames = self._frames(place)
        try:
            return _function(str(frames[0].name()), self._program.function(str(frames[0].name()), frames[0].filename))
        except (LookupError, IndexError):
            return None

    def function(self, address: int) -> Function | None:
        """Return the function that starts at a link-time address; None if it is not in the debug information."""
        if address not in self._functions:
            self._functions[address] = self._find(address)
        return self._functions[address]

    def _find(self, address: int) -> Function | None:
        """Find a function in two steps: its address gives name and file, and these give the type.

        A function of a header has one copy for each file that includes it. If the type belongs to another copy, the
        variables in scope at this address must have the names and types of its parameters.
        """
        try:
            # The last entry is the function itself; the entries before it are inlined at its start.
            location = self._program.source_location(address)[-1]
            name = str(location.name())
            function = self._program.function(name, location.filename)
        except LookupError:
            return None
        if function.address_ != address and not self._same_parameters(address, name, function.type_):
            return None
        return _function(name, function)

    def _same_parameters(self, address: int, name: str, kind: Any) -> bool:
        frames = self._program.stack_trace_from_pcs([address + 1])  # drgn looks up the instruction before
        frame = frames[len(frames) - 1]
        known = set(frame.locals())
        return frame.function_name == name and all(
            p.name in known and frame[p.name].type_.type_name() == p.type.type_name() for p in kind.parameters if p.name
        )


def _function(name: str, function: Any) -> Function:
    import drgn

    kind = function.type_
    parameters = tuple(_parameter(p.name or "", p.type) for p in kind.parameters)
    returned = None if kind.type.kind == drgn.TypeKind.VOID else _parameter("", kind.type)
    return Function(name, parameters, returned)


def _load(module: Any, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        module.try_file(path, force=True)
    except Exception as error:  # drgn has no common class for its errors about a file
        raise UserError(f"{path} cannot be read: {error}") from error
    if module.debug_file_bias:
        raise UserError(f"drgn moves the addresses of {path} by {module.debug_file_bias:#x}")
    if module.wants_debug_file():
        raise UserError(f"{path} has no debug information", "build it with DEBUG_INFO_DWARF5")


def _stripped(kind: Any) -> Any:
    import drgn

    while kind.kind == drgn.TypeKind.TYPEDEF:
        kind = kind.type
    return kind


def _typedefs(kind: Any) -> Iterator[str]:
    import drgn

    while kind.kind == drgn.TypeKind.TYPEDEF:
        yield kind.name
        kind = kind.type


def _parameter(name: str, kind: Any) -> Parameter:
    import drgn

    bare = _stripped(kind)
    target = _stripped(bare.type) if bare.kind == drgn.TypeKind.POINTER else bare
    fields = None
    if target.kind in (drgn.TypeKind.STRUCT, drgn.TypeKind.CLASS) and target.is_complete():
        fields = _fields(target) or None
    return Parameter(name, kind.type_name(), _form(name, kind), fields)


def _fields(kind: Any) -> tuple[Field, ...]:
    """Return the direct members of a structure, as in the table of the pass."""
    fields: list[Field] = []
    for member in kind.members:
        bits = member.bit_field_size
        size_bits = 8 * _size(member.type) if bits is None else bits
        if not size_bits:
            continue
        offset = member.bit_offset // 8
        end = (member.bit_offset + size_bits + 7) // 8
        within = None if bits is None else (member.bit_offset % 8, size_bits)
        name = member.name or ""
        fields.append(Field(name, offset, end - offset, _form(name, member.type), within))
    return tuple(fields)


def _size(kind: Any) -> int:
    """Return the bytes of a type; 0 for a flexible array and for a type without a size."""
    import drgn

    bare = _stripped(kind)
    if bare.kind == drgn.TypeKind.ARRAY:
        return 0 if bare.length is None else int(bare.length) * _size(bare.type)
    return int(drgn.sizeof(bare)) if bare.is_complete() else 0


def _form(name: str, kind: Any) -> Form:
    """Return how a value is written, by its type, or by its name if that is more specific."""
    import drgn

    bare = _stripped(kind)
    if bare.kind == drgn.TypeKind.POINTER:
        return Form("pointer", 8)
    if bare.kind == drgn.TypeKind.BOOL:
        return Form("bool", bare.size)
    if bare.kind == drgn.TypeKind.ENUM and bare.is_complete():
        return Form("enum", bare.type.size, tuple((int(e.value), str(e.name)) for e in bare.enumerators))
    if bare.kind == drgn.TypeKind.FLOAT:
        return Form("float", bare.size)
    if bare.kind != drgn.TypeKind.INT:
        return Form("bytes", _size(kind))
    names = set(_typedefs(kind))
    if names & _FLAG_TYPES:
        return Form("flags", bare.size)
    if names & _MODE_TYPES or name in _MODE_NAMES:
        return Form("mode", bare.size)
    if name.endswith(("flags", "flag")):
        return Form("flags", bare.size)
    return Form("signed" if bare.is_signed else "unsigned", bare.size)
