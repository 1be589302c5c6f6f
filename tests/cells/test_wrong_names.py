"""A wrong name is refused before anything is made: no run is left that reports would count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cells import runs
from commands import program
from core import store
from core.errors import InfraError, KitError, UnderTest, UserError
from core.runtime import Runtime
from kernel import kernels
from tests.resolved import made_up

TASKS = (("kernel.run",), ("test.run", "--kselftest", "size"), ("guest.boot",))
RIGHT = {"--profile": "all", "--base": "tiny", "--arch": "x86_64", "--runtime": "host"}


@pytest.fixture
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: Any, **_options: Any) -> None:
        raise AssertionError("something is being made for a wrong name")

    monkeypatch.setattr(kernels, "prepare", refuse)
    monkeypatch.setattr(kernels, "build", refuse)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task[0])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--profile", "nope"),
        ("--base", "tinny"),
        ("--base", "path:/nowhere"),
        ("--series", "kitt"),
        ("--series", "kit@99"),
        ("--series", "kit@x"),
        ("--toolchain", "plugin-9"),
        ("--linux", "1.2.3"),
        ("--linux", "path:/nowhere"),
        ("--linux", "path:/etc"),
        ("--linux", "git:/nowhere@v1"),
        ("--linux", "git:x"),
        ("--arch", "sparc"),
        ("--instrument", "/etc/passwd"),
        ("--set", "KASAN"),
        ("--fragment", "/nowhere.config"),
        ("--smp", "none"),
        ("--memory", "much"),
    ],
)
@pytest.mark.usefixtures("nothing_is_made")
def test_a_wrong_name_leaves_no_run(
    task: tuple[str, ...], option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for pair in ({**RIGHT, option: value}).items() for word in pair]
    assert program.main([*task, *words]) == 2, capsys.readouterr().err
    folder = store.home() / "runs"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("compiler and series are of two generations"), "refused"),
        (UnderTest("it does not compile"), "failed"),
        (InfraError("the disk is full"), "lost"),
        (KeyboardInterrupt(), "lost"),
    ],
)
def test_what_is_seen_only_later_is_told_apart(
    error: KitError | KeyboardInterrupt, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_words: Any, **_options: Any) -> None:
        raise error

    Path(store.home()).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(kernels, "build", broken)
    with pytest.raises(type(error)):
        runs.run(made_up(), Runtime("host"))
    (folder,) = (store.home() / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == status
