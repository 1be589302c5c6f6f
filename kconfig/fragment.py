"""Read fragments, which are files with a few symbols, their requested values and the reasons in comments.

    # [x86_64] the console of QEMU's pc
    CONFIG_SERIAL_8250=y
    # CONFIG_SLUB_TINY is not set

A reason may begin with a condition in brackets (`kconfig.condition`). Takes text and gives a list of `Asked`. Never
checks whether a symbol exists: the tree's own Kconfig does that later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError, nearest
from kconfig.condition import ALWAYS, Condition, is_condition, parse

FOLDER = Path(__file__).parent / "fragments"
SHOWN = "kconfig/fragments"  # FOLDER, as shown to users

# The syntax of a .config (Documentation/kbuild/kconfig-language.rst and scripts/kconfig/confdata.c of Linux 7.1).
_SYMBOL = re.compile(r"[A-Za-z0-9_]+")
_SET = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(.*)")
_NOT_SET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set(?:\s+#\s*(.*))?")
_PLAIN_NUMBER = re.compile(r"-?[0-9]+|0[xX][0-9A-Fa-f]+", re.ASCII)
# Kconfig takes a hexadecimal number without 0x, too.
_NUMBER = re.compile(r"-?[0-9]+|(?:0[xX])?[0-9A-Fa-f]+", re.ASCII)
# A value, and a comment behind it: people write them, and Kconfig would take them for a part of the value.
_COMMENTED = re.compile(r'("(?:[^"\\]|\\.)*"|[^"#\s]+)\s+#\s*(.*)')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CONDITION = re.compile(r"\[([^\]]*)\]\s*(.*)")


@dataclass(frozen=True)
class Asked:
    """One requested value.

    Attributes:
        symbol: without `CONFIG_`.
        value: as in a `.config`: `y`, `m`, `n`, `4096`, `0x1000`, `"text"`; `n` also means "is not set".
        file: the file of the request, as a user would name it; `--set` for the command line.
        line: line number there, from 1; 0 if it has no line.
        reason: the comment above it.
        condition: when it is requested.
        also: other places that request the same value.
        over: places whose other value is not used, each with that value.
    """

    symbol: str
    value: str
    file: str
    line: int
    reason: str = ""
    condition: Condition = ALWAYS
    also: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Return the place of the request, as FILE:LINE."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def config_line(self) -> str:
        """Return the request as a line of a `.config`."""
        return f"# CONFIG_{self.symbol} is not set" if self.value == "n" else f"CONFIG_{self.symbol}={self.value}"

    def as_row(self) -> dict[str, object]:
        """Return the request as a row of a table or JSON."""
        notes = [self.reason, *(f"same in {p}" for p in self.also), *(f"wins over {p}" for p in self.over)]
        return {
            "symbol": self.symbol,
            "value": self.value,
            "origin": self.origin,
            "reason": "; ".join(note for note in notes if note),
        }


def unquote(value: str) -> str | None:
    r"""Return the text of a quoted value, with `\"` and `\\` unescaped; None if it is not quoted."""
    match = _STRING.fullmatch(value)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else None


def check_value(value: str, where: str) -> str:
    """Check that a value is written as in a `.config`, and return it.

    Raises:
        UserError: it is not y, m, n, a number or a quoted string.
    """
    if value in ("y", "m", "n") or _NUMBER.fullmatch(value):
        return value
    if unquote(value) is not None:
        if any(ord(c) < 32 and c != "\t" for c in value):
            raise UserError(f"{where}: a string must not contain control characters")
        return value
    if value.startswith('"'):
        raise UserError(f"{where}: the string {value} does not end with its quote")
    raise UserError(f"{where}: the value {value or '(nothing)'} is not y, m, n, a number or a string in double quotes")


def parse_fragment(text: str, name: str) -> list[Asked]:
    """Read a fragment.

    Args:
        text: its text.
        name: its name in origins and errors.

    Raises:
        UserError: a line or a value is malformed, or a symbol is requested twice with different values.
    """
    asked: dict[str, Asked] = {}
    comment: list[str] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.strip()
        where = f"{name}:{number}"
        match = _NOT_SET.fullmatch(line)
        behind = ""
        if match:
            symbol, value, behind = match[1], "n", match[2] or ""
        elif line.startswith("#"):
            comment.append(line.lstrip("#").strip())
            continue
        elif not line:
            comment = []
            continue
        else:
            symbol, value, behind = _split(line, where)
        reason, condition = _reason(comment, where)
        reason = "; ".join(filter(None, (reason, behind)))
        comment = []
        request = Asked(symbol, value, name, number, reason, condition)
        before = asked.get(symbol)
        if before is not None and before.value != value:
            raise UserError(
                f"{where}: CONFIG_{symbol}={value} contradicts {before.origin}, which requests {before.value}"
            )
        if before is None:
            asked[symbol] = request
    return list(asked.values())


def _split(line: str, where: str) -> tuple[str, str, str]:
    """Return symbol, value and the comment behind it of a line `CONFIG_X=value # comment`."""
    match = _SET.fullmatch(line)
    if match is None:
        what = "CONFIG_ is missing before it" if re.match(r"[A-Z0-9_]+=", line) else "write CONFIG_NAME=value"
        raise UserError(f"{where}: {line[:80]!r} is not a request: {what}")
    value = match[2].strip()
    commented = _COMMENTED.fullmatch(value)
    value, behind = (commented[1], commented[2]) if commented else (value, "")
    return match[1], check_value(value, where), behind


def _reason(comment: list[str], where: str) -> tuple[str, Condition]:
    """Split the comment above a symbol into a reason and a condition."""
    text = " ".join(comment)
    match = _CONDITION.match(text)
    if match is None or not is_condition(match[1]):
        return text, ALWAYS
    return match[2], parse(match[1], where)


def parse_set(text: str) -> Asked:
    """Read a `SYMBOL=value` of the command line; a value other than y, m, n or a number is a string.

    Raises:
        UserError: it has no `=`, or the symbol is not a valid name.
    """
    symbol, equals, value = text.partition("=")
    symbol = symbol.removeprefix("CONFIG_")
    if not equals or not _SYMBOL.fullmatch(symbol):
        raise UserError(f"--set {text}: write SYMBOL=value, such as KASAN=y or FRAME_WARN=4096")
    # Here deadbeef is a text: only a file can be meant as Kconfig reads it.
    if not (value in ("y", "m", "n") or _PLAIN_NUMBER.fullmatch(value) or unquote(value) is not None):
        value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return Asked(symbol, check_value(value, f"--set {text}"), "--set", 0, "asked on the command line")


def read_file(path: Path, shown: str) -> str:
    """Read a file that a user named.

    Raises:
        UserError: the file does not exist or is not text.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        raise UserError(f"{shown}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown}: cannot be read: {error}") from None


def load(name: str) -> list[Asked]:
    """Read a fragment of this project by name.

    Raises:
        UserError: there is no fragment of that name, or it is malformed.
    """
    path = FOLDER / f"{name}.config"
    if not path.is_file():
        known = [p.stem for p in FOLDER.glob("*.config")]
        raise UserError(f"there is no fragment {name}{nearest(name, known)}", f"name a file in {FOLDER}")
    return parse_fragment(read_file(path, str(path)), f"{SHOWN}/{path.name}")


def load_file(path: Path) -> list[Asked]:
    """Read a fragment of the user.

    Raises:
        UserError: the file does not exist, or is malformed.
    """
    return parse_fragment(read_file(path, str(path)), str(path))
