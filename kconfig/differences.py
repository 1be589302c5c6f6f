"""Differences: of two requests, or of two final configurations, symbol by symbol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kconfig.profiles import Request
from kconfig.survival import ABSENT


@dataclass(frozen=True)
class Difference:
    """A symbol with two values.

    Attributes:
        values: in the first and in the second; `absent` where nothing is said of it.
        origins: where each is asked; empty for final configurations.
    """

    symbol: str
    values: tuple[str, str]
    origins: tuple[str, str] = ("", "")

    def as_row(self, first: str, second: str) -> dict[str, object]:
        """For a table or JSON, with columns named after what was compared."""
        row: dict[str, object] = {"symbol": self.symbol, first: self.values[0], second: self.values[1]}
        if any(self.origins):
            row["origin"] = " | ".join(origin or "-" for origin in self.origins)
        return row


def requests(first: Request, second: Request) -> list[Difference]:
    """The symbols for which two requests ask different values."""
    one = {asked.symbol: asked for asked in first.asked}
    other = {asked.symbol: asked for asked in second.asked}
    found: list[Difference] = []
    for symbol in sorted(one.keys() | other.keys()):
        left, right = one.get(symbol), other.get(symbol)
        values = (left.value if left else ABSENT, right.value if right else ABSENT)
        if values[0] != values[1]:
            found.append(Difference(symbol, values, (left.origin if left else "", right.origin if right else "")))
    return found


def configurations(first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    """The symbols for which two final configurations have different values; off and not there are one.

    Args:
        first: symbol -> value, as `survival.values` reads a `.config`.
    """
    found: list[Difference] = []
    for symbol in sorted(first.keys() | second.keys()):
        left, right = first.get(symbol, ABSENT), second.get(symbol, ABSENT)
        if left != right and {left, right} != {"n", ABSENT}:
            found.append(Difference(symbol, (left, right)))
    return found
