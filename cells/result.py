"""Hold the result of a run as one value, and write it to result.json.

The file is written before work starts and replaced in one step. The statuses:

running   the run is still going, or was killed
passed    the guest booted and reported, and every check holds
failed    what is under test failed
refused   the request was wrong, but the run found that only after it had begun
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
from core.errors import UnderTest, one_line

# The error lists at most this many reasons; the result has all of them.
_LISTED = 3

# A larger value in a file is not a time.
_MOST_SECONDS = 1e12

FORMAT = 1
FILE = "result.json"
# The folder's name of a run that only boots: its time, then this.
BOOT = "boot-"
REFUSED = "refused"
STATUSES = ("running", "passed", "failed", REFUSED, "lost")


@dataclass(frozen=True)
class Check:
    """One check of a run.

    Attributes:
        name: what is checked, in a few words.
        asked, got: the expected and the actual value, as text.
    """

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class Splat:
    """One thing that went wrong in a kernel.

    Attributes:
        kind: `panic`, `kasan`, ... (guest.splats.Kind).
        line: of console.log, from 1.
        during: the test that was running, or empty.
        frames: the first frames, with file and line.
    """

    kind: str
    title: str
    line: int
    during: str
    frames: Sequence[str]

    def as_text(self) -> str:
        """Return the splat as text for a person."""
        during = f" (during {self.during})" if self.during else ""
        return "\n".join(
            [one_line(f"{self.kind}: {self.title}{during}"), *(f"    at {one_line(frame)}" for frame in self.frames)]
        )


@dataclass(frozen=True)
class Allowed:
    """A rule of --allow, and the titles of the splats that it allowed; none if they never came."""

    pattern: str
    reason: str
    titles: Sequence[str]

    def as_text(self) -> str:
        """Return the rule as a line for a person."""
        if not self.titles:
            return f"allowed, but never seen: {self.pattern} ({self.reason})"
        return f"allowed: {self.titles[0]}, {len(self.titles)} times ({self.reason})"


@dataclass(frozen=True)
class Result:
    """The result of one run.

    Attributes:
        folder: the folder with result.json, console and captures.
        cell: the names of the cell.
        status: one of STATUSES.
        reasons: why the run did not pass; empty if it passed.
        checks: all checks of the run.
        stages: seconds of wall time by stage.
        facts: other facts, such as versions, keys and draws.
        suites: results of the tests in the guest.
        splats: what went wrong in the kernel.
        allowed: the rules of --allow.
        noticed: messages that look like trouble but did not fail the run.
        copy: a second path for result.json, or None.
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
    allowed: Sequence[Allowed] = ()
    noticed: Sequence[str] = ()
    copy: Path | None = None

    @property
    def label(self) -> str:
        """Return the cell in a few words, for a heading."""
        return f"{self.cell.get('profile', '')} on {self.cell.get('base', '')}, {self.cell.get('arch', '')}"

    def as_json(self) -> dict[str, Any]:
        """Return the JSON value that docs/result.schema.json describes."""
        value = asdict(self)
        del value["copy"]
        value["folder"] = str(self.folder)
        value["format"] = FORMAT
        return value

    def as_text(self) -> str:
        """Return the result as text for a person: checks as a table, then the status."""
        width = max((len(c.name) for c in self.checks), default=0)
        lines = [f"{'ok' if c.ok else 'WRONG':5}  {c.name.ljust(width)}  {c.got}" for c in self.checks]
        lines += [f"wrong: {c.name}: asked {c.asked}, got {c.got}" for c in self.checks if not c.ok]
        lines += [f"{key}: {value}" for key, value in self.facts.items() if isinstance(value, str | int | float)]
        lines += [rule.as_text() for rule in self.allowed]
        lines += [f"looks like trouble: {message}" for message in self.noticed]
        spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stages.items())
        held = sum(c.ok for c in self.checks)
        lines.append(f"{self.status}: {held} of {len(self.checks)} checks hold ({spent})")
        lines.append(str(self.folder / "result.json"))
        return "\n".join(map(one_line, lines))

    def save(self) -> Result:
        """Write result.json into the folder, and its copy; return the result itself."""
        value = self.as_json()
        for path in filter(None, (self.folder / FILE, self.copy)):
            store.write_json(path, value)
        return self

    def require(self) -> None:
        """Raise UnderTest unless the status is passed."""
        if self.status != "passed":
            more = f"; and {len(self.reasons) - _LISTED} more" if len(self.reasons) > _LISTED else ""
            why = "; ".join(self.reasons[:_LISTED]) + more or "a check does not hold"
            raise UnderTest(f"{self.status}: {why}", "read the console and the checks", self.folder / "console.log")


def finish(result: Result, status: str, **changes: Any) -> Result:
    """Set the final status of a result and save it.

    Raises:
        ValueError: the status is passed, but a check does not hold or there are no checks.
    """
    done = replace(result, status=status, **changes)
    if status == "passed" and (not done.checks or not all(c.ok for c in done.checks)):
        raise ValueError("a result without held checks cannot have passed")
    return done.save()
