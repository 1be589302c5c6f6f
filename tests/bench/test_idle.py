"""The idle table: which kernels its targets need, and how it is shown; nothing is built here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import idle, rfc, targets
from bench.idle import Judged, Measure
from bench.rfc import Row, Table
from bench.targets import Target
from core.errors import UserError
from core.runtime import Runtime

MEASURE = Measure("7.1.8", ("kit", "plugin-19"), ("kit-g1", "plugin-19-g1"), (("tiny", "x86_64"), ("tiny", "arm64")))
ASKED = (
    Target("boot", "all", "ratio", 1.05),
    Target("boot", "kasan-all", "ratio", 1.05),
    Target("executable", "all", "growth", 0.5),
    Target("frames over 2048", "all", "more", 0, set="FRAME_WARN=2048"),
)


def test_the_file() -> None:
    measure = idle.load()
    assert measure.old == ("kit", "plugin-19")
    assert ("defconfig", "x86_64") in measure.places
    assert any(one.set for one in targets.targets())


def test_the_kernels_that_the_targets_need_and_no_others() -> None:
    found = idle.columns(MEASURE, ("tiny", "arm64"), ASKED)
    assert list(found) == ["none", "kasan", "all", "all@kit-g1", "kasan-all@kit-g1"]
    assert {(one.base, one.arch) for one in found.values()} == {("tiny", "arm64")}
    assert found["all"].series == "kit"
    assert (found["all@kit-g1"].toolchain, found["all@kit-g1"].sets) == ("plugin-19-g1", ("FRAME_WARN=2048",))
    assert found["kasan-all@kit-g1"].sets == ()


def test_places() -> None:
    assert idle.chosen("", MEASURE.places) == list(MEASURE.places)
    assert idle.chosen("tiny/arm64", MEASURE.places) == [("tiny", "arm64")]
    with pytest.raises(UserError, match=r"no place tiny/arm46 \(did you mean tiny/arm64"):
        idle.chosen("tiny/arm46", MEASURE.places)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets: []", "the key idle is missing"),
        ("idle: {linux: '7', old: {series: a}, new: {}, places: []}", "idle.old: the key toolchain is missing"),
        ("idle: {linux: '7', old: {series: a, toolchain: b, more: c}, new: {}, places: []}", "idle.old.more"),
        (
            "idle: {linux: '7', old: {series: a, toolchain: b}, new: {series: a, toolchain: b},"
            " places: [{base: tiny, arch: arm46}]}",
            "arm64",
        ),
    ],
)
def test_a_malformed_file(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "FILE", tmp_path / "targets.yaml")
    targets.FILE.write_text(text)
    with pytest.raises(UserError, match=said):
        idle.load()


def test_one_line_for_each_target() -> None:
    def judged(place: str, boot: float) -> Judged:
        rows = (Row("boot", "instructions", {"none": 100.0, "all@kit-g1": boot}, {"all@kit-g1": boot / 100}),)
        table = Table({"none": {}, "all@kit-g1": {}}, "a machine", rows, (), Path())
        return Judged(place, table, targets.answers(table, ASKED[:2]))

    text = idle.markdown([judged("tiny/x86_64", 104), judged("tiny/arm64", 106)])
    lines = text.splitlines()
    assert lines[0] == "| target | limit | tiny/x86_64 | tiny/arm64 |"
    assert lines[2] == "| boot, all, ratio | at most 1.05 | 1.040 | 1.060, **missed** |"
    assert lines[3] == "| boot, kasan-all, ratio | at most 1.05 | not measured, **missed** | not measured, **missed** |"
    assert "tiny/arm64, a machine:" in lines
    assert "| boot | instructions | 100 | 106 (1.060) |" in lines
    assert "The RFC's figures" not in text
    assert judged("tiny/arm64", 106).as_json()["answers"][0]["met"] is False


def test_each_place_is_written_before_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table({"none": {}}, "a machine", (), (), tmp_path)
    seen: list[str] = []

    def run(_cells: object, _runtime: Runtime, **_more: object) -> Table:
        seen.append((tmp_path / idle.RESULT).read_text() if (tmp_path / idle.RESULT).exists() else "")
        return table

    monkeypatch.setattr(rfc, "run", run)
    monkeypatch.setattr(idle.runs, "new_folder", lambda _name: tmp_path)
    found, folder = idle.run(MEASURE, MEASURE.places, Runtime("docker"))
    assert [one.place for one in found] == ["tiny/x86_64", "tiny/arm64"]
    assert folder == tmp_path
    assert "tiny/x86_64" in seen[1]
    assert not seen[0]
