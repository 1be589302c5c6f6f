"""The verification itself: it reads its language, and finds nothing wrong in a right pass, something in a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core import runtime
from core.errors import UnderTest, UserError
from core.runtime import HostSession, Mount
from tests import mutants, plugins
from tests.plugins import NEEDS_LLVM, PASS
from toolchain import acceptance, expect, observe, specs, toolchains, verify
from toolchain.expect import Field, Line, Value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("_", Value(anything=True)),
        ("removed", Value(removed=True)),
        ("-5:4", Value(4, -5)),
        ("0xff:1", Value(1, 255)),
        ("&obj:8", Value(8, symbol="obj")),
        ("{0:4=1 4:8=_}:12", Value(12, fields=(Field(0, 4, 1), Field(4, 8, None)))),
        ("&o{0:4=1}:4", Value(4, symbol="o", fields=(Field(0, 4, 1),), is_pointer_to_struct=True)),
        ("null{0:4}:4", Value(4, 0, fields=(Field(0, 4, None),), is_pointer_to_struct=True)),
        ("*{0:4=2}:4", Value(4, fields=(Field(0, 4, 2),), is_pointer_to_struct=True)),
    ],
)
def test_values(text: str, value: Value) -> None:
    assert expect.read_value(text) == value


def test_lines() -> None:
    one = Value(4, 1)
    assert expect.read_line("//: f(1:4, _)") == Line("f", "call", (one, Value(anything=True)), False, None)
    assert expect.read_line("//g: static f -> 1:4") == Line("f", "return", (one,), True, True)
    assert expect.read_line("//0: f never") == Line("f", "never", (), False, False)
    assert expect.read_line("//: f -> none") == Line("f", "none", (), False, None)
    assert expect.read_line("int x; // a comment") is None


@pytest.mark.parametrize("line", ["//: f(1)", "//: f -> x:4", "//: f sometimes", "//: f(1:4,2:4)"])
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "case.c").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=r"case\.c:2: not an expectation"):
        expect.read_corpus(tmp_path)


def test_a_case_without_expectations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "case.c").write_text("int x;\n")
    with pytest.raises(UserError, match="has no expectations"):
        expect.read_corpus(tmp_path)


SYMBOLS = observe.Symbols({"f": 0x1000, "s": 0x2000}, frozenset({"s"}), {0x1000: ("f",), 0x2000: ("s",)})


def compared(printed: str, *lines: str, debug: bool = True) -> tuple[verify.Tally, list[str]]:
    expected = [line for line in map(expect.read_line, lines) if line]
    observed, complaints = observe.read_reports(printed, SYMBOLS, [line.function for line in expected])
    comparison = verify._Comparison("case", "mode", debug, SYMBOLS)
    comparison.run(expected, observed)
    return comparison.tally, [*complaints, *(p.what for p in comparison.problems)]


def test_equal() -> None:
    tally, problems = compared("A 0x1000 0 4 0x7000 0 0x5\nR 0x1000 0 1 0x7000 0 0x1\n", "//: f(5:4)", "//: f -> 1:1")
    assert (tally.functions, tally.equal, problems) == (1, 2, [])


@pytest.mark.parametrize(
    ("printed", "line", "what"),
    [
        ("A 0x1000 0 4 0x7000 0 0x6", "//: f(5:4)", "0x6 instead of 0x5"),
        ("A 0x1000 0 8 0x7000 0 0x5", "//: f(5:4)", "size 8"),
        ("A 0x1000 1 4 0x7000 0 0x5", "//: f(5:4)", "is not reported"),
        ("", "//: f(5:4)", "call 1 is not reported"),
        ("A 0x1000 0 0 (nil) 0", "//: f(5:4)", "reported as removed"),
        ("A 0x1004 0 4 0x7000 0 0x5", "//: f -> none", "not where a function begins"),
        ("R 0x1000 0 4 0x7000 0 0x5", "//: f -> none", "but must not"),
        ("R 0x1000 0 4 0x7000 0 0x5", "//: f never", "must never"),
        ("A 0x2000 0 4 0x7000 0 0x5", "//: f never", "nothing is expected of it"),
        ("A 0x1000 0 8 0x7000 2 0:4=0x1 4:4=0x2", "//: f({0:4=1 4:4=3}:8)", "offset 4: 0x2 instead of 0x3"),
        ("A 0x1000 0 8 0x7000 2 0:4=0x1 4:2=0x3", "//: f({0:4=1 4:4=3}:8)", "the table is 0:4 4:2"),
        ("A 0x1000 0 8 0x7000 0 0x1", "//: f({0:4=1 4:4=3}:8)", "no table"),
        ("A 0x1000 0 4 0x7000 1 0:4=0x1", "//: f(&s{0:4=1}:4)", "at 0x7000 instead of 0x2000"),
        ("A 0x1000 0 4 0x7 0 0x5\nA 0x1000 0 4 0x7 0 0x5", "//: f(5:4)", "2 calls are reported instead of 1"),
    ],
)
def test_wrong(printed: str, line: str, what: str) -> None:
    _tally, problems = compared(printed, line)
    assert any(what in problem for problem in problems), problems


def test_static_functions_may_lose_things() -> None:
    tally, problems = compared("A 0x2000 0 0 (nil) 0\nA 0x2000 1 4 0x7 0 0x2", "//: static s(1:4, 2:4)",
                               "//: static s -> 3:4", "//: static gone(1:4)")  # fmt: skip
    assert (tally.equal, tally.removed, problems) == (1, 3, [])


def test_a_static_function_that_is_there_must_report() -> None:
    assert compared("", "//: static s(1:4)")[1] == ["call 1 is not reported"]


def test_without_debug_information_structs_are_pointers_or_left_out() -> None:
    tally, problems = compared("A 0x1000 0 8 0x7 0 0x2000\nR 0x1000 0 8 0x7 0 0x99", "//: f(&s{0:4=1}:4)",
                               "//: f -> {0:4=1}:4", debug=False)  # fmt: skip
    assert (tally.equal, problems) == (1, [])


def test_every_case_of_the_corpus_has_a_mutant() -> None:
    cases = set(expect.read_corpus(verify.CORPUS, skip=("callbacks.c",)))
    named: set[str] = set().union(*(mutant.cases for mutant in mutants.MUTANTS.values()))
    assert named == cases


@NEEDS_LLVM
def test_plugin_19_reports_what_programs_pass(plugin_19: Path, tmp_path: Path) -> None:
    result = acceptance.check(HostSession(), plugin_19, tmp_path)
    total = result.total
    assert (total.wrong, len(result.modes)) == (0, 6)
    assert total.equal > 1500
    # Only what the optimizer may take away is gone, and only where there is something static.
    assert {name for name, tally in result.cases.items() if tally.removed} == {"halves", "statics", "unread"}
    assert (tmp_path / "verify.json").exists()


@NEEDS_LLVM
def test_a_compiler_without_the_pass_is_under_test(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "clang").symlink_to(shutil.which("clang-19") or "")
    with pytest.raises(UnderTest, match="values are wrong"):
        acceptance.check(HostSession(), tmp_path, tmp_path / "work")


def test_each_mutant_changes_the_pass_that_ships() -> None:
    """An edit whose text is gone would leave its mutant without a mistake."""
    for number, mutant in mutants.MUTANTS.items():
        for edit in mutant.edits:
            shipped = (PASS / edit.file).read_text()
            assert mutants.mutated(edit.file, shipped, [edit]) != shipped
            assert f"mutant({number})" not in shipped
        assert any(f"mutant({number})" in edit.new for edit in mutant.edits), number


def test_an_edit_that_no_longer_applies_fails() -> None:
    edit = mutants.Edit("KcovDataflow.cpp", "no such text", "mutant(1)")
    with pytest.raises(AssertionError, match="contains 0 times: no such text"):
        mutants.mutated("KcovDataflow.cpp", (PASS / "KcovDataflow.cpp").read_text(), [edit])


@NEEDS_LLVM
@pytest.mark.parametrize("number", [0, *mutants.MUTANTS])
def test_each_mutant_is_noticed(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, number: int) -> None:
    wanted = mutants.MUTANTS[number].cases if number else None
    failed = mutants.failed_cases(plugins.session(tmp_path_factory), 19, PASS, tmp_path, number, wanted)
    assert set(failed) == (wanted or set())


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["plugin-19", "plugin-23"])
def test_each_mutant_is_noticed_in_the_image(tmp_path: Path, name: str) -> None:
    """The same where the compilers are those of the images, and nothing is on the host."""
    tools = toolchains.ensure(specs.spec(name), runtime.choose())
    major = int(name.rpartition("-")[2])
    mounts = [Mount(PASS, "/kdf/pass"), Mount(tmp_path, "/kdf/run", writable=True)]
    with toolchains.open_session(tools, mounts) as session:
        for number, mutant in mutants.MUTANTS.items():
            failed = mutants.failed_cases(session, major, PASS, tmp_path, number, mutant.cases)
            assert set(failed) == mutant.cases, mutant.what
