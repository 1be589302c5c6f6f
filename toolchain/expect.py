"""The expectations that stand in the corpus as comments, read into data. The language is described in corpus.h."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Field:
    """A field of a struct: where it is, how long, and its first 8 bytes (None: not looked at, or not readable)."""

    offset: int
    size: int
    value: int | None


@dataclass(frozen=True)
class Value:
    """What one report should say.

    Attributes:
        size: bytes.
        number: the value, or of a pointer to a struct the pointer; None if any.
        symbol: the object whose address it is, instead of a number.
        fields: of a struct or of what a pointer to a struct points to.
        is_pointer_to_struct: the fields are read through a pointer.
        removed: it must be reported as removed.
        anything: it is not looked at.
    """

    size: int = 0
    number: int | None = None
    symbol: str | None = None
    fields: tuple[Field, ...] | None = None
    is_pointer_to_struct: bool = False
    removed: bool = False
    anything: bool = False

    @property
    def leaves(self) -> int:
        """How many values this counts as."""
        return len(self.fields) if self.fields else 1


@dataclass(frozen=True)
class Line:
    """One expectation.

    Attributes:
        kind: `call`, `return`, `none` (no return is reported) or `never` (nothing is).
        debug: holds only with debug information (True), only without (False), or always (None).
    """

    function: str
    kind: str
    values: tuple[Value, ...]
    static: bool
    debug: bool | None

    @property
    def has_struct_by_value(self) -> bool:
        return any(v.fields is not None and not v.is_pointer_to_struct for v in self.values)


Corpus = Mapping[str, Sequence[Line]]

_COMMENT = re.compile(r"^//(?P<mode>[0g]?): (?P<static>static )?(?P<name>\w+)(?P<rest>.*)$")
_STRUCT = re.compile(r"^(?P<pointer>&\w+|\*|null|0x[0-9a-f]+)?\{(?P<fields>[^}]*)\}:(?P<size>\d+)$")
_SCALAR = re.compile(r"^(?P<what>&\w+|-?\d+|0x[0-9a-f]+):(?P<size>\d+)$")


def read_value(text: str) -> Value:
    """One VALUE.

    Raises:
        ValueError: it is not one.
    """
    if text == "_":
        return Value(anything=True)
    if text == "removed":
        return Value(removed=True)
    if found := _STRUCT.match(text):
        pointer = found["pointer"]
        fields = []
        for word in found["fields"].split():
            place, _, value = word.partition("=")
            offset, _, size = place.partition(":")
            fields.append(Field(int(offset), int(size), None if value in ("", "_") else int(value, 0)))
        number = 0 if pointer == "null" else int(pointer, 16) if pointer and pointer.startswith("0x") else None
        symbol = pointer[1:] if pointer and pointer.startswith("&") else None
        return Value(int(found["size"]), number, symbol, tuple(fields), is_pointer_to_struct=pointer is not None)
    if found := _SCALAR.match(text):
        what, size = found["what"], int(found["size"])
        return Value(size, symbol=what[1:]) if what.startswith("&") else Value(size, int(what, 0))
    raise ValueError(text)


def read_line(text: str) -> Line | None:
    """An expectation, or None for any other line of source.

    Raises:
        ValueError: it begins like one and is none.
    """
    found = _COMMENT.match(text)
    if not found:
        return None
    static = found["static"] is not None
    debug = {"": None, "g": True, "0": False}[found["mode"]]
    rest = found["rest"].strip()
    if rest == "never":
        return Line(found["name"], "never", (), static, debug)
    if rest == "-> none":
        return Line(found["name"], "none", (), static, debug)
    if rest.startswith("-> "):
        return Line(found["name"], "return", (read_value(rest[3:]),), static, debug)
    if rest.startswith("(") and rest.endswith(")"):
        return Line(found["name"], "call", tuple(read_value(v) for v in rest[1:-1].split(", ")), static, debug)
    raise ValueError(text)


def read_corpus(folder: Path, skip: Sequence[str] = (), suffix: str = ".c") -> Corpus:
    """The expectations of each case, by the name of its file.

    Raises:
        UserError: a line cannot be read, or a case has none.
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
            raise UserError(f"{path}: no expectations in it")
        corpus[path.stem] = lines
    return corpus
