"""Likely mistakes, and what a user sees: what happened, what to do, the right exit code, never a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection

from cells import runs
from cells.result import Check, Result, finish
from commands import program
from core.errors import InfraError, UnderTest, UserError, describe, nearest

CELL = ("--profile", "all", "--base", "tiny", "--runtime", "host")


def said(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = program.main(list(words))
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("words", "happened", "todo"),
    [
        (("kernel.build", "--profile", "al", *CELL[2:]), "no profile al (did you mean all?)", "--help kernel.build"),
        (("kernel.build", *CELL[2:]), "name a profile", "--help kernel.build"),
        (("kconfig.show", "al"), "no profile al", "--help kconfig.show"),
        (("kernel.build", *CELL, "--linux", "path:/nope"), "no directory or archive /nope", "--help kernel.build"),
        (("kernel.build", *CELL, "--linux", "git:/nope@v7.1"), "there is no repository /nope", "--help kernel.build"),
        (("kernel.build", *CELL, "--linux", "7.3"), "no source 7.3 (did you mean", "sources.list"),
        (("kconfig.show", "all", "--base", "path:"), "there is no base path:", "--help kconfig.show"),
        (("kconfig.show", "all", "--base", "path:gone"), "gone: no such file", "--help kconfig.show"),
        (("kconfig.show", "all", "--set", "kasan"), "--set kasan", "--help kconfig.show"),
        (("kernel.build", *CELL, "--arch", "riscv"), "no architecture riscv", "--help kernel.build"),
        (("kernel.build", *CELL[:4], "--runtime", "podmn"), "no runtime podmn", "--help kernel.build"),
        (("kernel.bisect", *CELL), "--good", "--good 0 --bad 6"),
        (("kernel.bisect", *CELL, "--good", "0"), "--bad", "--good 0 --bad 6"),
        (("toolchain.export", "plugin-19", "--runtime", "host"), "no output is named", "-o FILE.tar.zst"),
        (("toolchain.import", "gone.tar.zst"), "gone.tar.zst is not a file", "toolchain.export"),
        (("cell.run",), "cell.run needs id", "--help cell.run"),
        (("sources.fetch", "linux-7.1.8", "--sha256"), "--sha256 needs a value", "--help sources.fetch"),
        (("report.html", "--runs", "many"), "many is not a number", "--list"),
        (("patches.check", "kti"), "no series kti (did you mean kit?)", "patches.list"),
        (("ci.generate", "jenkins"), "no system jenkins", "--help ci.generate"),
    ],
)
def test_a_wrong_request(
    words: tuple[str, ...], happened: str, todo: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, lines = said(words, capsys)
    assert code == 2
    assert happened in lines[0]
    assert lines[0].startswith("error: ")
    assert len(lines) == 2
    assert lines[1].startswith("  do: ")
    assert todo in lines[1]


@pytest.mark.parametrize("home", ["/proc/none/of/it", "FILE/below"])
def test_a_home_that_cannot_be(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "FILE").write_text("")
    monkeypatch.setenv("KDF_HOME", str(tmp_path / home))
    code, lines = said(("store.list",), capsys)
    assert code == 3
    assert str(tmp_path / home) in lines[0]
    assert "KDF_HOME" in lines[1]


def test_a_directory_that_is_no_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "notes"
    tree.mkdir()
    (tree / "README").write_text("something else")
    code, lines = said(("kernel.build", *CELL, "--linux", f"path:{tree}"), capsys)
    assert code == 2
    assert f"{tree} is not a Linux source" in lines[0]
    assert "path:" in lines[1]


def test_a_malformed_file_is_to_be_mended(tmp_path: Path) -> None:
    from kconfig import profiles

    file = tmp_path / "profiles.yaml"
    for text in ("bases: {tiny: {abuot: x}}\nprofiles: {}\n", "bases: [", "a: 1\na: 2\n"):
        file.write_text(text)
        with pytest.raises(UserError) as told:
            profiles.load(file)
        assert describe(told.value).splitlines()[1] == f"  do: correct {file}"


def test_every_error_says_what_to_do() -> None:
    for error in (UnderTest("x"), UserError("x"), InfraError("x"), UnderTest("x", log=Path("x.log"))):
        assert describe(error).splitlines()[1].startswith("  do: ")
    assert describe(UnderTest("x", log=Path("x.log"))).splitlines()[1] == "  do: read the log"


def test_hundreds_of_known_names_are_not_listed() -> None:
    text = nearest("zz", [f"20261123-{n}" for n in range(300)])
    assert text.startswith(" (known: 20261123-0, ")
    assert text.endswith("and 280 more)")


def test_many_wrong_checks_are_told_in_a_line(tmp_path: Path) -> None:
    checks = [Check(f"fact {n}", n == 0, "1", "0") for n in range(35)]
    reasons = [f"{one.name}: asked 1, got 0" for one in checks[1:]]
    result = finish(Result(tmp_path, {}, "host"), "failed", checks=checks, reasons=reasons)
    with pytest.raises(UnderTest) as told:
        result.require()
    assert "fact 3" in told.value.message
    assert "fact 4" not in told.value.message
    assert "31 more" in told.value.message


@pytest.mark.parametrize(
    ("values", "instrument", "instrumented", "wrong"),
    [
        ({"KCOV_DATAFLOW": "y"}, (), 0, True),
        ({"KCOV_DATAFLOW": "y"}, (), 3, False),
        ({"KCOV_DATAFLOW": "y"}, ("fs/open.o",), 0, False),
        ({"KCOV_DATAFLOW": "y", "KCOV_DATAFLOW_INSTRUMENT_ALL": "y"}, (), 0, False),
        ({}, (), 0, False),
    ],
)
def test_a_kernel_in_which_nothing_opts_in_is_not_booted_for_records(
    values: dict[str, str], instrument: tuple[str, ...], instrumented: int, wrong: bool
) -> None:
    if not wrong:
        runs.require_sites("dataflow", values, instrument, lambda: instrumented)
        return
    with pytest.raises(UserError, match="profile dataflow") as told:
        runs.require_sites("dataflow", values, instrument, lambda: instrumented)
    assert "--instrument" in told.value.hint


def bodies(collection: Collection, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, task in collection.tasks.items():
        yield before + str(name), task
    for name, below in collection.collections.items():
        yield from bodies(below, f"{before}{name}.")


def test_what_has_no_default_is_asked_for_by_invoke() -> None:
    """Invoke gives None for an option without a default that is no position: no task is made for that."""
    import tasks

    for name, task in bodies(tasks.ns):
        for one in list(inspect.signature(task.body).parameters.values())[1:]:
            asked = one.name in (*task.positional, *task.iterable)
            assert asked or one.default is not one.empty, f"{name} {one.name}"


def test_without_words_it_says_where_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 12
    for words in ("kernel.run --profile all --base tiny", "doctor", "--list", "docs/guide-series.md"):
        assert words in shown
