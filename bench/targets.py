"""Check which targets a callback generation meets.

Takes a table of `bench.rfc`. Gives one answer for each target of targets.yaml. A target that was not measured counts as
missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from bench.rfc import Row, Table, baseline
from core.data import load_yaml
from core.errors import UnderTest

FILE = Path(__file__).parent / "targets.yaml"
KINDS = ("ratio", "more", "beside", "growth", "value")


@dataclass(frozen=True)
class Target:
    """One line of targets.yaml.

    Attributes:
        row: name of the table's row.
        by: how the figure is computed, one of KINDS.
        most, least: largest or smallest figure that meets it; the other is infinite.
        set: a SYMBOL=value without which a kernel does not have the row.
    """

    row: str
    profile: str
    by: str
    most: float = inf
    least: float = -inf
    set: str = ""

    @property
    def limit(self) -> str:
        """Return the limit in words."""
        return f"at least {self.least:,g}" if self.most == inf else f"at most {self.most:,g}"


@dataclass(frozen=True)
class Answer:
    """The answer of one column to a target.

    Attributes:
        figure: None if the table does not have it.
    """

    target: Target
    column: str
    figure: float | None

    @property
    def met(self) -> bool:
        """Tell whether it was measured and is within the target."""
        return self.figure is not None and self.target.least <= self.figure <= self.target.most

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        whole = asdict(self)
        whole["target"] = {key: value for key, value in whole["target"].items() if value not in (inf, -inf, "")}
        return {**whole, "met": self.met}

    @property
    def said(self) -> str:
        """Return the figure in words."""
        return "not measured" if self.figure is None else f"{self.figure:,.3f}"

    def __str__(self) -> str:
        row, by, limit = self.target.row, self.target.by, self.target.limit
        return f"{'met' if self.met else 'MISSED'}: {row}, {self.column}, {by}: {self.said}, {limit}"


def targets() -> list[Target]:
    """Return the targets of targets.yaml.

    Raises:
        UserError: targets.yaml is malformed.
    """
    found = []
    for node in load_yaml(FILE).elements("targets"):
        bound = "least" if node.has("least") else "most"
        node.only("row", "profile", "by", bound, "set")
        if (by := node.string("by")) not in KINDS:
            raise node.get("by").error(f"{by} is none of {', '.join(KINDS)}")
        try:
            limit = float(node.string(bound))
        except ValueError:
            raise node.get(bound).error("wanted a number in quotes") from None
        if not isfinite(limit):
            raise node.get(bound).error("wanted a finite number")
        bounds = {"least": limit} if bound == "least" else {"most": limit}
        found.append(Target(node.string("row"), node.string("profile"), by, **bounds, set=node.string("set", "")))
    return found


def answers(table: Table, asked: Sequence[Target]) -> list[Answer]:
    """Compare targets with the additional generations of a table, or with its only generation.

    An additional generation answers for every profile, so a profile that was not measured is missed.
    """
    rows = {row.name: row for row in table.rows}
    series = dict.fromkeys(column.partition("@")[2] for column in table.cells if "@" in column) or {"": None}
    given = []
    for other in series:
        for target in asked:
            column = f"{target.profile}@{other}" if other else target.profile
            row = rows.get(target.row)
            given.append(Answer(target, column, _figure(row, target, column) if row else None))
    return given


def _figure(row: Row, target: Target, column: str) -> float | None:
    values: Mapping[str, float] = row.values
    mine, base, other = values.get(column), values.get(baseline(column)), values.get(target.profile)
    if mine is None:
        return None
    if target.by == "value":
        return mine
    if target.by == "beside":
        # A generation is not compared with itself.
        return mine / other if other and column != target.profile else None
    if target.by == "more":
        # A baseline that was not counted counts as 0.
        return mine - (base or 0)
    if base is None:
        return None
    if target.by == "ratio":
        return mine / base if base else None
    if other is None or column == target.profile or other <= base:
        return None
    return (mine - base) / (other - base)


def require(given: Sequence[Answer]) -> None:
    """Raise if a target is missed.

    Raises:
        UnderTest: a target is missed; the error has the number of missed targets.
    """
    missed = [answer for answer in given if not answer.met]
    if missed:
        raise UnderTest(f"{len(missed)} of {len(given)} targets are missed", "read the lines that begin with MISSED")
