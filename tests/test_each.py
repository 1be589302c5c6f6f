"""Every prefix of a series, with kernels that nobody compiles."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ci import each
from ci.each import Row
from core.errors import InfraError, UnderTest
from kernel.cell import Cell
from patches.series import PatchFile

CELL = Cell(toolchain="t", series="s", profile="none", base="tiny", arch="x86_64", linux="7.1.8")


def _series(monkeypatch: pytest.MonkeyPatch, *status: str) -> None:
    """A series whose prefixes have these states; `machine` is one at which the machine fails."""

    def judge(_cell: Cell, number: int, *_words: object, **_named: object) -> Row:
        if status[number] == "machine":
            raise InfraError("the engine went away")
        return Row(number, f"p{number}" if number else "", status[number], seconds=10.0, reason="why")

    patches = tuple(PatchFile(str(number), Path(str(number)), "0") for number in range(1, len(status)))
    monkeypatch.setattr(each.patch_series, "load", lambda _name: SimpleNamespace(patches=patches))
    monkeypatch.setattr(each, "judge", judge)
    monkeypatch.setattr(each.kernels, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(each, "_forget", lambda *_: None)
    monkeypatch.setattr(each, "_cold", lambda *_: 20.0)


def test_the_prefixes_behind_one_that_fails_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    _series(monkeypatch, "passed", "passed", "failed", "failed", "passed")
    found = each.run(CELL, "docker", cold=True)
    assert [row.prefix for row in found.rows] == [0, 1, 2, 3, 4]
    assert found.ratio == 2.5
    with pytest.raises(UnderTest, match="patch 2, p2, breaks: why"):
        found.require()


def test_a_series_that_ends_broken_has_rows_and_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    _series(monkeypatch, "passed", "failed")

    def fails(*_: object) -> float:
        raise UnderTest("compiling the kernel failed")

    monkeypatch.setattr(each, "_cold", fails)
    found = each.run(CELL, "docker", cold=True)
    assert (len(found.rows), found.ratio) == (2, None)


def test_a_machine_that_fails_leaves_the_rows_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    _series(monkeypatch, "passed", "passed", "machine", "passed")
    told: list[Row] = []
    with pytest.raises(InfraError):
        each.run(CELL, "docker", told=told.append)
    assert [row.status for row in told] == ["passed", "passed"]
    (file,) = (each.store.home() / "runs").glob(f"*/{each.FILE}")
    assert [row["prefix"] for row in json.loads(file.read_text())["rows"]] == [0, 1]


def test_a_file_has_its_mode_also_after_a_kill(tmp_path: Path) -> None:
    store, tree, linux = (tmp_path / name for name in ("store", "tree", "linux"))
    for folder in (store, tree, linux):
        folder.mkdir()
    for name in ("untouched", "patched"):
        (tree / name).write_text("new")
        (tree / name).chmod(0o555)
    (store / "untouched").write_text("new")
    (store / "untouched").chmod(0o444)
    (linux / "untouched").hardlink_to(store / "untouched")
    (linux / "patched").write_text("new")  # written by a run that was killed before it set the mode
    (linux / "patched").chmod(0o644)
    each.set_modes(tree, linux, ["untouched", "patched", "gone"])
    assert (linux / "patched").stat().st_mode & 0o777 == 0o755
    assert (store / "untouched").stat().st_mode & 0o777 == 0o444, "a file of the store is not changed"


def test_the_change_of_an_image_is_since_the_last_one_that_was_made() -> None:
    rows = [Row(0, "", "passed", image=100), Row(1, "a", "failed"), Row(2, "b", "passed", image=90)]
    assert [(row["image"], row["delta"]) for row in each.table(rows)] == [(100, "-"), ("-", "-"), (90, "-10")]
