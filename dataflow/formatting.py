"""Format recorded values for people.

Takes a value as the kernel recorded it (its low bytes, zero-extended to 64 bits) and the Form of its type. Gives text
such as `-100`, `0640`, `0x8241`, `-ENOENT`, `true`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dataflow.layouts import UNREADABLE

UNREADABLE_TEXT = "<unreadable>"
_MAX_ERRNO = 4095  # include/linux/err.h
# Error numbers that only the kernel sees, from include/linux/errno.h; the rest are the C library's.
_KERNEL_ERRORS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    524: "ENOTSUPP",
    529: "EIOCBQUEUED",
}
_ERRORS = {**errno.errorcode, 11: "EAGAIN", 35: "EDEADLK", 95: "EOPNOTSUPP", **_KERNEL_ERRORS}
# Above 32 bits an unsigned number is an address or a mask more often than a count.
_LONG = 1 << 32


@dataclass(frozen=True)
class Form:
    """How a value is written.

    Attributes:
        kind: `signed`, `unsigned`, `bool`, `pointer`, `enum`, `mode`, `flags`, `float`; `bytes` if it is not a scalar.
        size: bytes of the value; a record holds at most the first 8.
        names: of an enumeration, by value.
    """

    kind: str
    size: int
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Field:
    """One field of a structure, with offset and size in bytes as in the table of the pass.

    Attributes:
        name: empty for an anonymous member.
        bits: (first bit, number of bits) within those bytes, of a bit field; None for others.
    """

    name: str
    offset: int
    size: int
    form: Form
    bits: tuple[int, int] | None = None


def write(value: int, form: Form) -> str:
    """Write a value in the form of its type."""
    if value == UNREADABLE:
        return UNREADABLE_TEXT
    size = min(form.size, 8)
    bits = value & (1 << 8 * size) - 1
    if form.kind == "bytes":
        # A record has only the first 8 bytes of a structure, union or array.
        return f"{bits:#x}" + ("..." if form.size > 8 else "")
    return _scalar(bits, size, form)


def _scalar(bits: int, size: int, form: Form) -> str:
    signed = bits - (1 << 8 * size) if size and bits >> (8 * size - 1) else bits
    if form.kind == "pointer":
        return _error(signed) or (f"{bits:#x}" if bits else "NULL")
    if form.kind == "bool":
        return "true" if bits else "false"
    if form.kind == "mode":
        return f"0{bits:o}"
    if form.kind == "flags":
        return f"{bits:#x}"
    if form.kind == "float":
        unpacked = {2: "<e", 4: "<f", 8: "<d"}.get(form.size)
        return repr(struct.unpack(unpacked, bits.to_bytes(size, "little"))[0]) if unpacked else f"{bits:#x}"
    if form.kind == "enum":
        return next((name for number, name in form.names if number in (signed, bits)), str(signed))
    if form.kind == "signed":
        return str(signed)
    return f"{bits:#x}" if bits >= _LONG else str(bits)


def _error(number: int) -> str:
    """Return `-ENOENT` for -2 and so on; empty if the number is not an error."""
    if not -_MAX_ERRNO <= number < 0:
        return ""
    return f"-{_ERRORS.get(-number, -number)}"


def write_returned(value: int, form: Form) -> str:
    """Write a return value; small negative numbers are error codes, also as unsigned long (IS_ERR_VALUE)."""
    size = min(form.size, 8)
    bits = value & (1 << 8 * size) - 1
    # An error code has at least the size of int.
    whole = (form.kind == "signed" and size >= 4) or (form.kind == "unsigned" and size == 8)
    if whole and value != UNREADABLE and bits >> (8 * size - 1):
        return _error(bits - (1 << 8 * size)) or write(value, form)
    return write(value, form)


def write_field(value: int, field: Field) -> str:
    """Write the value of a field, from the whole bytes that were recorded."""
    if field.bits is None or value == UNREADABLE:
        return write(value, field.form)
    first, count = field.bits
    own = value >> first & (1 << count) - 1
    if field.form.kind == "signed" and own >> (count - 1):
        own -= 1 << count
    return write(own & (1 << 64) - 1, field.form)


def write_fields(values: Sequence[int], fields: Sequence[Field]) -> str:
    """Write the values of a structure with the names of its fields, as `{a=1, b=2}`."""
    written = (f"{f.name or '<anonymous>'}={write_field(v, f)}" for f, v in zip(fields, values, strict=True))
    return f"{{{', '.join(written)}}}"
