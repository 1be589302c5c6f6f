"""Suites: what the tests that ran in a guest said, and what follows for the run as a whole.

What comes in are a guest's verdict, its console and the outputs of its programs; what goes out are suites of tests
and one status with its reasons. The rules are here and nowhere else: a test that did not report is lost, a skip is
never a pass, a required test that was skipped is a failure, and a suite that did not build is told apart from one
that failed.
"""

from __future__ import annotations

import errno
import fnmatch
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from core import data
from guest import console, ktap
from guest.channel import Ran
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, TODO, Test
from guest.verdict import Status, Verdict

KINDS = ("kselftest", "kunit", "exec")

# How kselftest's programs end (tools/testing/selftests/kselftest.h, KSFT_*).
_ENDS = {0: PASSED, 2: TODO, 4: SKIPPED}
_NOT_PASSED = {SKIPPED: "was skipped", TODO: "is expected to fail"}
_SIGNALS = {number.value: number.name for number in signal.Signals}


@dataclass(frozen=True)
class Suite:
    """Tests that belong together.

    Attributes:
        name: a kselftest target, `kunit`, or the name of the user's program.
        kind: one of KINDS.
        tests: empty if it did not build.
        built: whether there was anything to run.
        reason: why it did not build.
        problems: what is wrong with its output.
        lacks: symbols that it asks for and the kernel does not have.
        log: what the build said, if it did not build.
    """

    name: str
    kind: Annotated[str, data.choice(*KINDS)]
    tests: tuple[Test, ...] = ()
    built: bool = True
    reason: str = ""
    problems: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    log: str = ""

    def leaves(self) -> Iterable[tuple[str, Test]]:
        """Each test that consists of no others, with its whole name: `timers/posix_timers/itimer`."""
        for path, test in ktap.leaves(self.tests):
            yield "/".join([self.name, *path]), test

    def counts(self) -> dict[str, int]:
        """Status -> how many tests have it."""
        return ktap.counts(self.tests)


def of_program(name: str, ran: Ran | None) -> tuple[Test, tuple[str, ...]]:
    """What became of one program that is a test: by what it printed in KTAP and by how it ended.

    Args:
        ran: None if the guest never began with it.

    Returns:
        The test with what it consists of, and what is wrong with its output.
    """
    if ran is None:
        return Test(name, LOST, "the guest ended before it began"), ()
    lines = ran.output.decode("utf-8", "replace").splitlines()
    report = ktap.parse(lines)
    # Without any test in it, what it printed is what there is to know.
    said = () if report.tests else tuple(ktap.plain(line) for line in lines[-40:])
    status, reason = _end(ran)
    made = ktap.consisting_of(Test(name, status, reason, said), report.tests)
    inner = {one.status for _, one in ktap.leaves(report.tests)}
    if made.status == PASSED and inner == {SKIPPED}:
        made = replace(made, status=SKIPPED, reason="all of its tests were skipped")
    return made, report.problems


def _end(ran: Ran) -> tuple[str, str]:
    facts = ran.facts
    if ran.end is None:
        return LOST, "the guest ended while it ran"
    if facts.get("ended") == "timeout":
        return FAILED, "it did not end in its time"
    if "signal" in facts:
        number = facts["signal"]
        return FAILED, f"died of {_SIGNALS.get(int(number), number) if number.isdecimal() else number}"
    if ran.end:
        return FAILED, f"it could not be run: {errno.errorcode.get(ran.end, str(ran.end))}"
    code = facts.get("exit", "")
    if not code.isdecimal():
        return LOST, "the guest did not say how it ended"
    status = _ENDS.get(int(code), FAILED)
    return status, "" if status == PASSED else f"it ended with {code}"


def of_console(screen: bytes) -> Suite:
    """KUnit's suites, which print on the console while the kernel boots."""
    parser, begun = ktap.Parser(), False
    for line in console.clean(screen):
        for message in console.messages(line):
            begun = begun or message.startswith(("KTAP version", "TAP version"))
            if begun:
                parser.feed(message)
    report = parser.close()
    tests = report.tests or (Test("all", LOST, "the kernel printed no results of KUnit"),)
    return Suite("kunit", "kunit", tests, problems=report.problems)


def judge(verdict: Verdict, suites: Sequence[Suite], required: Sequence[str]) -> tuple[str, list[str]]:
    """The status of a run, `passed`, `failed` or `lost`, and why it is not passed.

    Args:
        required: patterns of whole names (fnmatch) of tests that must pass; one that no test has is a failure.
    """
    reasons = list(verdict.reasons)
    reasons += [f"{suite.name} did not build: {suite.reason}" for suite in suites if not suite.built]
    for suite in suites:
        found = suite.counts()
        for status in (FAILED, LOST):
            if found[status]:
                names = [name for name, test in suite.leaves() if test.status == status]
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                verb = "did not report" if status == LOST else status
                reasons.append(f"{verb}: {', '.join(names[:3])}{more}")
    reasons += _missed(suites, required)
    everything = [test for suite in suites for _, test in suite.leaves()]
    if suites and not reasons and not any(test.status == PASSED for test in everything):
        reasons.append("no test passed")
    if verdict.status is not Status.PASSED:
        return str(verdict.status), reasons
    return ("failed", reasons) if reasons else ("passed", [])


def _missed(suites: Sequence[Suite], required: Sequence[str]) -> list[str]:
    reasons = []
    named = [(name, test) for suite in suites for name, test in suite.leaves()]
    unbuilt = {suite.name for suite in suites if not suite.built}
    for pattern in required:
        fitting = [(name, test) for name, test in named if fnmatch.fnmatchcase(name, pattern)]
        if not fitting and pattern.partition("/")[0] not in unbuilt:
            reasons.append(f"no test is {pattern}, which is required")
        reasons += [
            f"{name} is required and {_NOT_PASSED[test.status]}{f': {test.reason}' if test.reason else ''}"
            for name, test in fitting
            if test.status in _NOT_PASSED
        ]
    return reasons


def not_built(name: str, reason: str, log: Path | None, lacks: Sequence[str] = ()) -> Suite:
    """A suite of which nothing could be run."""
    return Suite(name, "kselftest", built=False, reason=reason, lacks=tuple(lacks), log=str(log) if log else "")
