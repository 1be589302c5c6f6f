"""The gate's judgement, on counts that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import gate
from bench.gate import Baseline, Counts
from core.errors import UnderTest, UserError
from guest import plan

KEY = {"toolchain": "1" * 64, "qemu": "QEMU emulator version 10.0.0", "config all": "2" * 64}


def counts(boot: int, loop: float) -> Counts:
    return Counts(boot, dict.fromkeys(plan.LOOPS, loop))


BEFORE = Baseline(KEY, counts(1000_000, 500.0), counts(1350_000, 1000.0))


def moved(**change: object) -> Baseline:
    return replace(BEFORE, **change)  # type: ignore[arg-type]


def test_the_same_counts_pass() -> None:
    judged = gate.judge(BEFORE, BEFORE)
    assert (judged.same, judged.slower, judged.faster) == (True, (), ())
    judged.require()


def test_before_init_not_one_instruction_more() -> None:
    judged = gate.judge(BEFORE, moved(counts=counts(1350_001, 1000.0)))
    assert [one.figure for one in judged.slower] == ["boot"]
    with pytest.raises(UnderTest, match=r"boot: 1.35e\+06 before"):
        judged.require()


@pytest.mark.parametrize(("loop", "slower"), [(1000.9, 0), (1001.1, len(plan.LOOPS)), (999.1, 0)])
def test_after_init_a_thousandth(loop: float, slower: int) -> None:
    assert len(gate.judge(BEFORE, moved(counts=counts(1350_000, loop))).slower) == slower


def test_what_is_faster_is_told_and_passes() -> None:
    judged = gate.judge(BEFORE, moved(counts=counts(1300_000, 900.0)))
    assert len(judged.faster) == 1 + len(plan.LOOPS)
    judged.require()


def test_another_compiler_is_compared_by_ratio() -> None:
    key = {**KEY, "toolchain": "3" * 64}
    twice = Baseline(key, counts(2000_000, 1000.0), counts(2700_000, 2000.0))
    judged = gate.judge(BEFORE, twice)
    assert (judged.same, judged.slower) == (False, ())
    judged = gate.judge(BEFORE, replace(twice, counts=counts(2720_000, 2000.0)))
    assert [one.figure for one in judged.slower] == ["boot, ratio"]


def test_there_and_back(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    gate.write(BEFORE, file)
    assert gate.load(file) == BEFORE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("boot: 1000000", "boot: many", "boot"),
        ("getpid: 500.000", "getpid: -1", "expected a number > 0"),
        ("    getpid: 500.000\n", "", "the loops are"),
        ("control:", "controls:", "controls"),
    ],
)
def test_a_file_that_is_no_baseline(old: str, new: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    gate.write(BEFORE, file)
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        gate.load(file)
