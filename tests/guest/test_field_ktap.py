"""Outputs of tests of kinds that real machines print, with the counts that KTAP's rules give."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest import ktap

FOLDER = Path(__file__).parent.parent / "golden" / "field" / "ktap"

# File -> status of the outermost tests, and the leaves that are not passed.
FIELD: dict[str, tuple[list[str], dict[str, str]]] = {
    "ktap_headerless_comment_subtests": (["failed"], {"second": "failed"}),
    "ktap_fpstress": (["failed"], {"KERNEL-0-0": "failed"}),
    "ktap_crash_line_then_ok": (["failed", "passed"], {"b": "failed"}),
    "ktap_kunit_caller": (["failed", "passed"], {"second": "failed", "p=2": "skipped"}),
    "ktap_kunit_after_other_console_text": (["passed"], {}),
    "ktap_kunit_todo": (["failed"], {"b": "todo", "s": "failed"}),
    "ktap_parenthesised": (["skipped", "passed"], {"sample (64-bit)": "skipped"}),
    "ktap_zero_plan": (["skipped"], {"all": "skipped"}),
}


def test_every_case_is_here() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(FIELD)


@pytest.mark.parametrize("name", list(FIELD))
def test_field(name: str) -> None:
    report = ktap.parse((FOLDER / f"{name}.txt").read_text().splitlines())
    statuses, others = FIELD[name]
    assert [test.status for test in report.tests] == statuses
    assert {path[-1]: test.status for path, test in ktap.leaves(report.tests) if test.status != "passed"} == others


def test_a_comment_that_looks_like_a_result_is_none() -> None:
    report = ktap.parse(["TAP version 13", "1..1", "# selftests: a: b", "# ok 7 cats so far", "ok 1 selftests: a: b"])
    assert [(test.status, test.subtests) for test in report.tests] == [("passed", ())]


def test_a_plan_that_comes_again_and_again() -> None:
    """Found by test.fuzz: each plan announced tests that were all listed as lost."""
    report = ktap.parse(["TAP version 13", *["1..93"] * 150_000])
    assert len(report.tests) <= 100_000
