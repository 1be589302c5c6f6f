"""Compare requested symbols with the final configuration.

Takes a request and the text of a `.config`. Gives a list of `Lost`. Never needs a parser of Kconfig: another module
explains why a symbol was lost, and its failure cannot hide this verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import UnderTest
from kconfig.fragment import Asked, unquote
from kconfig.profiles import Request

ABSENT = "absent"  # no line in the configuration: the symbol does not exist here, or a dependency is off
_SUFFIX = " is not set"


@dataclass(frozen=True)
class Lost:
    """A requested symbol that did not survive.

    Attributes:
        asked: the request, with its place.
        got: the value in the final configuration; `n` for "is not set", `absent` if there is no line.
        note: the reason, if it is known; else empty.
    """

    asked: Asked
    got: str
    note: str = ""

    @property
    def symbol(self) -> str:
        """Return its symbol, without `CONFIG_`."""
        return self.asked.symbol

    def as_row(self) -> dict[str, object]:
        """Return it as a row of a table or JSON."""
        return {
            "symbol": self.symbol,
            "asked": self.asked.value,
            "got": self.got,
            "origin": self.asked.origin,
            "note": self.note,
        }

    def __str__(self) -> str:
        note = f": {self.note}" if self.note else ""
        return f"CONFIG_{self.symbol}: asked {self.asked.value} ({self.asked.origin}), got {self.got}{note}"


def values(config_text: str) -> dict[str, str]:
    """Return symbol -> value of a `.config`; `n` for "is not set". A later line replaces an earlier one."""
    symbols: dict[str, str] = {}
    for line in config_text.split("\n"):
        if line.startswith("CONFIG_"):
            symbol, equals, value = line[7:].partition("=")
            if equals:
                symbols[symbol] = value.rstrip()
        elif line.startswith("# CONFIG_") and line.rstrip().endswith(_SUFFIX):
            symbols[line[9:].rstrip().removesuffix(_SUFFIX)] = "n"
    return symbols


def compare(request: Request, config_text: str) -> list[Lost]:
    """Return the requested symbols that did not survive.

    Args:
        request: the requested symbols.
        config_text: the `.config` after olddefconfig.
    """
    got = values(config_text)
    return [
        Lost(asked, got.get(asked.symbol, ABSENT))
        for asked in (*request.asked, *request.must)
        if not granted(asked.value, got.get(asked.symbol, ABSENT))
    ]


def granted(asked: str, got: str) -> bool:
    """Return whether a value is the requested one.

    "is not set" and a missing line both grant `n`, and a missing line grants an empty string: the code sees no
    difference. Numbers are compared as numbers, because Kconfig adds 0x to the value of a hex symbol.
    """
    if asked == got:
        return True
    if got == ABSENT:
        return asked in ("n", '""')
    text = unquote(asked)
    if text is not None:
        return unquote(got) == text
    if got.lower().startswith("0x"):
        return _number(asked, 16) == _number(got, 16)
    number = _number(asked, 10)
    return number is not None and number == _number(got, 10)


def _number(value: str, base: int) -> int | None:
    if not value.isascii() or "_" in value:
        return None
    try:
        return int(value, base)
    except ValueError:
        return None


def require_none(lost: Iterable[Lost], log: Path | None = None) -> None:
    """Raise if a symbol was lost.

    Raises:
        UnderTest: a symbol was lost; the message has the requested and the final value of each.
    """
    lines = [str(symbol) for symbol in lost]
    if not lines:
        return
    head = "1 requested symbol was lost" if len(lines) == 1 else f"{len(lines)} requested symbols were lost"
    raise UnderTest(
        "\n  ".join([f"{head}:", *lines]),
        "check their dependencies in this tree, or change the request with --set SYMBOL=VALUE",
        log,
    )
