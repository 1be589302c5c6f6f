"""KTAP: outputs as the kernel's own tools print them, and as broken guests leave them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest import ktap
from guest.ktap import Report, Test

KUNIT = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: list
    # module: list_test
    1..3
    ok 1 list_init
    # list_add: EXPECTATION FAILED at lib/list-test.c:40
    not ok 2 list_add
        KTAP version 1
        # Subtest: list_param
        ok 1 zero
        ok 2 one # SKIP no memory
        1..2
    ok 3 list_param
# list: pass:2 fail:1 skip:0 total:3
not ok 1 list
    # Subtest: bits
    1..1
    ok 1 - bits_get
ok 2 - bits
"""

KSELFTEST = """\
TAP version 13
1..3
# timeout set to 45
# selftests: timers: posix_timers
# TAP version 13
# 1..2
# # Testing posix timers
# ok 1 check itimer virtual
# not ok 2 check timer create # exit=1
# # Totals: pass:1 fail:1
not ok 1 selftests: timers: posix_timers # exit=1
# selftests: timers: nanosleep
# Test timings: ok 1 second each
ok 2 selftests: timers: nanosleep # SKIP
# selftests: timers: slow
#
not ok 3 selftests: timers: slow # TIMEOUT 45 seconds
"""


def read(text: str) -> Report:
    return ktap.parse(text.splitlines())


def flat(text: str) -> dict[str, str]:
    return {"/".join(path): test.status for path, test in ktap.leaves(read(text).tests)}


def test_kunit() -> None:
    assert flat(KUNIT) == {
        "list/list_init": "passed",
        "list/list_add": "failed",
        "list/list_param/zero": "passed",
        "list/list_param/one": "skipped",
        "bits/bits_get": "passed",
    }
    assert read(KUNIT).problems == ()
    added = read(KUNIT).tests[0].subtests[1]
    assert added.diagnostics == ("list_add: EXPECTATION FAILED at lib/list-test.c:40",)


def test_kselftest_nests_in_comments() -> None:
    assert flat(KSELFTEST) == {
        "selftests: timers: posix_timers/check itimer virtual": "passed",
        "selftests: timers: posix_timers/check timer create": "failed",
        "selftests: timers: nanosleep": "skipped",
        "selftests: timers: slow": "failed",
    }
    assert read(KSELFTEST).problems == ()
    assert read(KSELFTEST).tests[2].reason == "timeout 45 seconds"
    assert read(KSELFTEST).tests[0].reason == "exit=1"


def test_lines_of_printk_and_noise_between_them() -> None:
    noisy = []
    for line in KUNIT.splitlines():
        noisy += [f"[    1.234567][    T1] {line}\r", "[    1.3] random: crng init done", "ok so far", "\x1b[0m"]
    assert flat("\n".join(noisy)) == flat(KUNIT)
    assert read("\n".join(noisy)).problems == ()


@pytest.mark.parametrize("cut", range(1, len(KUNIT.splitlines())))
def test_a_crash_at_any_line_loses_tests_and_passes_none(cut: int) -> None:
    whole, cut_off = flat(KUNIT), read("\n".join(KUNIT.splitlines()[:cut]))
    found = {"/".join(path): test.status for path, test in ktap.leaves(cut_off.tests)}
    for name, status in found.items():
        assert status in (whole.get(name), "lost") or name in ("list", "bits"), name
    if cut > 1:
        assert ktap.counts(cut_off.tests)["lost"] > 0
    else:
        assert not found, "nothing was announced"


@pytest.mark.parametrize("cut", range(2, len(KSELFTEST.splitlines())))
def test_a_crash_in_kselftest(cut: int) -> None:
    found = read("\n".join(KSELFTEST.splitlines()[:cut]))
    assert ktap.counts(found.tests)["lost"] > 0


def test_the_test_that_runs() -> None:
    parser = ktap.Parser()
    seen = []
    for line in KSELFTEST.splitlines():
        parser.feed(line)
        seen.append(parser.running)
    assert seen[3] == "timers: posix_timers"
    assert seen[-1] == ""
    parser = ktap.Parser()
    for line in KUNIT.splitlines()[:11]:
        parser.feed(line)
    assert parser.running == "list: list_param"


def test_each_result_is_told_when_it_comes() -> None:
    parser = ktap.Parser()
    told = [test.name for line in KUNIT.splitlines() for test in parser.feed(line)]
    assert told == ["list_init", "list_add", "zero", "one", "list_param", "list", "bits_get", "bits"]


@pytest.mark.parametrize(
    ("line", "status", "name", "reason"),
    [
        ("ok 1 a", "passed", "a", ""),
        ("ok 1 - a", "passed", "a", ""),
        ("not ok 1 a", "failed", "a", ""),
        ("ok 1 a # SKIP no device", "skipped", "a", "no device"),
        ("ok 1 # SKIP no device", "skipped", "no device", "no device"),
        ("not ok 1 a # skip: later", "skipped", "a", "later"),
        ("not ok 1 a # TODO broken", "todo", "a", "broken"),
        ("ok 1 a # TODO mended", "passed", "a", "mended"),
        ("ok 1 # XFAIL a", "todo", "a", "a"),
        ("ok 1 a # XPASS", "failed", "a", "xpass"),
        ("not ok 1 a # TIMEOUT 45 seconds", "failed", "a", "timeout 45 seconds"),
        ("ok 1 a #2 of b", "passed", "a #2 of b", ""),
        ("ok 1", "passed", "test 1", ""),
    ],
)
def test_a_result(line: str, status: str, name: str, reason: str) -> None:
    (test,) = read(f"1..1\n{line}").tests
    assert (test.status, test.name, test.reason) == (status, name, reason)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1..1\nok 1 a\nok 2 b", "2 tests reported, 1 were announced"),
        ("1..2\nok 1 a\nok 1 b", "test 1 reported twice"),
        ("1..2\nok 2 a\nok 1 b", "test 2 reported where test 1 was due"),
        ("TAP version 13\nok 1 a", "tests without a plan: whether all ran is not known"),
        ("ok 1 a\nok 2 b", "tests without a plan: whether all ran is not known"),
    ],
)
def test_a_plan_that_was_not_kept(text: str, problem: str) -> None:
    assert problem in read(text).problems


def test_a_plan_at_the_end() -> None:
    assert read("ok 1 a\nok 2 b\n1..2") == read("1..2\nok 1 a\nok 2 b")


def test_what_was_announced_is_lost() -> None:
    found = read("1..3\nok 1 a")
    assert ktap.counts(found.tests) == {"passed": 1, "failed": 0, "skipped": 0, "todo": 0, "lost": 2}
    assert {test.reason for test in read("1..2\nBail out! no memory").tests} == {"no memory"}


def test_a_whole_output_that_is_skipped() -> None:
    assert read("TAP version 13\n1..0 # SKIP no such device").tests == (Test("all", "skipped", "no such device"),)


def test_a_parent_is_not_better_than_its_tests() -> None:
    text = "1..1\n    1..2\n    ok 1 a\n    not ok 2 b\nok 1 parent"
    (parent,) = read(text).tests
    assert (parent.status, parent.reason) == ("failed", "says passed, but b is failed")
    text = "1..1\n    1..1\n    ok 1 a\nnot ok 1 parent"
    assert flat(text) == {"parent/a": "passed", "parent": "failed"}, "a failure of its own is not lost"


def test_two_outputs_one_after_the_other() -> None:
    assert flat("TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..1\nok 1 b") == {
        "a": "passed",
        "test 2": "lost",
        "b": "passed",
    }


def test_a_suite_that_died_before_the_next_began() -> None:
    text = "1..2\n    # Subtest: one\n    1..2\n    ok 1 a\n    # Subtest: two\n    1..1\n    ok 1 b\nok 2 two"
    found = read(text)
    assert [(test.name, test.status) for test in found.tests] == [("one", "lost"), ("two", "passed")]
    assert found.problems == ()


def test_what_a_guest_floods() -> None:
    parser = ktap.Parser()
    for number in range(1, 1001):
        parser.feed("# " + "x" * 100_000)
        parser.feed(" " * number + "TAP version 13")
    for number in range(1, 5001):
        parser.feed(f"x{number}")
    found = parser.close()
    assert "tests are nested more than 16 deep" in found.problems


@given(st.lists(st.sampled_from([*KUNIT.splitlines(), *KSELFTEST.splitlines(), "", "Bail out!", "1..9999999"])))
def test_any_order_of_lines_is_read(lines: list[str]) -> None:
    parser = ktap.Parser()
    told = [test for line in lines for test in parser.feed(line)]
    found = ktap.counts(parser.close().tests)
    assert found["passed"] <= sum(test.status == "passed" for test in told)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    read(text)


def test_tabs_indent_as_older_kunit_does() -> None:
    said = "TAP version 14\n1..1\n\t# Subtest: suite\n\t1..2\n\tok 1 - one\n\tnot ok 2 - two\nnot ok 1 - suite\n"
    (suite,) = ktap.parse(said.splitlines()).tests
    assert [(test.name, test.status) for test in suite.subtests] == [("one", "passed"), ("two", "failed")]
