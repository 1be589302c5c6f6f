"""Write results as JUnit XML.

Replaces characters that XML does not allow, because a guest may print anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import junitparser

from cells.result import REFUSED, Result
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, TODO
from report.history import WHOLE, Run

# Characters that XML 1.0 does not allow, not even escaped.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_BUILT = "build"


def junit(result: Result) -> str:
    """Return the suites as JUnit XML. Lost tests and suites that did not build are errors; skips and TODOs are skipped.

    After the suites comes the run itself, as a suite with one case. It shows failures that do not belong to a test: a
    kernel that warned, a required test that was skipped.

    Format: what junitparser and the CI systems read: testsuites, testsuite, testcase with failure, error or skipped.
    """
    suites = []
    for suite in result.suites:
        cases = [_case(suite.name, name.removeprefix(f"{suite.name}/"), test.status, test.reason,
                       "\n".join(test.diagnostics)) for name, test in suite.leaves()]  # fmt: skip
        if not suite.built:
            unbuilt = junitparser.TestCase(_NOT_BUILT, _xml(suite.name))
            unbuilt.result = [junitparser.Error(_xml(suite.reason), "not built")]
            cases.insert(0, unbuilt)
        suites.append(_suite(suite.name, cases))
    status = result.status if result.status in (PASSED, FAILED, REFUSED) else LOST
    printed = "\n\n".join(splat.as_text() for splat in result.splats)
    suites.append(_suite(WHOLE, [_case(WHOLE, result.label, status, "; ".join(result.reasons), printed)]))
    return _document(suites, _xml(result.label))


def _case(group: str, name: str, status: str, reason: str, printed: str) -> junitparser.TestCase:
    """Build a test case with its outcome; a case that passed has no element for it."""
    case = junitparser.TestCase(_xml(name), _xml(group))
    outcome: junitparser.Failure | junitparser.Error | junitparser.Skipped
    if status == FAILED:
        outcome = junitparser.Failure(_xml(reason or "failed"))
    elif status in (LOST, REFUSED):
        outcome = junitparser.Error(_xml(reason), status)
    elif status in (SKIPPED, TODO):
        outcome, printed = junitparser.Skipped(_xml(reason if status == SKIPPED else f"todo: {reason}")), ""
    else:
        return case
    if printed:
        outcome.text = _xml(printed)
    case.result = [outcome]
    return case


def _suite(name: str, cases: Sequence[junitparser.TestCase]) -> junitparser.TestSuite:
    suite = junitparser.TestSuite(_xml(name))
    for case in cases:
        suite.append(case)
    suite.update_statistics()
    return suite


def junit_of(runs: Sequence[Run]) -> str:
    """Return many runs as JUnit XML, one suite for each: its checks or tests, and the run itself.

    A run that ended before its first check, or whose result cannot be read, is an error; no run is left out.
    """
    suites = []
    for run in runs:
        outcomes = {WHOLE: run.whole(), **run.outcomes()}
        cases = [_case(run.key(), name, status, reason, "") for name, (status, reason) in outcomes.items()]
        suites.append(_suite(f"{run.key()} ({run.name})", cases))
    return _document(suites)


def _document(suites: Sequence[junitparser.TestSuite], name: str | None = None) -> str:
    root = junitparser.JUnitXml(name)
    for suite in suites:
        root.append(suite)
    root.update_statistics()
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + str(root.tostring().decode("utf-8")) + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
