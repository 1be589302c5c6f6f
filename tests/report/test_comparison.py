"""What changed between runs: broken is told, flaky is not called broken, times only beyond their spread."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from commands import report
from report import comparison
from report.comparison import BROKEN, FIXED, FLAKY, NEVER_REPORTED, NEWLY_SKIPPED, compare
from report.history import WHOLE, Run, read
from tests import runs


def side(folder: Path, *tests: dict[str, str] | None, **options: object) -> list[Run]:
    """Runs of one cell, each with its tests; None is a run without a readable result."""
    made = []
    for number, one in enumerate(tests):
        place = folder / f"20261123-10000{number}-test-all-tiny-x86_64"
        if one is None:
            place.mkdir(parents=True)
            (place / "result.json").write_text("{")
        else:
            bad = {"failed", "lost"} & set(one.values())
            runs.save(place, tests=one, status="failed" if bad else "passed", **options)  # type: ignore[arg-type]
        made.append(read(place))
    return made


@pytest.mark.parametrize(
    ("before", "after", "kind", "broke"),
    [
        ("passed", "passed", "", False),
        ("passed", "failed", BROKEN, True),
        ("passed", "lost", NEVER_REPORTED, True),
        ("passed", "", NEVER_REPORTED, True),
        ("passed", "skipped", NEWLY_SKIPPED, False),
        ("passed", "todo", NEWLY_SKIPPED, False),
        ("failed", "passed", FIXED, False),
        ("lost", "passed", FIXED, False),
        ("failed", "skipped", NEWLY_SKIPPED, False),
        ("failed", "lost", NEVER_REPORTED, False),
        ("failed", "", NEVER_REPORTED, False),
        ("lost", "failed", "", False),
        ("lost", "", "", False),
        ("skipped", "passed", "", False),
        ("skipped", "failed", BROKEN, True),
        ("skipped", "lost", NEVER_REPORTED, True),
        ("skipped", "todo", "", False),
        ("skipped", "", NEVER_REPORTED, False),
        ("", "passed", "", False),
        ("", "skipped", "", False),
        ("", "failed", BROKEN, True),
        ("", "lost", NEVER_REPORTED, True),
    ],
)
def test_two_statuses(tmp_path: Path, before: str, after: str, kind: str, broke: bool) -> None:
    first, second = (
        side(tmp_path / name, {"other": "passed", **({"a": status} if status else {})})
        for name, status in (("A", before), ("B", after))
    )
    found = [one for one in compare(first, second).changes if one.name == "s/a"]
    assert [(one.kind, one.broke) for one in found] == ([(kind, broke)] if kind else [])


def test_what_differs_among_repeated_runs_is_flaky_and_not_broken(tmp_path: Path) -> None:
    first = side(tmp_path / "A", {"a": "passed", "b": "passed"}, {"a": "passed", "b": "passed"})
    second = side(tmp_path / "B", {"a": "passed", "b": "failed"}, {"a": "failed", "b": "failed"})
    found = {one.name: (one.kind, one.broke) for one in compare(first, second).changes}
    assert found == {"s/a": (FLAKY, False), "s/b": (BROKEN, True), WHOLE: (BROKEN, True)}


def test_what_fewer_of_the_repeated_runs_asked_for_is_not_flaky(tmp_path: Path) -> None:
    first = side(tmp_path / "A", {"a": "passed"}, {"a": "passed", "b": "passed"})
    second = side(tmp_path / "B", {"a": "passed", "b": "passed"}, {"a": "passed"})
    assert compare(first, second).changes == []


def test_an_unreadable_result_is_a_run_that_broke(tmp_path: Path) -> None:
    found = compare(side(tmp_path / "A", {"a": "passed"}), side(tmp_path / "B", None))
    assert found.broke
    assert {one.name for one in found.changes if one.broke} == {WHOLE, "s/a"}
    assert len(found.unreadable) == 1


def test_an_unreadable_result_among_good_ones_makes_the_run_flaky(tmp_path: Path) -> None:
    found = compare(side(tmp_path / "A", {"a": "passed"}), side(tmp_path / "B", {"a": "passed"}, None))
    assert [(one.name, one.kind) for one in found.changes] == [(WHOLE, FLAKY)]
    assert found.unreadable


def test_cells_of_one_side_only_are_told(tmp_path: Path) -> None:
    first = [*side(tmp_path / "A", {"a": "passed"}), *side(tmp_path / "A2", {"a": "passed"}, profile="none")]
    second = [*side(tmp_path / "B", {"a": "passed"}), *side(tmp_path / "B2", {"a": "passed"}, base="defconfig")]
    found = compare(first, second)
    assert found.compared == 1
    assert [key.split()[1] for key in found.only_before] == ["none"]
    assert [key.split()[2] for key in found.only_after] == ["defconfig"]


def test_two_runs_of_different_cells_are_compared_and_that_is_told(tmp_path: Path) -> None:
    found = compare(side(tmp_path / "A", {"a": "passed"}), side(tmp_path / "B", {"a": "failed"}, toolchain="llvm-23"))
    assert found.broke
    assert "different cells" in found.notes[0]


def boots(folder: Path, *seconds: float) -> list[Run]:
    return [
        read(runs.save(folder / f"20261123-10000{n}-all-tiny-x86_64", boot_seconds=one).folder)
        for n, one in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ((1.0, 1.1, 1.2), (1.3, 1.4, 1.5), True),
        ((1.0, 1.1, 1.2), (1.15, 1.4, 1.5), False),
        ((1.3, 1.4, 1.5), (1.0, 1.1, 1.2), True),
        ((1.0, 1.1), (2.0, 2.1, 2.2), False),
    ],
)
def test_times_change_beyond_the_spread_of_enough_runs(
    tmp_path: Path, before: tuple[float, ...], after: tuple[float, ...], changed: bool
) -> None:
    found = compare(boots(tmp_path / "A", *before), boots(tmp_path / "B", *after))
    (boot,) = [one for one in found.metrics if one.name == "boot, guest"]
    assert boot.changed == changed
    assert bool(boot.note) == (len(before) < 3)
    assert boot.before == [pytest.approx(1000 * one) for one in before]


def test_any_other_size_is_a_change(tmp_path: Path) -> None:
    first, second = boots(tmp_path / "A", 1.0), boots(tmp_path / "B", 1.0)
    found = compare(first, second, lambda run: {".text": 1000 if run is first[0] else 1001, ".data": 7})
    assert {one.name: one.changed for one in found.metrics if one.unit == "bytes"} == {".text": True, ".data": False}
    assert next(one for one in found.metrics if one.name == ".text").percent == pytest.approx(0.1)


def test_the_command_ends_with_1_only_when_something_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    side(tmp_path / "A", {"a": "passed", "b": "failed"})
    side(tmp_path / "B", {"a": "failed", "b": "passed"})
    side(tmp_path / "C", {"a": "passed", "b": "passed"})
    with pytest.raises(Exit, match="1 result does not pass any more") as raised:
        report.compare.body(None, str(tmp_path / "A"), str(tmp_path / "B"))
    assert raised.value.code == 1
    said = capsys.readouterr().out
    assert "broken" in said
    assert "fixed" in said
    made = runs.save(tmp_path / "C" / "20261123-100000-test-all-tiny-x86_64", tests={"a": "passed", "b": "passed"})
    replace(made, facts={"kernel": "/gone"}).save()
    report.compare.body(None, str(tmp_path / "A"), str(tmp_path / "C"), json=True)
    value = json.loads(capsys.readouterr().out)
    assert value["broke"] is False
    assert value["notes"] == ["no sizes of the kernel /gone: it is no longer in the store"]
    assert {one["kind"] for one in value["changes"]} == {FIXED}


def test_no_kind_is_without_its_place_in_the_table() -> None:
    assert set(comparison.ORDER) == {FIXED, BROKEN, FLAKY, NEWLY_SKIPPED, NEVER_REPORTED, "refused"}


def test_a_cell_of_a_matrix_without_a_result_is_compared_with_the_one_that_has_it(tmp_path: Path) -> None:
    good = read(runs.save(tmp_path / "cell", checks={"a": True}).folder)
    late = Run(tmp_path / "cell", "lost", "given up after 9 minutes")
    found = compare([good, good], [late, late])
    assert found.compared == 1
    assert {one.name: one.kind for one in found.changes} == {WHOLE: NEVER_REPORTED, "a": NEVER_REPORTED}
    assert found.broke
    assert found.unreadable == []


def test_a_refused_run_is_not_a_guest_that_never_reported(tmp_path: Path) -> None:
    good = read(runs.save(tmp_path / "good", checks={"a": True}).folder)
    refused = read(runs.save(tmp_path / "refused", status="refused", reasons=["no such program"]).folder)
    changes = compare([good], [refused]).changes
    assert [(one.name, one.kind, one.why, one.broke) for one in changes] == [
        (WHOLE, "refused", "no such program", True)
    ]
    assert compare([refused], [good]).changes == []
    assert compare([refused], [refused]).changes == []
    assert compare([good], [good, refused]).changes == []
