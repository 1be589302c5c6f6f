"""JUnit of many runs: read back by junitparser, it counts what the runs count."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped

from commands import report
from guest.ktap import FAILED, LOST, PASSED, SKIPPED, STATUSES, TODO
from report import history, junit
from tests import runs

_NAMES = st.text(max_size=8)


def counted(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """What the document claims, and what junitparser counts in it."""
    read = JUnitXml.fromstring(text.encode())
    claimed = {"tests": read.tests, "failures": read.failures, "errors": read.errors, "skipped": read.skipped}
    cases = [case for suite in read for case in suite]
    ends = [end for case in cases for end in case.result]
    found = {
        "tests": len(cases),
        **{
            name: sum(isinstance(end, kind) for end in ends)
            for name, kind in (("failures", Failure), ("errors", Error), ("skipped", Skipped))
        },
    }
    return claimed, found


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from(["passed", "failed", "lost", "running"]),
            st.dictionaries(_NAMES, st.booleans(), max_size=4),
            st.dictionaries(_NAMES, st.sampled_from(STATUSES), max_size=4),
        ),
        max_size=4,
    ),
    torn=st.booleans(),
)
def test_junitparser_counts_what_the_runs_count(
    tmp_path_factory: object, cells: list[tuple[str, dict[str, bool], dict[str, str]]], torn: bool
) -> None:
    root: Path = tmp_path_factory.mktemp("runs")  # type: ignore[attr-defined]
    due = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for number, (status, checks, tests) in enumerate(cells):
        runs.save(root / f"cell-{number}", status=status, checks=checks, tests=tests)
        ends = list(tests.values()) if tests else [PASSED if ok else FAILED for ok in checks.values()]
        ends.append({"passed": PASSED, "failed": FAILED}.get(status, LOST))
        due["tests"] += len(ends)
        due["failures"] += ends.count(FAILED)
        due["errors"] += ends.count(LOST)
        due["skipped"] += ends.count(SKIPPED) + ends.count(TODO)
    if torn:
        (root / "torn").mkdir()
        (root / "torn" / "result.json").write_text('{"format"')
        due["tests"] += 1
        due["errors"] += 1
    claimed, found = counted(junit.junit_of(history.load(root).runs))
    assert claimed == found == due


def test_the_command_writes_it(tmp_path: Path) -> None:
    runs.save(tmp_path / "matrix" / "one", checks={"a": True, "b": False}, status="failed", reasons=["b"])
    runs.save(tmp_path / "matrix" / "two", status="lost", reasons=["the disk is full"])
    report.junit.body(None, str(tmp_path / "matrix"), str(tmp_path / "out" / "junit.xml"))
    claimed, found = counted((tmp_path / "out" / "junit.xml").read_text())
    assert claimed == found == {"tests": 4, "failures": 2, "errors": 1, "skipped": 0}
    assert "the disk is full" in (tmp_path / "out" / "junit.xml").read_text()


def test_a_refused_run_is_an_error_of_its_own_type(tmp_path: Path) -> None:
    made = runs.save(tmp_path / "run", status="refused", reasons=["no such program"])
    for text in (junit.junit_of([history.read(made.folder)]), junit.junit(made)):
        assert counted(text)[0] == {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}
        assert 'type="refused"' in text


def test_a_suite_that_did_not_build_counts_as_in_the_file_of_its_own_run(tmp_path: Path) -> None:
    from dataclasses import replace

    from cells.suites import not_built

    made = runs.save(tmp_path / "20261123-100000-test", tests={"a": "passed", "b": "failed"}, status="failed")
    made = replace(made, suites=[*made.suites, not_built("timers", "no header", None)]).save()
    own, _ = counted(junit.junit(made))
    many, _ = counted(junit.junit_of([history.read(made.folder)]))
    assert many == own == {"tests": 4, "failures": 2, "errors": 1, "skipped": 0}
    assert own["errors"] == 1
