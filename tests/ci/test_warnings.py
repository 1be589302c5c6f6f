"""New warnings of a matrix: what the control has as well is none, and logs are not trusted."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ci import matrices, warnings
from ci.warnings import Found
from kconfig import annotate

SMALL = matrices.find("small")
NONE, ALL = (one.id for one in SMALL.cells)
OLD = "/kdf/tree/fs/open.c:10:3: warning: unused variable 'a' [-Wunused-variable]"
FRAME = "/kdf/tree/fs/exec.c:{}:1: warning: stack frame size ({}) exceeds limit (1024) in 'f' [-Wframe-larger-than]"


def leave(folder: Path, cell: str, *lines: str) -> None:
    (folder / cell).mkdir(exist_ok=True)
    (folder / cell / "build.log").write_text("\n".join(("  CC      fs/open.o", *lines)) + "\n")


def test_what_the_control_says_too_is_not_new(tmp_path: Path) -> None:
    objtool = "vmlinux.o: warning: objtool: f+0x10: call to g() with UACCESS enabled"
    leave(tmp_path, NONE, OLD, FRAME.format(7, 1100))
    leave(tmp_path, ALL, OLD.replace(":10:", ":12:"), FRAME.format(9, 1200), objtool)
    found = warnings.fresh(SMALL, tmp_path)
    assert found == {ALL: [Found("vmlinux.o", "objtool: f+0x10: call to g() with UACCESS enabled")]}
    assert "call to g()" in warnings.markdown(found)
    leave(tmp_path, NONE)
    assert [one.line for one in warnings.fresh(SMALL, tmp_path)[ALL]] == [9, 12, 0]


def test_without_a_control_nothing_is_said_to_be_new(tmp_path: Path) -> None:
    leave(tmp_path, ALL, OLD)
    assert warnings.fresh(SMALL, tmp_path) == {}
    assert warnings.markdown({}) == "" and warnings.notes({}) == []
    assert warnings.control_of(SMALL, SMALL.cells[0]) is None


def test_options_of_a_cell_do_not_hide_its_control() -> None:
    tiny = matrices.find("tiny")
    opted = next(one for one in tiny.cells if one.cell.profile == "dataflow")
    control = warnings.control_of(tiny, opted)
    assert opted.cell.instrument and control is not None and control.cell.profile == "none"


def test_ci_systems_are_shown_ten_each_once() -> None:
    many = [Found("a.c", f"text {letter}", 3) for letter in "abcdefghijklmno"]
    told = warnings.notes({"first": many, "second": many})
    assert len(told) == warnings.SHOWN
    line = annotate.line(told[0])
    assert line == "::warning file=a.c,line=3,title=new warning::a.c:3: text a (first)"
    assert annotate.entry(told[0])["severity"] == "minor"
    assert "and 5 more" in warnings.markdown({"first": many})


@given(st.lists(st.text(), max_size=20))
def test_any_log_is_read_and_no_note_has_two_lines(lines: list[str]) -> None:
    found = list(warnings.read([*lines, *(f"{one}:1:1: warning: {one}" for one in lines)]))
    assert all("\n" not in annotate.line(note) for note in warnings.notes({"cell": found}))
    assert all(
        "`" not in line for line in warnings.markdown({"c": found}).splitlines() if ": " in line and "`c`" not in line
    )
