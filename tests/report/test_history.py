"""Runs read from disk: nothing is left out, nothing is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from report import history
from tests import runs


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    made = runs.save(tmp_path / "20261123-100000-test-all-tiny-x86_64", tests={"a": "passed", "b": "lost"})
    run = history.read(made.folder)
    assert run.problem == ""
    assert run.result == made
    assert {name: status for name, (status, _) in run.outcomes().items()} == {"s/a": "passed", "s/b": "lost"}
    assert run.key() == "test all tiny x86_64 7.1.8 kit plugin-19"


def test_a_run_that_only_boots_is_no_repetition_of_one_with_records(tmp_path: Path) -> None:
    whole = runs.save(tmp_path / "20261123-100000-all-tiny-x86_64", checks={"a": True})
    boot = runs.save(tmp_path / "20261123-100001-boot-all-tiny-x86_64", checks={"a": True})
    assert history.read(boot.folder).key() == f"boot {history.read(whole.folder).key()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"format": 2}',
        '{"format": 1, "cell": {}}',
        "\udcff",
        "\x00",
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "20261123-100000-all-tiny-x86_64"
    folder.mkdir()
    (folder / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (run,) = history.load(tmp_path).runs
    assert run.status == history.UNREADABLE
    assert run.problem
    assert run.key() == "all-tiny-x86_64"


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("status",), "passt"),
        (("started",), "soon"),
        (("started",), True),
        (("stages",), {"boot": "1"}),
        (("stages",), {"boot": float("nan")}),
        (("checks",), [{"name": "n", "ok": 1, "asked": "", "got": ""}]),
        (("cell", "sets"), "X=y"),
        (("cell", "profile"), None),
        (("suites",), {}),
        (("facts",), []),
    ],
)
def test_values_of_a_wrong_type_are_told_with_their_place(tmp_path: Path, at: tuple[str, ...], value: Any) -> None:
    made = runs.save(tmp_path / "run")
    content = json.loads((made.folder / "result.json").read_text())
    place = content
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    (made.folder / "result.json").write_text(json.dumps(content))
    run = history.read(made.folder)
    assert run.status == history.UNREADABLE
    assert at[-1] in run.problem


def test_tests_nested_without_end_are_refused(tmp_path: Path) -> None:
    made = runs.save(tmp_path / "run", tests={"a": "passed"})
    content = json.loads((made.folder / "result.json").read_text())
    test = content["suites"][0]["tests"][0]
    for _ in range(100):
        test = {**test, "subtests": [test]}
    content["suites"][0]["tests"] = [test]
    (made.folder / "result.json").write_text(json.dumps(content))
    assert "nested" in history.read(made.folder).problem


def test_pipes_directories_and_dangling_links_are_told(tmp_path: Path) -> None:
    for name in ("pipe", "directory", "link"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "result.json")
    (tmp_path / "directory" / "result.json").mkdir()
    (tmp_path / "link" / "result.json").symlink_to("/dev/zero")
    found = history.load(tmp_path)
    assert [run.status for run in found.runs] == [history.UNREADABLE] * 3


def test_a_pipe_for_a_console_is_not_waited_for(tmp_path: Path) -> None:
    made = runs.save(tmp_path / "run")
    os.mkfifo(made.folder / "console.log")
    run = history.read(made.folder)
    assert run.console() == b""
    assert run.boot_ms() is None


def test_the_newest_are_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    for hour in range(5):
        runs.save(tmp_path / f"20261123-0{hour}0000-all-tiny-x86_64")
    found = history.load(tmp_path, 2)
    assert [run.name[:11] for run in found.runs] == ["20261123-03", "20261123-04"]
    assert found.left == 3


def test_runs_within_runs_are_found_and_other_directories_are_named(tmp_path: Path) -> None:
    runs.save(tmp_path / "20261123-010000-matrix" / "cells" / "one")
    (tmp_path / "20261123-020000-boot").mkdir()
    (tmp_path / "20261123-020000-boot" / "console.log").write_text("")
    found = history.load(tmp_path)
    assert [run.name for run in found.runs] == ["one"]
    assert found.others == ["20261123-020000-boot"]


def test_an_unknown_name_is_a_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path))
    with pytest.raises(UserError, match="there is no run"):
        history.named("nothing")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_value_at_any_place_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    made = runs.save(folder, tests={"a": "passed"})
    content = json.loads((made.folder / "result.json").read_text())
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_JSON)
        break
    (made.folder / "result.json").write_text(json.dumps(content))
    run = history.read(made.folder)
    assert (run.result is None) == bool(run.problem)
    run.key()
    run.outcomes()


def matrix(folder: Path, *cells: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True)
    rows = [{"id": name, "status": status, "reason": reason} for name, status, reason in cells]
    (folder / "matrix.json").write_text(json.dumps({"matrix": "tiny", "cells": rows}))


def test_a_matrix_is_its_cells(tmp_path: Path) -> None:
    cells = history.store.home() / "cells"
    for name, status in (("good", "passed"), ("kept", "failed"), ("replaced", "passed")):
        runs.save(cells / name, status=status, checks={"a": status == "passed"})
    matrix(
        tmp_path / "20261123-100000-matrix-tiny",
        ("good", "passed", ""),
        ("kept", "up to date: failed", "a"),
        ("replaced", "failed", "it did not boot"),
        ("late", "lost", "given up after 9 minutes"),
        ("next", "waiting", ""),
    )
    found = history.named(str(tmp_path / "20261123-100000-matrix-tiny"))
    assert [run.status for run in found] == ["passed", "failed", "failed", "lost", "lost"]
    assert [bool(run.result) for run in found] == [True, True, False, False, False]
    assert found[2].reasons == ("it did not boot",)
    assert found[3].reasons == ("given up after 9 minutes",)
    assert "waiting" in found[4].reasons[0]


@pytest.mark.parametrize("text", ["", "[]", '{"cells": {}}', '{"cells": [{"id": "../../etc", "status": "passed"}]}'])
def test_a_matrix_that_cannot_be_read_is_a_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(UserError, match=r"matrix\.json"):
        history.named(str(tmp_path))
