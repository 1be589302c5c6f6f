"""Survival: what was asked against what the tree's Kconfig made of it.

Pure: text in, a list of `Lost` out. It needs no parser of Kconfig; why a symbol was lost is another module's matter,
and its failure can never hide this verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import UnderTest
from kconfig.fragment import Asked, unquote
from kconfig.profiles import Request

ABSENT = "absent"  # no line in the configuration: the symbol does not exist here, or what it depends on is off
_SUFFIX = " is not set"


@dataclass(frozen=True)
class Lost:
    """A request that was not granted.

    Attributes:
        asked: the request, with its place.
        got: the value in the final configuration; `n` if it says "is not set", `absent` if it says nothing.
        note: why, as far as it is known; else empty.
    """

    asked: Asked
    got: str
    note: str = ""

    @property
    def symbol(self) -> str:
        return self.asked.symbol

    def as_row(self) -> dict[str, object]:
        """For a table or JSON."""
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
    """Symbol -> value of a `.config`; `n` for "is not set". A later line wins, as in the kernel's own reader."""
    found: dict[str, str] = {}
    for line in config_text.split("\n"):
        if line.startswith("CONFIG_"):
            symbol, equals, value = line[7:].partition("=")
            if equals:
                found[symbol] = value.rstrip()
        elif line.startswith("# CONFIG_") and line.rstrip().endswith(_SUFFIX):
            found[line[9:].rstrip().removesuffix(_SUFFIX)] = "n"
    return found


def compare(request: Request, config_text: str) -> list[Lost]:
    """The requests that the final configuration does not grant.

    Args:
        request: what was asked.
        config_text: the `.config` after olddefconfig.
    """
    got = values(config_text)
    return [
        Lost(one, got.get(one.symbol, ABSENT))
        for one in (*request.asked, *request.must)
        if not granted(one.value, got.get(one.symbol, ABSENT))
    ]


def granted(asked: str, got: str) -> bool:
    """Whether a value is what was asked.

    `n` is granted by "is not set" and by no line at all, an empty string by no line at all: the same to the code.
    Numbers compare as numbers, because Kconfig puts 0x before the value of a hex symbol.
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
        UnderTest: names each with what was asked and got.
    """
    lines = [str(one) for one in lost]
    if not lines:
        return
    head = "1 requested symbol was lost" if len(lines) == 1 else f"{len(lines)} requested symbols were lost"
    raise UnderTest(
        "\n  ".join([f"{head}:", *lines]),
        "look at what they depend on in this tree, or take the request back with --set SYMBOL=VALUE",
        log,
    )
