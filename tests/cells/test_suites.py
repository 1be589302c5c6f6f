"""Suites of tests: what a program's end and output make of it, what follows for the run, and how it is rendered."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import suites
from cells.result import Check, Result, Splat, finish
from cells.suites import Suite
from guest.channel import Ran
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, STATUSES, TODO, Test
from guest.verdict import Status, Verdict
from kernel.cell import CellNames
from report import junit, markdown
from tests.cells.test_result import SCHEMA

WELL = Verdict(Status.PASSED, (), ())
KTAP = b"TAP version 13\n1..2\nok 1 one\nok 2 two # SKIP no device\n"


def junit_counts(suite: Suite) -> dict[str, int]:
    """The counts that JUnit must have of a suite."""
    counts = suite.counts()
    unbuilt = 0 if suite.built else 1
    return {
        "tests": sum(counts.values()) + unbuilt,
        "failures": counts[FAILED],
        "errors": counts[LOST] + unbuilt,
        "skipped": counts[SKIPPED] + counts[TODO],
    }


def ran(output: bytes = KTAP, end: int | None = 0, **facts: str) -> Ran:
    return Ran(0, "test", facts or {"exit": "0"}, (), end, output)


@pytest.mark.parametrize(
    ("one", "status", "reason"),
    [
        (None, LOST, "before it began"),
        (ran(), PASSED, ""),
        (ran(end=None), LOST, "ended while it ran"),
        (ran(exit="1"), FAILED, "ended with 1"),
        (ran(exit="4"), SKIPPED, "ended with 4"),
        (ran(b"", exit="2"), TODO, "ended with 2"),
        (ran(signal="11"), FAILED, "SIGSEGV"),
        (ran(ended="timeout", end=62), FAILED, "in its time"),
        (ran(b"", 8, error="-8"), FAILED, "ENOEXEC"),
        (ran(pid="4"), LOST, "how it ended"),
        (ran(b"no tests at all\n"), PASSED, ""),
        (ran(b"1..1\nok 1 # SKIP nothing here\n"), SKIPPED, "all of its tests"),
        (ran(b"1..2\nok 1 one\n"), FAILED, "test 2 is lost"),
        (ran(b"1..1\nnot ok 1 one\n"), FAILED, "one is failed"),
    ],
)
def test_a_program(one: Ran | None, status: str, reason: str) -> None:
    made, _problems = suites.of_program("prog", one)
    assert (made.status, reason in made.reason) == (status, True), made


def test_what_a_program_without_tests_printed_is_kept() -> None:
    made, _ = suites.of_program("prog", ran(b"a\x1b[31mb\n\0c\n", exit="1"))
    assert made.diagnostics == ("ab", "c")


CONSOLE = b"""[    0.1][    T1] Linux version 7.1.8
[    0.2][    T1] KTAP version 1
[    0.2][    T1] 1..2
[    0.2][    T1]     KTAP version 1
[    0.2][    T1]     # Subtest: example
[    0.2][    T1]     1..2
[    0.3][    T1] random: something of the kernel itself
[    0.3][    T1]     ok 1 first
[    0.3][    T1]     ok 2 second # SKIP on purpose
[    0.3][    T1] # example: pass:1 fail:0 skip:1 total:2
[    0.3][    T1] ok 1 example
"""


def test_kunit_on_a_console_that_ends_too_early() -> None:
    made = suites.of_console(CONSOLE)
    assert [(name, test.status) for name, test in made.leaves()] == [
        ("kunit/example/first", PASSED),
        ("kunit/example/second", SKIPPED),
        ("kunit/test 2", LOST),
    ]
    assert suites.of_console(b"[    0.1] Linux version 7.1.8\n").counts()[LOST] == 1


def test_kunit_of_a_real_boot() -> None:
    """kernel/kunit.config on profile none and base tiny, Linux 7.1.8."""
    log = (Path(__file__).parent.parent / "golden" / "kunit" / "none-tiny.log").read_bytes()
    made = suites.of_console(log)
    assert made.counts() == {PASSED: 143, FAILED: 0, SKIPPED: 8, TODO: 0, LOST: 0}
    assert "kunit/example/example_params_test/example value 3" in {name for name, _ in made.leaves()}
    # Cut anywhere behind the first suite, what did not report is lost.
    cut = suites.of_console(log[: log.index(b"ok 3 ")])
    assert cut.counts()[LOST] > 0


def suite(*statuses: str, name: str = "timers", built: bool = True) -> Suite:
    tests = tuple(Test(f"t{i}", status, "because") for i, status in enumerate(statuses))
    return Suite(name, "kselftest", tests, built, "" if built else "no header x.h")


@pytest.mark.parametrize(
    ("verdict", "found", "required", "status", "words"),
    [
        (WELL, [suite(PASSED, SKIPPED, TODO)], [], "passed", ""),
        (WELL, [suite(PASSED, FAILED)], [], "failed", "failed: timers/t1"),
        (WELL, [suite(PASSED, LOST)], [], "failed", "did not report: timers/t1"),
        (WELL, [suite(PASSED, SKIPPED)], ["timers/t1"], "failed", "is required and was skipped: because"),
        (WELL, [suite(PASSED, TODO)], ["timers/*"], "failed", "is required and is expected to fail"),
        (WELL, [suite(PASSED)], ["timers/t1"], "failed", "no test is timers/t1"),
        (WELL, [suite(SKIPPED)], [], "failed", "no test passed"),
        (WELL, [suite(PASSED), suite(name="mm", built=False)], ["mm/*"], "failed", "mm did not build: no header x.h"),
        (Verdict(Status.LOST, ("silence",), ()), [suite(PASSED)], [], "lost", "silence"),
        (Verdict(Status.FAILED, ("BUG: it",), ()), [suite(PASSED)], [], "failed", "BUG: it"),
    ],
)
def test_a_run(verdict: Verdict, found: list[Suite], required: list[str], status: str, words: str) -> None:
    made, reasons = suites.judge(verdict, found, required)
    assert made == status
    assert any(words in reason for reason in reasons) if words else reasons == []


def result(folder: Path, *found: Suite, splats: tuple[Splat, ...] = ()) -> Result:
    cell = CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8")
    return Result(folder, asdict(cell), "host", suites=found, splats=splats, status="failed", reasons=["a|b"])


def test_the_published_schema_knows_suites_and_splats(tmp_path: Path) -> None:
    import jsonschema

    splat = Splat("bug", "kernel BUG at x.c:1!", 3, "timers/t0", ["f+0x1 x.c:1"])
    nested = replace(Test("p", PASSED), subtests=(Test("c", PASSED, diagnostics=("said",)),))
    made = result(tmp_path, Suite("a", "kunit", (nested,)), suite(built=False), splats=(splat,))
    finish(made, "failed", checks=[Check("guest", False, "passed", "failed")])
    jsonschema.validate(json.loads((tmp_path / "result.json").read_text()), SCHEMA)


TESTS = st.lists(st.tuples(st.text(max_size=20), st.sampled_from(STATUSES), st.text(max_size=20)), max_size=8)


@given(st.lists(st.tuples(st.text(max_size=10), st.booleans(), TESTS), max_size=4))
def test_junitparser_counts_what_we_count(found: list[tuple[str, bool, list[tuple[str, str, str]]]]) -> None:
    from junitparser import Error, Failure, JUnitXml, Skipped

    made = result(
        Path("/nowhere"),
        *(
            Suite(name, "kselftest", tuple(Test(*test) for test in tests) if built else (), built)
            for name, built, tests in found
        ),
    )
    document = JUnitXml.fromstring(junit.junit(made).encode())
    read, whole = list(document)[:-1], list(document)[-1]
    assert (whole.tests, whole.failures, whole.errors) == (1, 1, 0)
    expected = [junit_counts(one) for one in made.suites]
    assert [{key: getattr(one, key) for key in junit_counts(suite())} for one in read] == expected
    for kind, key in ((Failure, "failures"), (Error, "errors"), (Skipped, "skipped")):
        cases = [sum(any(isinstance(r, kind) for r in case.result) for case in one) for one in read]
        assert cases == [counts[key] for counts in expected]
    assert [sum(1 for _ in one) for one in read] == [counts["tests"] for counts in expected]
    assert document.tests == sum(counts["tests"] for counts in expected) + 1
    document.update_statistics()
    assert document.tests == sum(counts["tests"] for counts in expected) + 1


@pytest.mark.parametrize(("status", "ends"), [("passed", (0, 0)), ("failed", (1, 0)), ("lost", (0, 1))])
def test_junit_says_what_is_no_tests_failure(status: str, ends: tuple[int, int]) -> None:
    from junitparser import JUnitXml

    splat = Splat("warning", "WARNING: x.c:1", 3, "", ["f+0x1 x.c:1"])
    made = replace(result(Path("/nowhere"), suite(PASSED), splats=(splat,)), status=status, reasons=["WARNING: x.c:1"])
    text = junit.junit(made)
    read = JUnitXml.fromstring(text.encode())
    assert (read.tests, read.failures, read.errors) == (2, *ends)
    assert ("f+0x1 x.c:1" in text) == (status != "passed")


def test_markdown_keeps_its_tables() -> None:
    bad = Test("a|b\n# c", FAILED, "<script>")
    text = markdown.markdown(result(Path("/nowhere"), Suite("s", "exec", (bad,)), suite(name="m", built=False)))
    assert r"| s/a\|b \# c | failed | \<script\> |" in text
    assert "| m | not built |" in text
    assert "<script>" not in text
