"""The RFC's table, from measurements that nobody made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import measure, rfc
from bench.measure import Gates, Loop, Measured, Recorded
from core.errors import UnderTest, UserError
from core.runtime import Runtime
from core.store import Product
from dataflow.coverage import Coverage
from guest import plan
from kernel.built import Kernel
from kernel.cell import CellNames


def measured(boot_us: int, instructions: float, *, words: int = 0, ns: int = 1000) -> Measured:
    idle = {name: Loop(10, instructions * 10, ns * 10) for name in plan.LOOPS}
    recording = {name: Loop(10, instructions * 20, ns * 20, words * 10) for name in plan.LOOPS} if words else {}
    captures = {name: Recorded(words // 4, words, 0) for name in ("getpid", "open-close")} if words else {}
    gates = Gates((8000.0, 16_000), (100.0, 200), (9000.0, 18_000)) if words else None
    return Measured(boot_us, boot_us / 1e6, idle, recording, captures, Path(), gates)


EXACT = {"none": measured(400_000, 500), "all": measured(540_000, 1000, words=40), "kasan": measured(600_000, 900),
         "kasan-all": measured(1200_000, 1800, words=40)}  # fmt: skip


FACTS = {"cpu_seconds": 5.0, "frames": {"2048": 1}}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Kernel]:
    monkeypatch.setattr(rfc.image, "kernel_sizes", lambda folder: {".text": len(folder.name) * 100, "image": 1})
    monkeypatch.setattr(measure, "gates", lambda kernel: 4 if kernel.key == "kasan-all" else 0)
    monkeypatch.setattr(measure, "coverage", lambda _kernel: Coverage(10, 20, 5))
    return {
        name: Kernel(
            Product("kernel", name, Path(name), {**FACTS, "ccache": {"hits": 9 * (name != "none"), "misses": 1}})
        )
        for name in EXACT
    }


def found(built: dict[str, Kernel], wall: dict[str, Any] | None = None) -> dict[str, rfc.Row]:
    return {row.name: row for row in rfc.rows(EXACT, wall or {}, built)}


def test_ratios_are_to_the_kernel_without_callbacks(built: dict[str, Kernel]) -> None:
    boot = found(built)["boot"]
    assert boot.values["all"] == 270_000_000
    assert boot.ratios == {"all": 1.35, "kasan": 1.5, "kasan-all": 2.0}, "kasan-all is compared with kasan"
    assert found(built)["getpid, not recording"].ratios["all"] == 2.0
    assert {one.profile for one in boot.rfc} == {"all", "kasan-all"}


def test_one_record(built: dict[str, Kernel]) -> None:
    # 2000 instructions a round while recording, 500 without callbacks, 10 records a round.
    assert found(built)["one record of getpid"].values["all"] == 150.0
    assert found(built)["one record of open-close"].values["all"] == 150.0


def test_what_opening_the_gates_takes(built: dict[str, Kernel]) -> None:
    rows = found(built)
    assert rows["gates"].values == {"all": 0.0, "kasan-all": 4.0}
    assert rows["first enable"].values["kasan-all"] == 8000.0
    assert rows["patching one gate"].values == {"all": 0.0, "kasan-all": 2000.0}


def test_what_reports(built: dict[str, Kernel]) -> None:
    assert found(built)["arguments that report"].values == {"all": 20.0, "kasan-all": 20.0}


def test_what_a_kernel_does_not_have_is_not_zero(built: dict[str, Kernel]) -> None:
    assert set(found(built)["records of getpid"].values) == {"all", "kasan-all"}
    assert rfc.cell_text(found(built)["records of getpid"], "none") == "-"


def test_what_came_from_the_cache_has_no_compile_time(built: dict[str, Kernel]) -> None:
    assert found(built)["compiling"].values == {"none": 5.0}


def test_a_kernel_that_recorded_nothing_has_no_cost_of_a_record(built: dict[str, Kernel]) -> None:
    exact = {**EXACT, "all": replace(EXACT["all"], recording={n: Loop(10, 1, 1) for n in plan.LOOPS})}
    (row,) = (one for one in rfc.rows(exact, {}, built) if one.name == "one record of getpid")
    assert set(row.values) == {"kasan-all"}


def test_times_have_median_and_spread(built: dict[str, Kernel]) -> None:
    wall = {name: [measured(1, 1, words=4, ns=ns) for ns in (1000, 2000, 3000, 4000, 5000)] for name in EXACT}
    row = found(built, wall)["getpid, not recording, time"]
    assert (row.values["none"], row.spread["none"]) == (3.0, 1.5)
    # 2000 to 10000 ns a round while recording, 3000 without callbacks, one record a round.
    assert found(built, wall)["ns for one record"].values["all"] == 3000.0


def test_two_runs_that_differ_are_named() -> None:
    one = EXACT["all"]
    assert rfc.differences(one, one) == []
    other = replace(one, initmem_us=1, idle={**one.idle, "fork": Loop(10, 1, 1)})
    assert rfc.differences(one, other) == ["boot", "fork, idle"]


def test_a_table_of_runs_that_differ_is_refused(tmp_path: Path) -> None:
    rfc.require_agreement([], tmp_path)
    with pytest.raises(UnderTest, match="count differently: all: boot") as caught:
        rfc.require_agreement(["all: boot"], tmp_path)
    assert caught.value.log == tmp_path


def test_every_figure_of_the_rfc_has_its_row(built: dict[str, Kernel]) -> None:
    rows = {name: row for name, row in found(built).items() if row.rfc}
    missing = {one.row for one in rfc.figures()} - set(rows) - {".data", "ns for one record"}  # of sizes and of times
    assert not missing


def test_without_a_baseline_there_are_no_ratios() -> None:
    with pytest.raises(UserError, match="must be among"):
        rfc.run({}, Runtime("docker"))


def test_another_generation_beside() -> None:
    cell = CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8")
    found = rfc.beside("all:kit-l3:plugin-19-l3,kasan-all:kit-l3:plugin-19-l3", cell)
    assert list(found) == ["all@kit-l3", "kasan-all@kit-l3"]
    assert found["kasan-all@kit-l3"] == CellNames("plugin-19-l3", "kit-l3", "kasan-all", "tiny", "x86_64", "7.1.8")
    assert [rfc.baseline(name) for name in found] == ["none", "kasan"]
    assert rfc.beside("", cell) == {}
    assert rfc.beside("all:kit-g1:plugin-19-g1:FRAME_WARN=2048", cell)["all@kit-g1"].sets == ("FRAME_WARN=2048",)
    with pytest.raises(UserError, match="PROFILE:SERIES:TOOLCHAIN"):
        rfc.beside("all:kit-l3", cell)


def test_markdown(built: dict[str, Kernel]) -> None:
    rows = tuple(rfc.rows(EXACT, {}, built))
    text = rfc.markdown(rfc.Table({name: {} for name in EXACT}, "a machine", rows, (), Path()))
    assert "| boot | instructions to initmem | 200,000,000 | 270,000,000 (1.350) |" in text
    assert "(2.000 of kasan)" in text
    assert "* boot, all: 1.40" in text
