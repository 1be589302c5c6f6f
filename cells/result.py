"""The result of a cell, as one value: written before work starts, replaced atomically, rendered as text or JSON.

running   work goes on, or was killed
passed    it booted, said so, and every check holds
failed    what is under test failed
refused   the request was wrong, which showed only after the run had begun
lost      the guest never reported, or the machine failed
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cells.suites import Suite
from core import data, store
from core.errors import UnderTest

# So many reasons stand in the error; all of them are in the result.
_TOLD = 3

# Larger times in a file are not times.
_MOST_SECONDS = 1e12

FORMAT = 1
FILE = "result.json"
# What the folder of a run that only boots begins with, behind its time.
BOOT = "boot-"
REFUSED = "refused"
STATUSES = ("running", "passed", "failed", REFUSED, "lost")


@dataclass(frozen=True)
class Check:
    """One fact that was asked of a run.

    Attributes:
        name: what was asked, in a few words.
        asked, got: the two values, as text.
    """

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class Splat:
    """One thing that went wrong in a kernel.

    Attributes:
        kind: `panic`, `kasan`, ... (guest.console.Kind).
        line: of console.log, from 1.
        during: the test that ran then, or empty.
        frames: the first ones, with file and line.
    """

    kind: str
    title: str
    line: int
    during: str
    frames: Sequence[str]

    def as_text(self) -> str:
        """The splat for a person."""
        during = f" (during {self.during})" if self.during else ""
        return "\n".join([f"{self.title}{during}", *(f"    {frame}" for frame in self.frames)])


@dataclass(frozen=True)
class Result:
    """What one pass through the toolkit gave.

    Attributes:
        folder: where result.json, console and captures are.
        cell: the names that it was built from.
        status: one of STATUSES.
        reasons: why it is not passed; empty if it is.
        checks: all that was asked of the records.
        stages: seconds of wall time by stage.
        facts: versions, keys, draws: what else a reader wants to know.
        suites: what the tests in the guest said.
        splats: what went wrong in the kernel.
        copy: a second place for result.json, or None.
    """

    folder: Path
    cell: Mapping[str, Any]
    runtime: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["docker", "host"]})]
    status: Annotated[str, data.choice(*STATUSES)] = "running"
    reasons: Sequence[str] = ()
    checks: Sequence[Check] = ()
    stages: Mapping[str, Annotated[float, msgspec.Meta(ge=-_MOST_SECONDS, le=_MOST_SECONDS)]] = field(
        default_factory=dict
    )
    facts: Mapping[str, Any] = field(default_factory=dict)
    started: int = field(default_factory=lambda: int(time.time()))
    suites: Sequence[Suite] = ()
    splats: Sequence[Splat] = ()
    copy: Path | None = None

    @property
    def label(self) -> str:
        """The cell in a few words, for a heading."""
        return f"{self.cell.get('profile', '')} on {self.cell.get('base', '')}, {self.cell.get('arch', '')}"

    def as_json(self) -> dict[str, Any]:
        """The value as published in docs/result.schema.json."""
        value = asdict(self)
        del value["copy"]
        value["folder"] = str(self.folder)
        value["format"] = FORMAT
        return value

    def as_text(self) -> str:
        """The value for a person: checks as a table, then the status."""
        width = max((len(c.name) for c in self.checks), default=0)
        lines = [f"{'ok' if c.ok else 'WRONG':5}  {c.name.ljust(width)}  {c.got}" for c in self.checks]
        lines += [f"wrong: {c.name}: asked {c.asked}, got {c.got}" for c in self.checks if not c.ok]
        lines += [f"{key}: {value}" for key, value in self.facts.items() if isinstance(value, str | int | float)]
        spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stages.items())
        held = sum(c.ok for c in self.checks)
        lines.append(f"{self.status}: {held} of {len(self.checks)} checks hold ({spent})")
        lines.append(str(self.folder / "result.json"))
        return "\n".join(lines)

    def save(self) -> Result:
        """Replace result.json in the folder, and its copy; returns the value itself."""
        value = self.as_json()
        for place in filter(None, (self.folder / FILE, self.copy)):
            store.write_json(place, value)
        return self

    def require(self) -> None:
        """Raises UnderTest unless the status is passed."""
        if self.status != "passed":
            more = f"; and {len(self.reasons) - _TOLD} more" if len(self.reasons) > _TOLD else ""
            why = "; ".join(self.reasons[:_TOLD]) + more or "a check does not hold"
            raise UnderTest(f"{self.status}: {why}", "read the console and the checks", self.folder / "console.log")


def finish(result: Result, status: str, **changes: Any) -> Result:
    """The result with its final status, saved.

    Raises:
        ValueError: it says passed, but a check does not hold or there is none.
    """
    done = replace(result, status=status, **changes)
    if status == "passed" and (not done.checks or not all(c.ok for c in done.checks)):
        raise ValueError("a result without held checks cannot have passed")
    return done.save()
