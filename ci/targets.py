"""Targets of the RFC's table: which a generation of callbacks meets.

What comes in is a table of ci.rfc; what goes out is one answer for each target of targets.yaml. What was not measured
is missed, never met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ci.rfc import Row, Table, baseline
from core.data import load_yaml
from core.errors import UnderTest

FILE = Path(__file__).parent / "targets.yaml"
KINDS = ("ratio", "more", "beside", "growth", "value")


@dataclass(frozen=True)
class Target:
    """One line of targets.yaml.

    Attributes:
        row: name of the table's row.
        by: how the figure is made, one of KINDS.
        most: the largest figure that meets it.
    """

    row: str
    profile: str
    by: str
    most: float


@dataclass(frozen=True)
class Answer:
    """What one column says to a target.

    Attributes:
        figure: None if the table does not have it.
    """

    target: Target
    column: str
    figure: float | None

    @property
    def met(self) -> bool:
        """Whether it was measured and is small enough."""
        return self.figure is not None and self.figure <= self.target.most

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "met": self.met}

    def __str__(self) -> str:
        said = "not measured" if self.figure is None else f"{self.figure:,.3f}"
        return (
            f"{'met' if self.met else 'MISSED'}: {self.target.row}, {self.column}, {self.target.by}: {said}, "
            f"at most {self.target.most:,g}"
        )


def targets() -> list[Target]:
    """What is asked.

    Raises:
        UserError: targets.yaml is malformed.
    """
    found = []
    for node in load_yaml(FILE).elements("targets"):
        node.only("row", "profile", "by", "most")
        if (by := node.string("by")) not in KINDS:
            raise node.get("by").error(f"{by} is none of {', '.join(KINDS)}")
        try:
            most = float(node.string("most"))
        except ValueError:
            raise node.get("most").error("wanted a number in quotes") from None
        if not isfinite(most):
            raise node.get("most").error("wanted a finite number")
        found.append(Target(node.string("row"), node.string("profile"), by, most))
    return found


def answers(table: Table, asked: Sequence[Target]) -> list[Answer]:
    """Hold a table against targets: the generations that stand beside, or, where none does, the one asked for.

    A generation that stands beside answers for every profile, so a profile of it that was not measured is missed.
    """
    rows = {row.name: row for row in table.rows}
    series = dict.fromkeys(column.partition("@")[2] for column in table.cells if "@" in column) or {"": None}
    found = []
    for one in series:
        for target in asked:
            column = f"{target.profile}@{one}" if one else target.profile
            row = rows.get(target.row)
            found.append(Answer(target, column, _figure(row, target, column) if row else None))
    return found


def _figure(row: Row, target: Target, column: str) -> float | None:
    values: Mapping[str, float] = row.values
    mine, base, other = values.get(column), values.get(baseline(column)), values.get(target.profile)
    if mine is None:
        return None
    if target.by == "value":
        return mine
    if target.by == "beside":
        # A generation is not measured against itself.
        return mine / other if other and column != target.profile else None
    if base is None:
        return None
    if target.by == "more":
        return mine - base
    if target.by == "ratio":
        return mine / base if base else None
    if other is None or column == target.profile or other <= base:
        return None
    return (mine - base) / (other - base)


def require(found: Sequence[Answer]) -> None:
    """Raise if a target is missed.

    Raises:
        UnderTest: with how many.
    """
    missed = [one for one in found if not one.met]
    if missed:
        raise UnderTest(f"{len(missed)} of {len(found)} targets are missed", "read the lines that begin with MISSED")
