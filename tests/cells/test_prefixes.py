"""Every prefix of a series, with kernels that nobody compiles."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cells import prefixes
from cells.prefixes import Row
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Runtime
from core.store import Product
from kconfig.profiles import Request
from kernel import compilation, workplace
from kernel.built import Kernel
from kernel.cell import Cell
from kernel.workplace import Ready, Workplace, open_workplace
from tests.resolved import made_up
from toolchain.toolchains import Toolchain

CELL = made_up(*"123456789")


def _series(monkeypatch: pytest.MonkeyPatch, *status: str) -> Cell:
    """A cell whose prefixes have these states; `machine` is one at which the machine fails."""

    def judge(_cell: Cell, number: int, *_words: object, **_named: object) -> Row:
        if status[number] == "machine":
            raise InfraError("the engine went away")
        return Row(number, f"p{number}" if number else "", status[number], cpu_seconds=10.0, reason="why")

    monkeypatch.setattr(prefixes, "judge", judge)
    monkeypatch.setattr(prefixes.kernels, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(prefixes, "_forget", lambda *_: None)
    monkeypatch.setattr(prefixes, "_cold", lambda *_: 20.0)
    return made_up(*(str(number) for number in range(1, len(status))))


def test_the_prefixes_behind_one_that_fails_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _series(monkeypatch, "passed", "passed", "failed", "failed", "passed")
    found = prefixes.run(cell, Runtime("docker"), cold=True)
    assert [row.prefix for row in found.rows] == [0, 1, 2, 3, 4]
    assert found.ratio == 2.5
    with pytest.raises(UnderTest, match="patch 2, p2, breaks: why"):
        found.require()


@pytest.mark.parametrize("cold", [True, False])
def test_a_run_begins_without_the_objects_of_earlier_runs(cold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _series(monkeypatch, "passed")
    forgot: list[object] = []
    monkeypatch.setattr(prefixes, "_forget", forgot.append)
    prefixes.run(cell, Runtime("docker"), cold=cold)
    assert len(forgot) == 1, "an object that is not compiled says nothing of its warnings"


def test_a_failed_row_tells_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UnderTest("compiling the kernel failed")

    clock = iter([5.0, 47.04])
    monkeypatch.setattr(prefixes.kernels, "prepare", lambda *_, **__: SimpleNamespace(inputs={}))
    monkeypatch.setattr(prefixes, "_build", fails)
    monkeypatch.setattr(prefixes.time, "monotonic", lambda: next(clock))
    row = prefixes.judge(CELL, 1, Runtime("docker"), tmp_path, set())
    assert (row.status, row.seconds) == ("failed", 42.0)


@pytest.mark.parametrize(
    ("records", "statuses"),
    [
        (("-", "45 of 46", "46 of 46", "46 of 46"), ("passed", "passed", "passed", "passed")),
        (("-", "46 of 46", "45 of 46", "46 of 46"), ("passed", "passed", "failed", "passed")),
        (("-", "45 of 46", "45 of 46", "45 of 46"), ("passed", "passed", "passed", "failed")),
        (("-", "-", "-", "-"), ("passed", "passed", "passed", "passed")),
    ],
)
def test_records_must_hold_from_where_they_do_first_and_at_the_end(
    records: tuple[str, ...], statuses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(_cell: Cell, number: int, *_words: object, **_named: object) -> Row:
        wrong = "overflow: asked 2, got 1" if records[number].startswith("45") else ""
        return Row(number, f"p{number}", "passed", records=records[number], wrong=wrong)

    cell = _series(monkeypatch, *statuses)
    monkeypatch.setattr(prefixes, "judge", judge)
    found = prefixes.run(cell, Runtime("docker"), boot=True)
    assert tuple(row.status for row in found.rows) == statuses
    assert all(row.reason == row.wrong for row in found.rows if row.status == "failed")


def test_a_series_that_ends_broken_has_rows_and_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _series(monkeypatch, "passed", "failed")

    def fails(*_: object) -> float:
        raise UnderTest("compiling the kernel failed")

    monkeypatch.setattr(prefixes, "_cold", fails)
    found = prefixes.run(cell, Runtime("docker"), cold=True)
    assert (len(found.rows), found.ratio) == (2, None)


def test_a_machine_that_fails_leaves_the_rows_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _series(monkeypatch, "passed", "passed", "machine", "passed")
    told: list[Row] = []
    with pytest.raises(InfraError):
        prefixes.run(cell, Runtime("docker"), told=told.append)
    assert [row.status for row in told] == ["passed", "passed"]
    (file,) = (prefixes.store.home() / "runs").glob(f"*/{prefixes.FILE}")
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
    prefixes.set_modes(tree, linux, ["untouched", "patched", "gone"])
    assert (linux / "patched").stat().st_mode & 0o777 == 0o755
    assert (store / "untouched").stat().st_mode & 0o777 == 0o444, "a file of the store is not changed"


def test_the_change_of_an_image_is_since_the_last_one_that_was_made() -> None:
    rows = [Row(0, "", "passed", image=100), Row(1, "a", "failed"), Row(2, "b", "passed", image=90)]
    assert [(row["image"], row["delta"]) for row in prefixes.table(rows)] == [(100, "-"), ("-", "-"), (90, "-10")]


def test_two_runs_do_not_wait_for_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks: list[str] = []

    @contextlib.contextmanager
    def lock(name: str) -> Iterator[None]:
        locks.append(name)
        yield

    @contextlib.contextmanager
    def session(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(name="docker", path=str)

    product = Product("toolchain", "2" * 64, tmp_path, {"inputs": {}})
    (tmp_path / "manifest.json").write_text("{}")
    ready = Ready(
        CELL,
        Toolchain("t", product, Runtime("docker"), None, ""),
        product,
        Request("none", "tiny", "x86_64", "7.1.8", "", "", ()),
        {"tree": "1"},
    )
    monkeypatch.setattr(workplace.store, "lock", lock)
    monkeypatch.setattr(workplace.toolchains, "open_session", session)
    for other in (CELL, made_up(profile="all"), prefixes.prefix(CELL, 3)):
        with open_workplace(
            replace(ready, cell=other), build_dir=prefixes._home(replace(ready, cell=other), "each") / "out"
        ):
            pass
    with open_workplace(ready):
        pass
    assert locks[0] == locks[2] != locks[1], "the prefixes of a series share a directory, two series do not"
    assert locks[3] == f"build-{workplace.build_directory(ready.inputs).name}"


def test_a_kernel_that_is_there_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []

    def compile_one(_ready: object, row: Row, *_: object, **__: object) -> tuple[Row, Product]:
        compiled.append(row.prefix)
        return row, Kernel(Product("kernel", "0" * 64, tmp_path, {}))

    cell = made_up("1", "2")
    monkeypatch.setattr(
        prefixes.kernels, "prepare", lambda of, *_, **__: SimpleNamespace(inputs={"tree": of.names.series})
    )
    monkeypatch.setattr(prefixes, "_build", compile_one)
    prefixes.store.make("kernel", {"tree": "s@1"}, lambda _out: {"files": {"image": {"size": 7}}})
    rows = [prefixes.judge(cell, number, Runtime("docker"), tmp_path, set(), reuse=True) for number in range(3)]
    assert compiled == [0, 2]
    assert [(row.status, row.image) for row in rows] == [("passed", None), ("passed", 7), ("passed", None)]
    prefixes.judge(cell, 1, Runtime("docker"), tmp_path, set())
    assert compiled == [0, 2, 1], "a row that tells what make did needs make"


@pytest.mark.parametrize(
    ("defined", "last", "waits"),
    [
        ((), False, ("ALL", "ARGS", "HIDDEN")),
        (("ALL", "HIDDEN"), False, ("ALL", "ARGS", "HIDDEN")),  # their dependency has yet to come
        (("ALL", "ARGS", "HIDDEN"), False, None),  # all there, and still lost
        (("ALL", "HIDDEN"), True, None),
    ],
)
def test_symbols_of_the_series_that_wait_for_one_that_is_to_come(
    defined: tuple[str, ...], last: bool, waits: tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wrong: list[object]) -> None:
        if wrong:
            raise UnderTest("lost")

    (tmp_path / "config").write_text("")
    lost = [SimpleNamespace(symbol=name) for name in ("ALL", "ARGS", "HIDDEN")]
    work = SimpleNamespace(
        configure=lambda: SimpleNamespace(config=tmp_path / "config"),
        ready=SimpleNamespace(request=None), session=None, build_dir=tmp_path, command=[], log=tmp_path / "log", env={},
        explained=lambda lost, _graph: (lost, []),
    )  # fmt: skip
    monkeypatch.setattr(prefixes.survival, "compare", lambda *_: lost)
    monkeypatch.setattr(prefixes.symbols, "load", lambda *_: SimpleNamespace(defines=lambda name: name in defined))
    monkeypatch.setattr(prefixes.survival, "require_none", lambda wrong, _log: refuse(wrong))
    with pytest.raises(UnderTest) if waits is None else contextlib.nullcontext():
        assert prefixes._configure(cast(Workplace, work), frozenset(defined), last=last) == waits


def test_what_a_patch_brings(tmp_path: Path) -> None:
    patch = tmp_path / "p1"
    patch.write_text(
        "+config MINE_ALL\n+\tdepends on MINE\n+menuconfig MENU\n config OLD\n+  config DEEP\n-config GONE\n"
    )
    assert prefixes.brought(made_up(str(patch))) == {"MINE_ALL", "MENU", "DEEP"}


def test_objects_that_no_patch_instruments_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def opened(*_: object, build_dir: Path, **__: object) -> Iterator[SimpleNamespace]:
        session = SimpleNamespace(name="docker")
        yield SimpleNamespace(build_dir=build_dir, log=build_dir / "build.log", session=session)

    cell = made_up(instrument=("fs/open.o",))
    toolchain = SimpleNamespace(key="2")
    ready = cast(Ready, SimpleNamespace(cell=cell, toolchain=toolchain, inputs={"tree": "1"}))
    monkeypatch.setattr(prefixes, "source_of", lambda *_: tmp_path)
    monkeypatch.setattr(prefixes, "_configure", lambda *_, **__: ())
    monkeypatch.setattr(prefixes, "brought", lambda _cell: frozenset())
    monkeypatch.setattr(prefixes, "open_workplace", opened)
    monkeypatch.setattr(compilation, "compile_all", lambda _work: compilation.Compiled(1.0, frozenset(), 1))
    monkeypatch.setattr(compilation, "keep", lambda *_: {"files": {"image": {"size": 7}}})
    row, kernel = prefixes._build(ready, Row(1, "p1", "passed"), set(), last=False, fresh=False)
    assert row.status == "passed"
    assert kernel.key != prefixes.store.key_of(ready.inputs), "kernel.build would refuse it, so it must not find it"
    with pytest.raises(UserError, match="does not compile such an object"):
        prefixes._build(ready, Row(2, "p2", "passed"), set(), last=True, fresh=False)


@pytest.mark.parametrize(("error", "stops"), [(InfraError("the disk is full"), True), (UnderTest("no device"), False)])
def test_a_machine_that_fails_while_records_are_checked_says_nothing_of_a_patch(
    error: InfraError | UnderTest, stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_booted: object) -> None:
        raise error

    verdict = SimpleNamespace(require=lambda _console: None)
    booted = SimpleNamespace(verdict=verdict, outcome=SimpleNamespace(console=tmp_path / "console"))
    monkeypatch.setattr(prefixes.runs, "boot", lambda *_, **__: booted)
    monkeypatch.setattr(prefixes.runs, "check", check)
    (tmp_path / "config").write_text("CONFIG_KCOV_DATAFLOW=y\n")
    kernel = Kernel(Product("kernel", "0" * 64, tmp_path, {}))
    row = Row(3, "p3", "passed")
    with pytest.raises(InfraError) if stops else contextlib.nullcontext():
        row = prefixes.boot_row(CELL, kernel, Runtime("docker"), row, tmp_path / "boot")
        assert (row.status, row.boots, row.wrong) == ("passed", "yes", "no device")


def test_a_prefix_of_a_prefix_is_one_of_the_series() -> None:
    three = prefixes.prefix(made_up("1", "2", "3", "4"), 3)
    two = prefixes.prefix(three, 2)
    assert (three.names.series, two.names.series, len(two.series.patches)) == ("s@3", "s@2", 2)
    with pytest.raises(UserError, match="s@4 is not a prefix: s@3 has 3 patches"):
        prefixes.prefix(three, 4)
