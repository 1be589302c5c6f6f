"""Task test: run the toolkit's own tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from commands.task import command

_ROOT = Path(__file__).parent.parent


@command(
    default=True,
    help={
        "all": "also run the long builds, marked slow",
        "unit": "run only the fast unit tests",
        "match": "run only tests whose name matches (pytest -k)",
    },
)
def suite(_c: Any, all: bool = False, unit: bool = False, match: str = "") -> None:  # noqa: A002  (Invoke's flag name)
    """Run unit tests, then end-to-end tests on the tiny base. Example: ./invoke test"""
    from core.process import run

    python = [sys.executable, "-m", "pytest"]
    chosen = ["-k", match] if match else []
    # Unit tests run in parallel. End-to-end tests run one after the other, because each of them uses all cores.
    jobs = str(min(4, len(os.sched_getaffinity(0))))
    # A worker begins with neighbouring tests, which share what they build, and takes over others' when it is done.
    spread = ["-n", jobs, "--dist", "worksteal"]
    done = run([*python, "-q", "-m", "not e2e and not slow", *spread, *chosen], cwd=_ROOT, on_line=_show)
    _require(done.code, nothing_is_fine=bool(match))
    if unit:
        return
    marks = "e2e or slow" if all else "e2e and not slow"
    done = run([*python, "-v", "-m", marks, "--durations=15", *chosen], cwd=_ROOT, on_line=_show)
    _require(done.code, nothing_is_fine=bool(match))


@command(
    iterable=["border"],
    help={
        "minutes": "how long, in minutes",
        "seed": "seed of an earlier campaign, to repeat its inputs",
        "border": "only this border; may be given several times",
        "json": "print the result as JSON",
    },
)
def fuzz(_c: Any, minutes: float = 5.0, seed: int = 0, border: list[str] | None = None, json: bool = False) -> None:
    """Feed every reader of foreign text with made inputs. Example: ./invoke test.fuzz --minutes 5"""
    import secrets

    from cells import runs
    from commands.tables import print_json, print_table
    from core.errors import UnderTest, UserError
    from fuzz import borders, campaign

    if not 0 < minutes <= 24 * 60:
        raise UserError(f"--minutes {minutes:g} is not a time", "give minutes, at most those of a day")
    chosen = list(borders.choose(border or []))
    outcome = campaign.run(chosen, minutes * 60, seed or secrets.randbelow(1 << 31), runs.new_folder("fuzz"))
    if json:
        print_json(outcome.as_json())
    else:
        print_table([{"border": name, "inputs": count} for name, count in outcome.inputs.items()], ("border", "inputs"))
        for finding in outcome.findings:
            print(f"{finding.border}: {finding.what}: {finding.file}")
        print(f"{len(outcome.findings)} findings; seed {outcome.seed}")
        print(outcome.folder / campaign.FILE)
    if outcome.findings:
        raise UnderTest(
            f"{len(outcome.findings)} inputs break a border", "mend the reader; add the input to tests/golden/field"
        )


def _show(line: str) -> None:
    print(line, flush=True)


def _require(code: int, *, nothing_is_fine: bool) -> None:
    """Turn pytest's exit code into ours.

    Raises:
        UnderTest: a test failed, or no test ran although some were asked for (pytest's code 5).
        InfraError: pytest itself failed.
    """
    from core.errors import InfraError, UnderTest

    if code == 0 or (code == 5 and nothing_is_fine):
        return
    if code in (1, 5):
        raise UnderTest("no test ran" if code == 5 else "tests failed", "read what pytest printed above")
    raise InfraError(f"pytest ended with {code}", "read what it printed above")
