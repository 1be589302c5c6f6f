"""Compare two requests, or two final configurations, symbol by symbol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kconfig.profiles import Request
from kconfig.survival import ABSENT


@dataclass(frozen=True)
class Difference:
    """A symbol with two values.

    Attributes:
        values: in the first and in the second; `absent` where it is missing.
        origins: where each value is requested; empty for final configurations.
    """

    symbol: str
    values: tuple[str, str]
    origins: tuple[str, str] = ("", "")

    def as_row(self, first: str, second: str) -> dict[str, object]:
        """Return a row for a table or JSON.

        Args:
            first, second: names of the columns with the two values.
        """
        row: dict[str, object] = {"symbol": self.symbol, first: self.values[0], second: self.values[1]}
        if any(self.origins):
            row["origin"] = " | ".join(origin or "-" for origin in self.origins)
        return row


def requests(first: Request, second: Request) -> list[Difference]:
    """Return the symbols for which two requests have different values."""
    mine = {asked.symbol: asked for asked in first.asked}
    theirs = {asked.symbol: asked for asked in second.asked}
    differences: list[Difference] = []
    for symbol in sorted(mine.keys() | theirs.keys()):
        left, right = mine.get(symbol), theirs.get(symbol)
        values = (left.value if left else ABSENT, right.value if right else ABSENT)
        if values[0] != values[1]:
            differences.append(Difference(symbol, values, (left.origin if left else "", right.origin if right else "")))
    return differences


def configurations(first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    """Return the symbols with different values in two final configurations; `n` and a missing line are equal.

    Args:
        first: symbol -> value, as `survival.values` reads a `.config`.
    """
    differences: list[Difference] = []
    for symbol in sorted(first.keys() | second.keys()):
        left, right = first.get(symbol, ABSENT), second.get(symbol, ABSENT)
        if left != right and {left, right} != {"n", ABSENT}:
            differences.append(Difference(symbol, (left, right)))
    return differences
