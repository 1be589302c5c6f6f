"""Targets of the RFC's table, from tables that nobody measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import targets
from bench.rfc import Row, Table
from bench.targets import Target
from core.errors import UnderTest, UserError

G1 = "all@kit-g1"
BOOT = Row("boot", "", {"none": 100.0, "all": 140.0, G1: 104.0, "kasan": 200.0, "kasan-all@kit-g1": 212.0})
EXECUTABLE = Row("executable", "", {"none": 100.0, "all": 140.0, G1: 119.0})
FRAMES = Row("frames over 2048", "", {"none": 2.0, "all": 2.0, G1: 3.0})


def answer(row: Row, by: str, most: float, *, profile: str = "all", columns: str = f"none all {G1}") -> targets.Answer:
    table = Table({one: {} for one in columns.split()}, "", (row,), (), Path())
    (one,) = targets.answers(table, [Target(row.name, profile, by, most)])
    return one


def test_every_target_of_the_file_is_of_a_known_kind() -> None:
    asked = targets.targets()
    assert Target("boot", "kasan-all", "ratio", 1.05) in asked
    assert Target("executable", "all", "growth", 0.5) in asked


@pytest.mark.parametrize(
    ("row", "by", "figure"),
    [(BOOT, "ratio", 1.04), (BOOT, "value", 104.0), (BOOT, "beside", 104 / 140), (EXECUTABLE, "growth", 19 / 40),
     (FRAMES, "more", 1.0)],
)  # fmt: skip
def test_how_a_figure_is_made(row: Row, by: str, figure: float) -> None:
    assert answer(row, by, figure).figure == pytest.approx(figure)
    assert answer(row, by, figure + 1e-6).met
    assert not answer(row, by, figure - 1e-6).met


def test_more_than_a_baseline_that_nobody_counted() -> None:
    assert answer(Row("frames over 2048", "", {G1: 0.0}), "more", 0).met
    assert not answer(Row("frames over 2048", "", {G1: 1.0}), "more", 0).met


def test_a_floor() -> None:
    row = Row("functions that report", "", {"none": 0.0, "all": 100.0, G1: 98.0})
    table = Table({one: {} for one in ("none", "all", G1)}, "", (row,), (), Path())
    (one,) = targets.answers(table, [Target(row.name, "all", "beside", least=0.99)])
    assert not one.met
    assert "at least 0.99" in str(one)
    assert one.as_json()["target"] == {"row": row.name, "profile": "all", "by": "beside", "least": 0.99}
    assert targets.answers(table, [Target(row.name, "all", "beside", least=0.98)])[0].met


def test_kasan_all_is_held_against_kasan() -> None:
    assert answer(BOOT, "ratio", 1.07, profile="kasan-all").figure == pytest.approx(1.06)


def test_what_stands_beside_answers_else_what_is_asked() -> None:
    assert answer(BOOT, "ratio", 1.05).column == G1
    alone = answer(BOOT, "ratio", 1.05, columns="none all")
    assert (alone.column, alone.figure, alone.met) == ("all", 1.4, False)


def test_what_was_not_measured_is_missed() -> None:
    absent = answer(FRAMES, "more", 9, profile="kasan-all")
    assert (absent.figure, absent.met) == (None, False)
    assert "not measured" in str(absent)
    itself = answer(BOOT, "beside", 9, columns="none all")
    assert (itself.figure, itself.met) == (None, False), "a generation over itself is no figure"
    table = Table({"none": {}, "all": {}}, "", (), (), Path())
    with pytest.raises(UnderTest, match="1 of 1"):
        targets.require(targets.answers(table, [Target("boot", "all", "ratio", 1.05)]))


@pytest.mark.parametrize("line", ['by: rate, most: "1"', 'by: ratio, most: "x"', 'by: ratio, most: "nan"'])
def test_a_malformed_file_says_where(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "FILE", tmp_path / "targets.yaml")
    targets.FILE.write_text(f"targets:\n  - {{row: boot, profile: all, {line}}}\n")
    with pytest.raises(UserError, match=r"targets\[0\]"):
        targets.targets()
