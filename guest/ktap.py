"""Read KTAP, the output of test programs, line by line.

Takes lines of a guest that may crash at any of them. Gives a tree of tests. Never counts a test as passed if it was
skipped, if it was announced but has no result (`lost`), or if a test in it failed.
"""

# The formats are TAP 13, KTAP 1 and KUnit's older form, nested by indentation, and that of kselftest, nested in
# comments (Documentation/dev-tools/ktap.rst and tools/testing/selftests/kselftest/runner.sh of Linux).

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from core import data

PASSED, FAILED, SKIPPED, TODO, LOST = "passed", "failed", "skipped", "todo", "lost"
STATUSES = (PASSED, FAILED, SKIPPED, TODO, LOST)

# A guest may print anything. Output beyond these limits (characters of a line, depth, tests, lines of a test) is cut.
_LONGEST, _DEEPEST, _MOST, _KEPT = 4096, 16, 100_000, 200
# The number of tests without a result that are listed one by one.
_NAMED = 500

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
# The prefix of printk: time and, with CONFIG_PRINTK_CALLER, task or CPU.
_PRINTK = re.compile(r"^(<\d+>)?\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?")
_LATER = re.compile(r"(?<=.)\[ {0,12}\d{1,10}\.\d{1,9}\](?:\[ {0,10}[TC]\d{1,10}\])? ?")
_ELEMENT = re.compile(r" *(?:(?:not )?ok \d|K?TAP version \d|# Subtest: |1\.\.\d)")
_INDENT = re.compile(r"(?:# ?| )*")
_VERSION = re.compile(r"(?:KTAP version \d+|TAP version \d+)\s*$")
_PLAN = re.compile(r"1\.\.(\d{1,7})\s*(?:#\s*(SKIP.*))?$", re.IGNORECASE)
# KTAP requires the number; without it, "ok so far" would be a test.
_RESULT = re.compile(r"(not )?ok +(\d{1,9})\b(.*)$")
_SUBTEST = re.compile(r"# Subtest: (.*)$")
_DIRECTIVE = re.compile(r"#\s*(SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR|exit=\d+)\b:?\s*(.*)$", re.IGNORECASE)
_BAIL = re.compile(r"Bail out!\s*(.*)$")
# The line that kselftest's runner prints before it starts a program.
_STARTS = re.compile(r"# selftests: (.+)$")


@dataclass(frozen=True)
class Test:
    """The result of one test.

    Attributes:
        name: as the test prints it; `test N` if it prints no name.
        status: one of STATUSES.
        reason: why it was skipped, is expected to fail, or failed, in the test's words or ours.
        diagnostics: lines that it printed, without comment marks; at most the last 200.
        subtests: the tests that it consists of.
    """

    __test__ = False  # otherwise pytest would collect it

    name: str
    status: Annotated[str, data.choice(*STATUSES)]
    reason: str = ""
    diagnostics: tuple[str, ...] = ()
    subtests: tuple[Test, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the test as JSON values."""
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "diagnostics": list(self.diagnostics),
            "subtests": [test.as_json() for test in self.subtests],
        }


@dataclass(frozen=True)
class Report:
    """The results of a run of tests.

    Attributes:
        tests: the outermost tests.
        problems: defects of the output itself, such as a wrong number of tests, or a number that comes twice.
    """

    tests: tuple[Test, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class _Level:
    """Tests at one depth, until the result of their parent ends them."""

    column: int
    name: str = ""
    plan: int | None = None
    skip: str = ""
    tests: list[Test] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    output: list[str] = field(default_factory=list)


class Parser:
    """Reads lines one by one."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._done: list[Test] = []
        self._problems: list[str] = []
        self._count = 0
        self._starting = ""
        self._bailed = ""

    @property
    def running(self) -> str:
        """Return the test that runs now, as far as its output shows; empty if none does."""
        names = [level.name for level in self._levels if level.name]
        return ": ".join(dict.fromkeys([*([self._starting] if self._starting else []), *names]))

    def feed(self, line: str) -> list[Test]:
        """Take one line.

        Returns:
            The tests whose result the line is: one or none.
        """
        text = plain(line)
        indent = _INDENT.match(text)
        column = indent.end() if indent else 0
        body = text[column:]
        if subtest := _SUBTEST.match(text.lstrip(" ")):
            self._open(len(text) - len(text.lstrip(" ")), name=subtest[1].strip())
        elif _VERSION.match(body):
            self._open(column, fresh=True)
        elif plan := _PLAN.match(body):
            self._plan(column, int(plan[1]), plan[2] or "")
        elif (result := _RESULT.match(body)) and (
            self._at(column) is not None or self._is_in_comment(text, int(result[2]))
        ):
            if self._at(column) is None:
                self._open(column)
            return self._result(column, result)
        elif bail := _BAIL.match(body):
            self._bailed = bail[1] or "bailed out"
        else:
            if starts := _STARTS.match(text):
                self._starting = starts[1]
            self._add_output(body)
        return []

    def close(self) -> Report:
        """End the output, and return the report; tests without a result are lost."""
        while self._levels:
            self._end(self._levels.pop(), None)
        return Report(tuple(self._done), tuple(self._problems))

    def _at(self, column: int) -> _Level | None:
        """Return the level of results at a column; the outermost level needs no header."""
        for level in reversed(self._levels):
            if level.column == column:
                return level
        if column == 0:
            self._levels.insert(0, _Level(0))
            return self._levels[0]
        return None

    def _is_in_comment(self, text: str, number: int) -> bool:
        """Check whether a result without a level belongs to a program that prints no header.

        kselftest's runner comments out what a program prints. A program's words that look like a result are not
        taken for one: its first result has the number 1.
        """
        return text.startswith("#") and number == 1 and bool(self._levels)

    def _open(self, column: int, *, name: str = "", fresh: bool = False) -> _Level:
        """Begin a level, or name one that is still empty; deeper levels end without a result of their parent."""
        while self._levels and self._levels[-1].column > column:
            self._end(self._levels.pop(), None)
        level = self._levels[-1] if self._levels and self._levels[-1].column == column else None
        begun = level is not None and (level.tests or level.plan is not None or (level.name and name))
        if level is not None and (begun or (fresh and level.name)):
            self._end(self._levels.pop(), None)
            level = None
        if level is None:
            if len(self._levels) >= _DEEPEST:
                self._problem(f"tests are nested more than {_DEEPEST} deep")
                return self._levels[-1]
            level = _Level(column)
            self._levels.append(level)
        level.name = name or level.name
        return level

    def _plan(self, column: int, count: int, skip: str) -> None:
        level = next((open_level for open_level in self._levels if open_level.column == column), None)
        if level is None or level.plan is not None:
            level = self._open(column)
        level.plan, level.skip = count, skip

    def _result(self, column: int, match: re.Match[str]) -> list[Test]:
        inner: list[_Level] = []
        while self._levels and self._levels[-1].column > column:
            inner.append(self._levels.pop())
        for deeper in inner[:-1]:
            self._end(deeper, None, into=inner[inner.index(deeper) + 1])
        level = self._levels[-1]
        number = int(match[2])
        if number in level.numbers:
            self._problem(f"test {number}{_of(level)} reported twice")
        elif number != len(level.tests) + 1:
            self._problem(f"test {number}{_of(level)} reported where test {len(level.tests) + 1} was due")
        level.numbers.add(number)
        test = _read(match, number)
        output, level.output = level.output, []
        if inner:
            child = inner[-1]
            test = self._end(child, test) or test
            output = [*output, *child.output]
        test = replace(test, diagnostics=tuple(output[-_KEPT:]))
        self._starting = ""
        if self._count >= _MOST:
            self._problem(f"more than {_MOST} tests: the rest is not counted")
            return []
        self._count += 1
        level.tests.append(test)
        return [test]

    def _end(self, level: _Level, parent: Test | None, *, into: _Level | None = None) -> Test | None:
        """End a level, and give its tests to their parent; if there is none, to a new parent that is lost.

        Returns:
            The parent with its tests, if a parent was given.
        """
        tests = list(level.tests)
        if level.plan is not None and not level.skip:
            missing = level.plan - len(tests)
            due = (number for number in range(1, level.plan + 1) if number not in level.numbers)
            why = self._bailed or "announced, and did not report"
            # Tests that were announced count like others: a plan may come a hundred thousand times.
            named = max(0, min(missing, _NAMED, _MOST - self._count))
            self._count += named
            tests += [Test(f"test {number}", LOST, why) for number in itertools.islice(due, named)]
            if missing > _NAMED:
                self._problem(f"{missing} tests{_of(level)} did not report; {_NAMED} of them are listed")
            if len(level.tests) > level.plan:
                self._problem(f"{len(level.tests)} tests{_of(level)} reported, {level.plan} were announced")
        elif level.plan is None and level.tests:
            self._problem(f"tests{_of(level)} without a plan: whether all ran is not known")
        if parent is not None:
            return consisting_of(parent, tests)
        if level.column == 0:
            if level.skip:
                tests.append(Test(level.name or "all", SKIPPED, _after_word(level.skip)))
            self._done += tests
            return None
        lost = Test(level.name or "a test without a name", LOST, self._bailed or "its result is missing",
                    tuple(level.output[-_KEPT:]), tuple(tests))  # fmt: skip
        outer = into or (self._levels[-1] if self._levels else None)
        if outer is None:
            self._done.append(lost)
        else:
            # This is the announced test without a result.
            outer.tests.append(lost)
            outer.numbers.add(len(outer.tests))
        return None

    def _add_output(self, text: str) -> None:
        if self._levels and text:
            output = self._levels[-1].output
            output.append(text)
            if len(output) > 2 * _KEPT:
                del output[:-_KEPT]

    def _problem(self, text: str) -> None:
        if text not in self._problems and len(self._problems) < _KEPT:
            self._problems.append(text)


def plain(line: str) -> str:
    """Return a line without escapes, control characters and printk's prefix, cut if it is very long."""
    text = _PRINTK.sub("", _ESCAPES.sub("", line.rstrip("\r\n"))[:_LONGEST]).rstrip()
    # Another writer may have printed the beginning of the line.
    later = [part for part in _LATER.split(text)[1:] if _ELEMENT.match(part)]
    text = later[-1] if later and not _ELEMENT.match(text) else text
    # KUnit indented with tabs before Linux 5.8.
    return text.expandtabs(4)


def parse(lines: Iterable[str]) -> Report:
    """Read a whole output."""
    parser = Parser()
    for line in lines:
        parser.feed(line)
    return parser.close()


def _of(level: _Level) -> str:
    return f" of {level.name}" if level.name else ""


def _after_word(text: str) -> str:
    """Return the text after the first word."""
    return text.partition(" ")[2].strip(" :")


def _read(match: re.Match[str], number: int) -> Test:
    """Make a test from a result line."""
    failed, rest = bool(match[1]), match[3]
    directive = _DIRECTIVE.search(rest)
    name = (rest[: directive.start()] if directive else rest).strip().removeprefix("- ").strip()
    word = directive[1].upper() if directive else ""
    reason = (directive[2] if directive else "").strip()
    if word == "SKIP":
        status = SKIPPED
    elif word in ("TODO", "XFAIL"):
        # TODO does not count if the test passes (TAP 14). XFAIL comes with `ok` if the test failed as expected.
        status = PASSED if word == "TODO" and not failed else TODO
    elif word in ("TIMEOUT", "ERROR", "XPASS"):
        status, reason = FAILED, f"{word.lower()} {reason}".strip()
    else:
        status = FAILED if failed else PASSED
        reason = word.lower() if word else reason
    # kselftest's helpers print the name after SKIP.
    return Test(name or reason or f"test {number}", status, reason)


def consisting_of(test: Test, tests: Sequence[Test]) -> Test:
    """Return a test with its subtests; if one of them is bad, the test failed as well."""
    test = replace(test, subtests=tuple(tests))
    worse = next((subtest for subtest in tests if subtest.status in (FAILED, LOST)), None)
    if worse is not None and test.status in (PASSED, SKIPPED):
        return replace(test, status=FAILED, reason=f"says {test.status}, but {worse.name} is {worse.status}")
    return test


def leaves(tests: Iterable[Test], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Test]]:
    """Yield tests without subtests, and bad tests whose subtests are all good.

    Each one comes with its names from the outermost test on.
    """
    for test in tests:
        here = (*path, test.name)
        if test.subtests:
            yield from leaves(test.subtests, here)
            inner = {leaf.status for _, leaf in leaves(test.subtests)}
            if test.status in (FAILED, LOST) and not inner & {FAILED, LOST}:
                yield here, replace(test, subtests=())
        else:
            yield here, test


def counts(tests: Iterable[Test]) -> dict[str, int]:
    """Return status -> number of tests of `leaves` with that status, for all statuses."""
    totals = dict.fromkeys(STATUSES, 0)
    for _, test in leaves(tests):
        totals[test.status] += 1
    return totals
