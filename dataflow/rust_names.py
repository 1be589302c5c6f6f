"""Demangle the symbols of Rust functions into the names of the source.

Takes symbols of both schemes: RFC 2603 (v0, `_R...`) and rustc_symbol_mangling/src/legacy.rs (`_ZN...17h<hash>E`).
Gives a path in Rust's notation, without the hashes of crates and instances, and any other symbol unchanged. Never
raises and never takes long, whatever the symbol is.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

# Backreferences can make a short symbol expand to a very long text. A symbol beyond these limits is not a real name.
_MAX_TEXT = 1 << 14
_MAX_DEPTH = 128
_LEGACY_HASH = re.compile(r"h[0-9a-f]{16}")
_ESCAPES = {
    "SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
}  # fmt: skip
_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_", "s": "i16", "t": "u16", "u": "()", "v": "...",
    "x": "i64", "y": "u64", "z": "!",
}  # fmt: skip
_SIXTY_TWO = string.digits + string.ascii_lowercase + string.ascii_uppercase
_SIGNED = "asilxn"


class _Malformed(Exception):  # noqa: N818  (it never leaves this module)
    pass


@functools.lru_cache(maxsize=1 << 16)
def demangle(symbol: str) -> str:
    """Return the name of a Rust symbol, and any other symbol unchanged."""
    try:
        if symbol.startswith("_R"):
            return _v0(symbol[2:])
        if symbol.startswith("_ZN"):
            return _legacy(symbol[3:])
    except _Malformed:
        pass
    return symbol


def _legacy(text: str) -> str:
    parts: list[str] = []
    while not text.startswith("E"):
        digits = re.match(r"[0-9]{1,5}", text)
        if not digits or not int(digits[0]) or len(text) < digits.end() + int(digits[0]):
            raise _Malformed
        parts.append(text[digits.end() : digits.end() + int(digits[0])])
        text = text[digits.end() + int(digits[0]) :]
    # A name without a hash is a C++ name.
    if len(parts) < 2 or not _LEGACY_HASH.fullmatch(parts.pop()):
        raise _Malformed
    return "::".join(_unescaped(part) for part in parts)


def _unescaped(part: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        if code in _ESCAPES:
            return _ESCAPES[code]
        if (
            re.fullmatch(r"u[0-9a-f]{1,6}", code)
            and int(code[1:], 16) < 0x110000
            and chr(int(code[1:], 16)).isprintable()
        ):
            return chr(int(code[1:], 16))
        raise _Malformed

    part = part.removeprefix("_") if part.startswith("_$") else part
    return re.sub(r"\$([^$]*)\$", character, part).replace("..", "::")


def _v0(text: str) -> str:
    if not text[:1].isupper() or not text.isascii():
        raise _Malformed
    body, dot, suffix = text.partition(".")
    reader = _Reader(body)
    name = reader.path(in_value=True)
    if reader.at < len(body):
        reader.path(in_value=False)  # the crate that asked for this instance
    if reader.at < len(body):
        raise _Malformed
    # The suffix that LLVM adds (.llvm.123, .cold) distinguishes functions.
    return name + dot + suffix


@dataclass
class _Reader:
    """A symbol that is being read; `at` is the next position."""

    text: str
    at: int = 0
    depth: int = 0
    written: int = 0
    lifetimes: int = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> bool:
        if self.peek() != wanted or not wanted:
            return False
        self.at += 1
        return True

    def next(self) -> str:
        letter = self.peek()
        if not letter:
            raise _Malformed
        self.at += 1
        return letter

    def number(self) -> int:
        """Read a base-62-number: `_` is 0, `0_` is 1."""
        if self.take("_"):
            return 0
        value = 0
        while not self.take("_"):
            digit = _SIXTY_TWO.find(self.next())
            value = value * 62 + digit
            if digit < 0 or value > 1 << 64:
                raise _Malformed
        return value + 1

    def tagged(self, tag: str) -> int:
        """Read an optional number after a letter; return 0 if the letter is missing."""
        return self.number() + 1 if self.take(tag) else 0

    def nested(self, read: Callable[[], str]) -> str:
        """Read a nested part, within the limits of depth and length."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _Malformed
        text = read()
        self.depth -= 1
        self.written += len(text)
        if self.written > _MAX_TEXT * _MAX_DEPTH or len(text) > _MAX_TEXT:
            raise _Malformed
        return text

    def back(self, read: Callable[[], str]) -> str:
        """Read a backreference: the text at an earlier position."""
        here = self.at - 1
        earlier = self.number()
        if earlier >= here:
            raise _Malformed
        later, self.at = self.at, earlier
        self.written += 1
        text = self.nested(read)
        self.at = later
        return text

    def bare(self) -> str:
        """Read an undisambiguated-identifier."""
        puny = self.take("u")
        digits = re.compile(r"0|[1-9][0-9]{0,4}").match(self.text, self.at)
        if not digits:
            raise _Malformed
        self.at = digits.end()
        self.take("_")
        word = self.text[self.at : self.at + int(digits[0])]
        if len(word) != int(digits[0]):
            raise _Malformed
        self.at += len(word)
        if not puny:
            return word
        plain, _, coded = word.rpartition("_")
        try:
            return (f"{plain}-{coded}" if plain else coded).encode().decode("punycode")
        except (UnicodeError, ValueError, OverflowError):
            raise _Malformed from None

    def path(self, *, in_value: bool) -> str:
        return self.nested(lambda: self._path(in_value=in_value))

    def _path(self, *, in_value: bool) -> str:
        kind = self.next()
        if kind == "B":
            return self.back(lambda: self._path(in_value=in_value))
        if kind == "C":
            self.tagged("s")
            return self.bare()
        if kind in "MX":
            self.tagged("s")
            self.path(in_value=False)  # where the impl is
            own = self.type()
            return f"<{own}>" if kind == "M" else f"<{own} as {self.path(in_value=False)}>"
        if kind == "Y":
            own = self.type()
            return f"<{own} as {self.path(in_value=False)}>"
        if kind == "I":
            base, arguments = self.path(in_value=in_value), []
            while not self.take("E"):
                arguments.append(self.argument())
            return f"{base}{'::' if in_value else ''}<{', '.join(arguments)}>"
        if kind != "N":
            raise _Malformed
        space = self.next()
        if not space.isalpha():
            raise _Malformed
        parent, which, name = self.path(in_value=in_value), self.tagged("s"), self.bare()
        if space.islower():
            return f"{parent}::{name}" if name else parent
        what = {"C": "closure", "S": "shim"}.get(space, space)
        return f"{parent}::{{{what}{':' if name else ''}{name}#{which}}}"

    def argument(self) -> str:
        if self.take("L"):
            return self.lifetime()
        return self.constant() if self.take("K") else self.type()

    def lifetime(self) -> str:
        number = self.number()
        if number > self.lifetimes:
            raise _Malformed
        return f"'{chr(ord('a') + min(self.lifetimes - number, 25))}" if number else "'_"

    def bound(self, read: Callable[[], str]) -> str:
        """Read a part that may introduce lifetimes of its own."""
        more = self.tagged("G")
        if more > _MAX_DEPTH:
            raise _Malformed
        self.lifetimes += more
        names = ", ".join(f"'{chr(ord('a') + min(self.lifetimes - more + i, 25))}" for i in range(more))
        text = read()
        self.lifetimes -= more
        return f"for<{names}> {text}" if more else text

    def type(self) -> str:
        return self.nested(self._type)

    def _type(self) -> str:
        kind = self.next()
        if kind in _BASIC:
            return _BASIC[kind]
        if kind == "B":
            return self.back(self._type)
        if kind == "A":
            return f"[{self.type()}; {self.constant()}]"
        if kind == "S":
            return f"[{self.type()}]"
        if kind == "T":
            inside = self._types()
            return f"({inside[0]},)" if len(inside) == 1 else f"({', '.join(inside)})"
        if kind in "RQ":
            life = f"{self.lifetime()} " if self.take("L") else ""
            return f"&{'' if life == chr(39) + '_ ' else life}{'mut ' if kind == 'Q' else ''}{self.type()}"
        if kind in "PO":
            return f"*{'const' if kind == 'P' else 'mut'} {self.type()}"
        if kind == "F":
            return self.bound(self._signature)
        if kind == "D":
            traits = self.bound(self._traits)
            life = self.lifetime() if self.take("L") else "'_"
            return f"dyn {traits}" + ("" if life == "'_" else f" + {life}")
        self.at -= 1
        return self._path(in_value=False)

    def _types(self) -> list[str]:
        types = []
        while not self.take("E"):
            types.append(self.type())
        return types

    def _signature(self) -> str:
        unsafe = "unsafe " if self.take("U") else ""
        abi = ""
        if self.take("K"):
            abi = f'extern "{"C" if self.take("C") else self.bare().replace("_", "-")}" '
        inside, result = ", ".join(self._types()), self.type()
        return f"{unsafe}{abi}fn({inside})" + ("" if result == "()" else f" -> {result}")

    def _traits(self) -> str:
        traits = []
        while not self.take("E"):
            base, bindings = self.path(in_value=False), []
            while self.take("p"):
                bindings.append(f"{self.bare()} = {self.type()}")
            if bindings and base.endswith(">"):
                base = f"{base[:-1]}, {', '.join(bindings)}>"
            elif bindings:
                base = f"{base}<{', '.join(bindings)}>"
            traits.append(base)
        return " + ".join(traits)

    def constant(self) -> str:
        return self.nested(self._constant)

    def _constant(self) -> str:
        kind = self.next()
        if kind == "p":
            return "_"
        if kind == "B":
            return self.back(self._constant)
        if kind not in "abchijlmnostxy":
            raise _Malformed  # strings, references and structs need an unstable feature
        negative = kind in _SIGNED and self.take("n")
        end = self.text.find("_", self.at)
        digits = self.text[self.at : end] if end >= 0 else "?"
        if not re.fullmatch(r"[0-9a-f]{0,32}", digits):
            raise _Malformed
        self.at = end + 1
        value = int(digits or "0", 16)
        if kind == "b":
            return "true" if value else "false"
        if kind == "c":
            return repr(chr(value)) if value < 0x110000 else f"{value:#x}"
        return f"{'-' if negative else ''}{value}"
