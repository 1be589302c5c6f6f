"""Types: names of parameters and fields, from the debug information of a kernel, by the address of a function.

drgn reads the files; no kernel runs. The field rules are those of the compiler pass, so that the values of a record and
the fields of its type go together one by one: direct members that are not static and have a size; a bit field widens to
whole bytes; one pointer is followed (docs/pass.md). How values are written is in dataflow.formatting.
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

# Typedefs and names that say more than their integer type (include/linux/types.h, gfp_types.h, fs.h).
_MODE_TYPES = frozenset({"umode_t", "mode_t"})
_MODE_NAMES = frozenset({"mode", "umask", "i_mode"})
_FLAG_TYPES = frozenset({"gfp_t", "fmode_t", "slab_flags_t", "vm_flags_t", "blk_opf_t", "kernel_cap_t", "rwf_t"})


@dataclass(frozen=True)
class Parameter:
    """One parameter, or a return value.

    Attributes:
        type_name: as C writes it.
        form: how a value of it is written.
        fields: those of the structure that it is or points to; None for others.
    """

    name: str
    type_name: str
    form: Form
    fields: tuple[Field, ...] | None


@dataclass(frozen=True)
class Function:
    """A function as the debug information knows it.

    Attributes:
        returned: what it returns; None if it returns nothing.
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
            UserError: a file is not there, or has no debug information.
        """
        import drgn

        self._program: Any = drgn.Program(drgn.host_platform)
        kernel = self._program.extra_module("vmlinux", create=True)
        # drgn takes the lowest address for that of the first segment: another one would shift all of them.
        kernel.address_ranges = [image.extent(vmlinux)]
        _load(kernel, vmlinux)
        for path, sections in (modules or {}).items():
            name = path.stem.replace("-", "_")
            one = self._program.relocatable_module(name, sections.get(".text", 0), create=True)
            one.section_addresses.update(sections)
            sizes = image.section_sizes(path)
            one.address_ranges = sorted({(start, start + sizes[s]) for s, start in sections.items() if sizes.get(s)})
            _load(one, path)
        self._functions: dict[int, Function | None] = {}
        self._inlined: dict[int, tuple[str, ...]] = {}

    def inlined(self, place: int) -> tuple[str, ...]:
        """The functions that are inlined at a link-time address within a function, outermost first."""
        if place not in self._inlined:
            self._inlined[place] = tuple(str(one.name()) for one in reversed(self._frames(place)[:-1]))
        return self._inlined[place]

    def size(self, function: int, place: int, kind: int, index: int) -> int:
        """Bytes of what a callback that is called at a place in a function reports; 0 if that is not known."""
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
        """The innermost function that is inlined at a link-time address; None if the debug information is silent."""
        frames = self._frames(place)
        try:
            return _function(str(frames[0].name()), self._program.function(str(frames[0].name()), frames[0].filename))
        except (LookupError, IndexError):
            return None

    def function(self, address: int) -> Function | None:
        """The function that starts at a link-time address; None if the debug information does not know it."""
        if address not in self._functions:
            self._functions[address] = self._find(address)
        return self._functions[address]

    def _find(self, address: int) -> Function | None:
        """By address in two steps: its source location names function and file, and those name the type.

        A function of a header has one copy per file that includes it: if the type's copy is another one, the variables
        that are in scope at this address must be of its parameters' names and types.
        """
        try:
            # The last entry is the function itself, those before it are what was inlined at its start.
            place = self._program.source_location(address)[-1]
            name = str(place.name())
            found = self._program.function(name, place.filename)
        except LookupError:
            return None
        if found.address_ != address and not self._same_parameters(address, name, found.type_):
            return None
        return _function(name, found)

    def _same_parameters(self, address: int, name: str, kind: Any) -> bool:
        frames = self._program.stack_trace_from_pcs([address + 1])  # drgn looks up the instruction before
        frame = frames[len(frames) - 1]
        known = set(frame.locals())
        return frame.function_name == name and all(
            p.name in known and frame[p.name].type_.type_name() == p.type.type_name() for p in kind.parameters if p.name
        )


def _function(name: str, found: Any) -> Function:
    import drgn

    kind = found.type_
    parameters = tuple(_parameter(p.name or "", p.type) for p in kind.parameters)
    returned = None if kind.type.kind == drgn.TypeKind.VOID else _parameter("", kind.type)
    return Function(name, parameters, returned)


def _load(module: Any, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        module.try_file(path, force=True)
    except Exception as error:  # drgn has no common class for what it finds wrong with a file
        raise UserError(f"{path} cannot be read: {error}") from error
    if module.debug_file_bias:
        raise UserError(f"drgn moves the addresses of {path} by {module.debug_file_bias:#x}")
    if module.wants_debug_file():
        raise UserError(f"{path} has no debug information", "its config needs DEBUG_INFO_DWARF5")


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
    """The direct members of a structure, as the pass tables them."""
    found: list[Field] = []
    for member in kind.members:
        bits = member.bit_field_size
        size_bits = 8 * _size(member.type) if bits is None else bits
        if not size_bits:
            continue
        offset = member.bit_offset // 8
        end = (member.bit_offset + size_bits + 7) // 8
        within = None if bits is None else (member.bit_offset % 8, size_bits)
        name = member.name or ""
        found.append(Field(name, offset, end - offset, _form(name, member.type), within))
    return tuple(found)


def _size(kind: Any) -> int:
    """Bytes of a type; 0 for a flexible array and for what has none."""
    import drgn

    bare = _stripped(kind)
    if bare.kind == drgn.TypeKind.ARRAY:
        return 0 if bare.length is None else int(bare.length) * _size(bare.type)
    return int(drgn.sizeof(bare)) if bare.is_complete() else 0


def _form(name: str, kind: Any) -> Form:
    """How a value of a type, and of a name where that says more, is written."""
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
