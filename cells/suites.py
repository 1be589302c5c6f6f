"""Judge the tests that ran in a guest, and the run as a whole.

Takes a guest's verdict, its console and the outputs of its programs. Gives suites of tests, and one status with its
reasons. All rules are here: a test that did not report is lost. A skipped test does not count as passed, and counts as
failed if it is required. A suite that did not build is not the same as one that failed.
"""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from core import data, outside
from guest import console, ktap
from guest.channel import Ran
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, TODO, Test
from guest.verdict import Status, Verdict, signal_name

KINDS = ("kselftest", "kunit", "exec")

# How kselftest's programs end (tools/testing/selftests/kselftest.h, KSFT_*).
_ENDS = {0: PASSED, 2: TODO, 4: SKIPPED}
_NOT_PASSED = {SKIPPED: "was skipped", TODO: "is expected to fail"}


@dataclass(frozen=True)
class Suite:
    """Tests that belong together.

    Attributes:
        name: a kselftest target, `kunit`, or the name of the user's program.
        kind: one of KINDS.
        tests: empty if the suite did not build.
        built: whether the suite was built.
        reason: why the suite did not build.
        problems: what is wrong with its output.
        lacks: symbols that the suite asks for and the kernel does not have.
        log: path of the build log, if the suite did not build.
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
        """Yield each test without subtests, with its whole name: `timers/posix_timers/itimer`."""
        for path, test in ktap.leaves(self.tests):
            yield "/".join([self.name, *path]), test

    def counts(self) -> dict[str, int]:
        """Return status -> number of tests."""
        return ktap.counts(self.tests)


def of_program(name: str, ran: Ran | None) -> tuple[Test, tuple[str, ...]]:
    """Judge one program that is a test, by its KTAP output and by how it ended.

    Args:
        ran: None if the guest never started it.

    Returns:
        The test with its subtests, and what is wrong with its output.
    """
    if ran is None:
        return Test(name, LOST, "the guest ended before it began"), ()
    lines = ran.output.decode("utf-8", "replace").splitlines()
    report = ktap.parse(lines)
    # Output without a test becomes the diagnostics.
    printed = () if report.tests else tuple(ktap.plain(line) for line in lines[-40:])
    status, reason = _end(ran)
    test = ktap.consisting_of(Test(name, status, reason, printed), report.tests)
    inner = {subtest.status for _, subtest in ktap.leaves(report.tests)}
    if test.status == PASSED and inner == {SKIPPED}:
        test = replace(test, status=SKIPPED, reason="all of its tests were skipped")
    return test, report.problems


def _end(ran: Ran) -> tuple[str, str]:
    facts = ran.facts
    if ran.end is None:
        return LOST, "the guest ended while it ran"
    if facts.get("ended") == "timeout":
        return FAILED, "it did not end in its time"
    if "signal" in facts:
        return FAILED, f"died of {signal_name(facts['signal'])}"
    if ran.end:
        return FAILED, f"it could not be run: {errno.errorcode.get(ran.end, str(ran.end))}"
    code = outside.number(facts.get("exit", ""), high=255)
    if code is None:
        return LOST, "the guest did not say how it ended"
    status = _ENDS.get(code, FAILED)
    return status, "" if status == PASSED else f"it ended with {code}"


def of_console(screen: Path | bytes) -> Suite:
    """Read KUnit's suites from the console, a file or its content; they print while the kernel boots."""
    parser, begun = ktap.Parser(), False
    for line in console.lines(screen):
        for message in console.messages(line):
            begun = begun or message.startswith(("KTAP version", "TAP version"))
            if begun:
                parser.feed(message)
    report = parser.close()
    tests = report.tests or (Test("all", LOST, "the kernel printed no results of KUnit"),)
    return Suite("kunit", "kunit", tests, problems=report.problems)


def judge(verdict: Verdict, suites: Sequence[Suite], required: Sequence[str]) -> tuple[str, list[str]]:
    """Return the status of a run, `passed`, `failed` or `lost`, and why it did not pass.

    Args:
        required: patterns of whole names (fnmatch) of tests that must pass; a pattern without a match is a failure.
    """
    reasons = list(verdict.reasons)
    reasons += [f"{suite.name} did not build: {suite.reason}" for suite in suites if not suite.built]
    for suite in suites:
        counts = suite.counts()
        for status in (FAILED, LOST):
            if counts[status]:
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
    """Return a suite that could not be built."""
    return Suite(name, "kselftest", built=False, reason=reason, lacks=tuple(lacks), log=str(log) if log else "")
