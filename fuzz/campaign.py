"""Feed the borders with made inputs for some time, each in a process with limits of memory and time.

Takes borders, seconds and a seed. Gives findings, with the input of each in a file. An input on which a border breaks
its promise, takes too long or too much memory is a finding.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import process, store
from core.errors import InfraError
from fuzz import borders, mutation
from fuzz.borders import ROOT, Border

FILE = "fuzz.json"
# Of one input: seconds of CPU, and bytes of memory of the process that reads it, Python and numpy included.
INPUT_SECONDS = 10
MEMORY_BYTES = 1 << 30
_CURRENT, _REPORT = "current", "report.json"


@dataclass(frozen=True)
class Finding:
    """One input on which a border broke its promise.

    Attributes:
        what: the exception and its place, or which limit it broke.
        file: the input.
    """

    border: str
    what: str
    file: str


@dataclass(frozen=True)
class Outcome:
    """The result of a campaign.

    Attributes:
        inputs: border -> number of inputs that it read.
    """

    folder: Path
    seed: int
    inputs: dict[str, int]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "folder": str(self.folder)}


def run(chosen: Sequence[Border], seconds: float, seed: int, folder: Path) -> Outcome:
    """Share the time among the borders, and save the result in a folder.

    Raises:
        InfraError: a process ended for a reason that is not in the input.
    """
    inputs: dict[str, int] = {}
    findings: dict[tuple[str, str], Finding] = {}
    for border in chosen:
        first, until = 0, time.monotonic() + seconds / len(chosen)
        while first == 0 or time.monotonic() < until:
            place = folder / border.name
            place.mkdir(parents=True, exist_ok=True)
            left = max(until - time.monotonic(), 0.5)
            argv = [
                sys.executable,
                "-m",
                "fuzz.campaign",
                border.name,
                str(seed),
                str(first),
                f"{left:.1f}",
                str(place),
            ]
            done = process.run(argv, cwd=ROOT, log=folder / "fuzz.log", timeout=left + 60)
            report = _report(place)
            for what, file in report["findings"]:
                findings.setdefault((border.name, what), Finding(border.name, what, file))
            if not done.ok:
                what = (
                    "took too long"
                    if done.timed_out or done.code in (-24, -9, -14)
                    else f"ended its process ({done.code})"
                )
                findings.setdefault((border.name, what), _killed(border, what, place))
            elif not report["next"]:
                raise InfraError(
                    f"the process of the border {border.name} left no report", "read the log", folder / "fuzz.log"
                )
            first = int(report["next"]) + (not done.ok)
        inputs[border.name] = first
    outcome = Outcome(folder, seed, inputs, tuple(findings.values()))
    store.write_json(folder / FILE, outcome.as_json())
    return outcome


def _report(place: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads((place / _REPORT).read_text())
    except (OSError, ValueError):
        return {"findings": [], "next": 0}
    return loaded


def _killed(border: Border, what: str, place: Path) -> Finding:
    current = place / _CURRENT
    data = current.read_bytes() if current.exists() else b""
    return Finding(border.name, what, str(_save(place, data)))


def _save(place: Path, data: bytes) -> Path:
    path = place / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def limit() -> Callable[[], None]:
    """Limit the memory of this process; return what to call before each input, which limits its time."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def begins() -> None:
        used = int(time.process_time()) + INPUT_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (used, resource.RLIM_INFINITY))

    return begins


def work(
    border: Border, seed: int, first: int, seconds: float, place: Path, begins: Callable[[], None] = lambda: None
) -> None:
    """Read inputs until the time is over; the report is written before each, so that a kill loses nothing.

    Args:
        begins: called before each input (`limit`).
    """
    examples = border.corpus()
    until, number = time.monotonic() + seconds, first
    findings: dict[str, str] = {}
    report = place / _REPORT
    while time.monotonic() < until:
        data = mutation.make(examples, border.words, seed, number)
        (place / _CURRENT).write_bytes(data)
        report.write_text(json.dumps({"findings": list(findings.items()), "next": number + 1}))
        begins()
        if error := borders.fails(border, data):
            findings.setdefault(_place(error), str(_save(place, data)))
        number += 1
    report.write_text(json.dumps({"findings": list(findings.items()), "next": number}))


def _place(error: BaseException) -> str:
    """Return what an exception says of itself: findings of one place are one finding."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if str(ROOT) in frame.filename and "/.venv/" not in frame.filename]
    last = inside[-1] if inside else frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


if __name__ == "__main__":
    work(
        borders.BORDERS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]), limit()
    )
