"""The matrix file: what cells it means, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import matrices
from core.errors import UserError
from core.runtime import Runtime

HEAD = """
defaults: {toolchain: plugin-19, series: kit, base: tiny, arch: x86_64, linux: "7.1.8", time: short}
times:
  short: {minutes: 10, memory_mb: 2000}
  long: {minutes: 60, memory_mb: 4000}
matrices:
  m:
    about: a test
"""


def write(tmp_path: Path, body: str) -> Path:
    file = tmp_path / "matrix.yaml"
    file.write_text(HEAD + "\n".join(f"    {line}" for line in body.splitlines()) + "\n")
    return file


def test_the_file_of_this_repository_loads_and_names_the_rfcs_profiles() -> None:
    cells = matrices.find("tiny").cells
    assert [one.cell.profile for one in cells] == ["none", "kcov", "dataflow", "all", "kasan", "kasan-all"]
    assert all(one.required and one.cell.toolchain == "plugin-19" for one in cells)
    assert cells[2].cell.instrument and "+" in cells[2].id
    assert cells[0].command == ["./invoke", "cell.run", "plugin-19_kit_none_tiny_x86_64_7.1.8"]
    ids = {one.id for found in matrices.load().values() for one in found.cells}
    assert all(re.fullmatch(r"[A-Za-z0-9._+-]+", one) for one in ids)
    assert all(matrices.find_cell(one).id == one for one in ids)


def test_combinations_exclusions_and_further_cells(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """axes:
  toolchain: [plugin-19, plugin-23]
  profile: [none, all]
exclude:
  - {toolchain: plugin-23, profile: none}
include:
  - {profile: kcov, series: kit@3}
optional:
  - {toolchain: plugin-23}
options:
  - {where: {profile: all}, time: long, sets: [FOO=y]}""",
    )
    cells = matrices.find("m", file).cells
    assert [(one.cell.toolchain, one.cell.profile, one.required, one.time.name) for one in cells] == [
        ("plugin-19", "none", True, "short"),
        ("plugin-19", "all", True, "long"),
        ("plugin-23", "all", False, "long"),
        ("plugin-19", "kcov", True, "short"),
    ]
    assert cells[3].cell.series == "kit@3"
    assert cells[1].cell.sets == ("FOO=y",)
    assert len({one.id for one in cells}) == 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("axes: {profile: [nine]}", r"axes\.profile: there is no profile nine \(did you mean none"),
        ("axes: {profiles: [none]}", "unknown key"),
        ("axes: {profile: [none], linux: ['7.1']}", "there is no source 7.1"),
        ("axes: {profile: [none], arch: [arm]}", "there is no arch arm"),
        ("axes: {profile: [none], series: [kat]}", "there is no series kat"),
        ("axes: {profile: [none], base: [tine]}", "there is no base tine"),
        ("axes: {profile: [none, none]}", "is there twice"),
        ("axes: {profile: [none]}\nexclude: [{profile: all}]", "it excludes no cell"),
        ("axes: {profile: [none]}\nexclude: [{profile: none}]", "it has no cell"),
        ("axes: {profile: [none]}\noptional: [{}]", "it names no axis"),
        ("axes: {profile: [none]}\noptions: [{where: {profile: none}, time: ages}]", "there is no class ages"),
        ("axes: {profile: [none]}\noptions: [{where: {profile: none}, colour: red}]", "unknown key"),
        ("axes: {toolchain: [plugin-19]}", "the axis profile is missing"),
        ("include: [{series: kit}]", "the axis profile is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        matrices.load(write(tmp_path, body))


@given(st.text(max_size=60))
def test_any_other_text_is_the_users_error(text: str) -> None:
    try:
        matrices.find_cell(text)
    except UserError:
        return
    raise AssertionError("no such cell")


def test_user_files_have_ids_that_are_file_names(tmp_path: Path) -> None:
    body = "axes: {profile: [none], base: ['path:/a b/config', 'path:/a_b/config']}"
    ids = [one.id for one in matrices.find("m", write(tmp_path, body)).cells]
    assert len(set(ids)) == 2
    assert all("/" not in one and " " not in one for one in ids)


def test_a_project_keeps_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(tmp_path, "axes: {profile: [none]}")
    monkeypatch.setenv(matrices.VARIABLE, str(own))
    assert set(matrices.load()) == {"m"}
    with pytest.raises(UserError, match="no matrix small") as told:
        matrices.find("small")
    assert told.value.hint == f"see {own}"
    monkeypatch.setenv(matrices.VARIABLE, str(tmp_path / "nowhere.yaml"))
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        matrices.load()


def test_no_such_names() -> None:
    with pytest.raises(UserError, match=r"no matrix tin \(did you mean tiny"):
        matrices.find("tin")
    with pytest.raises(UserError, match=r"no cell plugin-19_kit_al_tiny_x86_64_7.1.8 \(did you mean"):
        matrices.find_cell("plugin-19_kit_al_tiny_x86_64_7.1.8")


def test_stages_have_names() -> None:
    from ci import job

    with pytest.raises(UserError, match=r"no stage builds \(did you mean build"):
        job.until(matrices.find("small").cells[0], Runtime("host"), "builds")
