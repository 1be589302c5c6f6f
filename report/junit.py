"""Results as JUnit's XML. A guest may print anything, so what XML cannot hold is replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from cells.result import REFUSED, Result
from cells.suites import Suite
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, TODO, Test
from report.history import WHOLE, Run

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_BUILT = "build"


def junit(result: Result) -> str:
    """The suites as JUnit's XML: a lost test and a suite that did not build are errors, a skip and a TODO are skipped.

    Behind them stands the run itself, as a suite with one case: a kernel that warned and a required test that was
    skipped are no test's failure, and whoever reads only this file must see them.

    Format: what junitparser and the CI systems read: testsuites, testsuite, testcase with failure, error or skipped.
    """
    root = ElementTree.Element("testsuites", {"name": _xml(result.label)})
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in result.suites:
        counted = junit_counts(suite)
        element = ElementTree.SubElement(
            root, "testsuite", {"name": _xml(suite.name), **{key: str(value) for key, value in counted.items()}}
        )
        for key, value in counted.items():
            totals[key] += value
        if not suite.built:
            case = ElementTree.SubElement(element, "testcase", {"classname": _xml(suite.name), "name": _NOT_BUILT})
            ElementTree.SubElement(case, "error", {"type": "not built", "message": _xml(suite.reason)})
        for name, test in suite.leaves():
            _case(element, suite, name, test)
    counted = _whole(root, result)
    for key, value in counted.items():
        totals[key] += value
    for key, value in totals.items():
        root.set(key, str(value))
    return _document(root)


def _whole(root: ElementTree.Element, result: Result) -> dict[str, int]:
    status = result.status if result.status in (PASSED, FAILED, REFUSED) else LOST
    counted = {"tests": 1, "failures": int(status == FAILED), "errors": int(status in (LOST, REFUSED)), "skipped": 0}
    element = ElementTree.SubElement(
        root, "testsuite", {"name": WHOLE, **{key: str(value) for key, value in counted.items()}}
    )
    case = ElementTree.SubElement(element, "testcase", {"classname": WHOLE, "name": _xml(result.label)})
    said = "\n\n".join(splat.as_text() for splat in result.splats)
    _end(case, status, "; ".join(result.reasons), said)
    return counted


def junit_counts(suite: Suite) -> dict[str, int]:
    """What JUnit counts of a suite."""
    counts = suite.counts()
    unbuilt = 0 if suite.built else 1
    return {
        "tests": sum(counts.values()) + unbuilt,
        "failures": counts[FAILED],
        "errors": counts[LOST] + unbuilt,
        "skipped": counts[SKIPPED] + counts[TODO],
    }


def _case(element: ElementTree.Element, suite: Suite, name: str, test: Test) -> None:
    case = ElementTree.SubElement(
        element, "testcase", {"classname": _xml(suite.name), "name": _xml(name.removeprefix(f"{suite.name}/"))}
    )
    _end(case, test.status, test.reason, "\n".join(test.diagnostics))


def _end(case: ElementTree.Element, status: str, reason: str, said: str) -> None:
    """How a test case ended; nothing is there of one that passed."""
    if status == FAILED:
        ElementTree.SubElement(case, "failure", {"message": _xml(reason or "failed")}).text = _xml(said)
    elif status in (LOST, REFUSED):
        ElementTree.SubElement(case, "error", {"type": status, "message": _xml(reason)}).text = _xml(said)
    elif status in (SKIPPED, TODO):
        why = reason if status == SKIPPED else f"todo: {reason}"
        ElementTree.SubElement(case, "skipped", {"message": _xml(why)})


def junit_of(runs: Sequence[Run]) -> str:
    """Many runs as JUnit's XML, one suite for each: its checks or tests, and the run itself.

    A run that ended before its first check, or whose result cannot be read, is an error: it is never left out.
    """
    root = ElementTree.Element("testsuites")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for run in runs:
        label = f"{run.key()} ({run.name})"
        element = ElementTree.SubElement(root, "testsuite", {"name": _xml(label)})
        outcomes = {WHOLE: run.whole(), **run.outcomes()}
        for name, (status, reason) in outcomes.items():
            case = ElementTree.SubElement(element, "testcase", {"classname": _xml(run.key()), "name": _xml(name)})
            _end(case, status, reason, "")
        given = [status for status, _ in outcomes.values()]
        counted = {
            "tests": len(given),
            "failures": given.count(FAILED),
            "errors": given.count(LOST) + given.count(REFUSED),
            "skipped": given.count(SKIPPED) + given.count(TODO),
        }
        for key, value in counted.items():
            element.set(key, str(value))
            totals[key] += value
    for key, value in totals.items():
        root.set(key, str(value))
    return _document(root)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
