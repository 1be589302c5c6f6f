"""Read the expectations of the corpus, which are comments in its sources.

Takes the folder of the corpus. Gives the expected lines of each case. corpus.h describes their language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Field:
    """A field of a struct: offset, size and first 8 bytes; the value is None if it is not compared or not readable."""

    offset: int
    size: int
    value: int | None


@dataclass(frozen=True)
class Value:
    """The expected content of one report.

    Attributes:
        size: bytes.
        number: the value; for a pointer to a struct, the pointer. None if any number is right.
        symbol: the object whose address is expected, in place of a number.
        fields: of a struct, or of the struct to which a pointer points.
        is_pointer_to_struct: whether the fields are read through a pointer.
        removed: whether it must be reported as removed.
        lossy: whether it may be reported as removed, or as the pointer without the struct that it points to.
        anything: whether it is not compared.
    """

    size: int = 0
    number: int | None = None
    symbol: str | None = None
    fields: tuple[Field, ...] | None = None
    is_pointer_to_struct: bool = False
    removed: bool = False
    lossy: bool = False
    anything: bool = False

    @property
    def leaves(self) -> int:
        """Return how many values this counts as."""
        return len(self.fields) if self.fields else 1


@dataclass(frozen=True)
class Line:
    """One expectation.

    Attributes:
        kind: `call`, `return`, `none` (no return is reported) or `never` (nothing is reported).
        debug: whether it holds only with debug information (True), only without (False), or always (None).
    """

    function: str
    kind: str
    values: tuple[Value, ...]
    static: bool
    debug: bool | None

    @property
    def has_struct_by_value(self) -> bool:
        """Return whether it expects a struct that is not passed by pointer."""
        return any(v.fields is not None and not v.is_pointer_to_struct for v in self.values)


Corpus = Mapping[str, Sequence[Line]]

_COMMENT = re.compile(r"^//(?P<mode>[0g]?): (?P<static>static )?(?P<name>\w+)(?P<rest>.*)$")
_STRUCT = re.compile(r"^(?P<pointer>&\w+|\*|null|0x[0-9a-f]+)?\{(?P<fields>[^}]*)\}:(?P<size>\d+)$")
_SCALAR = re.compile(r"^(?P<what>&\w+|-?\d+|0x[0-9a-f]+):(?P<size>\d+)$")


def read_value(text: str) -> Value:
    """Read one VALUE of corpus.h.

    Raises:
        ValueError: it is not a VALUE.
    """
    if text == "_":
        return Value(anything=True)
    if text.startswith("?"):
        return replace(read_value(text[1:]), lossy=True)
    if text == "removed":
        return Value(removed=True)
    if match := _STRUCT.match(text):
        pointer = match["pointer"]
        fields = []
        for word in match["fields"].split():
            position, _, value = word.partition("=")
            offset, _, size = position.partition(":")
            fields.append(Field(int(offset), int(size), None if value in ("", "_") else int(value, 0)))
        number = 0 if pointer == "null" else int(pointer, 16) if pointer and pointer.startswith("0x") else None
        symbol = pointer[1:] if pointer and pointer.startswith("&") else None
        return Value(int(match["size"]), number, symbol, tuple(fields), is_pointer_to_struct=pointer is not None)
    if match := _SCALAR.match(text):
        what, size = match["what"], int(match["size"])
        return Value(size, symbol=what[1:]) if what.startswith("&") else Value(size, int(what, 0))
    raise ValueError(text)


def read_line(text: str) -> Line | None:
    """Read an expectation; return None for any other line of source.

    Raises:
        ValueError: it begins like an expectation, but is malformed.
    """
    match = _COMMENT.match(text)
    if not match:
        return None
    static = match["static"] is not None
    debug = {"": None, "g": True, "0": False}[match["mode"]]
    rest = match["rest"].strip()
    if rest == "never":
        return Line(match["name"], "never", (), static, debug)
    if rest == "-> none":
        return Line(match["name"], "none", (), static, debug)
    if rest.startswith("-> "):
        return Line(match["name"], "return", (read_value(rest[3:]),), static, debug)
    if rest.startswith("(") and rest.endswith(")"):
        return Line(match["name"], "call", tuple(read_value(v) for v in rest[1:-1].split(", ")), static, debug)
    raise ValueError(text)


def read_corpus(folder: Path, skip: Sequence[str] = (), suffix: str = ".c") -> Corpus:
    """Return case -> its expectations; a case is named by its file.

    Raises:
        UserError: a line is malformed, or a case has no expectations.
    """
    corpus: dict[str, list[Line]] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        if path.name in skip:
            continue
        lines: list[Line] = []
        for number, text in enumerate(path.read_text().splitlines(), 1):
            try:
                line = read_line(text)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not an expectation: {error}") from None
            if line:
                lines.append(line)
        if not lines:
            raise UserError(f"{path} has no expectations")
        corpus[path.stem] = lines
    return corpus
