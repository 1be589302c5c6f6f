"""Pipelines: what the matrix becomes for GitHub and GitLab, and what their jobs leave behind."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner

from ci import artifacts, job, matrices, pipeline
from core import store
from core.errors import UnderTest, UserError

SCHEMAS = {"github": ["vendor.github-workflows"], "gitlab": ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"]}


@pytest.mark.parametrize("system", pipeline.FILES)
@pytest.mark.parametrize("name", matrices.load())
def test_each_matrix_is_a_valid_pipeline(system: str, name: str, tmp_path: Path) -> None:
    chosen = matrices.find(name)
    file = tmp_path / "pipeline.yml"
    file.write_text(pipeline.generate(system, chosen))
    done = CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", *SCHEMAS[system], str(file)])
    assert done.exit_code == 0, done.output
    jobs = yaml.safe_load(file.read_text())
    jobs = jobs["jobs"] if system == "github" else jobs
    found: list[str] = []
    for name, one in jobs.items():
        if name.startswith("cells-"):
            entries = one["strategy"]["matrix"]["include"] if system == "github" else one["parallel"]["matrix"]
            found += [entry["cell"] if system == "github" else entry["CELL"] for entry in entries]
    assert sorted(found) == sorted(one.id for one in chosen.cells)


@pytest.mark.parametrize("system", pipeline.FILES)
def test_the_files_of_this_repository_are_those_of_the_matrix(system: str, tmp_path: Path) -> None:
    chosen = matrices.find("tiny")
    pipeline.check(system, chosen, pipeline.FILES[system])
    changed = tmp_path / "changed.yml"
    changed.write_text(pipeline.FILES[system].read_text().replace("plugin-19_kit_kcov", "plugin-19_kit_kcow", 1))
    with pytest.raises(UnderTest, match=r"(?s)differs from ci/matrix.yaml.*kit_kcow"):
        pipeline.check(system, chosen, changed)
    with pytest.raises(UnderTest):
        pipeline.check(system, chosen, tmp_path / "absent.yml")


def test_what_a_fork_sends_gets_nothing() -> None:
    """No token that writes, no secret, no action that can be changed behind a tag, no untrusted text in a script."""
    text = pipeline.generate("github", matrices.find("compilers"))
    found = yaml.safe_load(text)
    assert found["permissions"] == {"contents": "read"}
    triggers = found[True]  # YAML 1.1 reads the word `on` so
    assert set(triggers) == {"push", "pull_request", "workflow_dispatch", "schedule"}
    assert "secrets." not in text
    for one in found["jobs"].values():
        assert "permissions" not in one and one["timeout-minutes"] > 0
        for step in one["steps"]:
            assert "${{" not in step.get("run", "")
            if "uses" in step:
                assert re.fullmatch(r"[a-z/-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
    uploads = [s for job in found["jobs"].values() for s in job["steps"] if "upload-artifact" in s.get("uses", "")]
    assert uploads and all(step["if"] == "always()" for step in uploads)


@pytest.mark.parametrize("system", pipeline.FILES)
def test_a_matrix_that_is_too_large(system: str) -> None:
    small = matrices.find("small")
    many = tuple(replace(small.cells[0], id=f"c{n}") for n in range(pipeline.LIMITS[system]))
    pipeline.generate(system, replace(small, cells=many))
    with pytest.raises(UserError, match=f"{pipeline.LIMITS[system]} jobs"):
        pipeline.generate(system, replace(small, cells=(*many, small.cells[1])))


def test_an_unknown_system() -> None:
    with pytest.raises(UserError, match="did you mean gitlab"):
        pipeline.generate("gitlap", matrices.find("small"))


def told(identity: str, **changes: Any) -> dict[str, Any]:
    usual = {"status": "passed", "reasons": [], "checks": [{"ok": True}], "facts": {"cell_id": identity}}
    return {**usual, **changes}


def test_a_job_leaves_result_and_logs(tmp_path: Path) -> None:
    one = matrices.find("small").cells[0]
    assert [path.name for path in artifacts.keep(one.id, tmp_path / "none")] == ["no-result.txt"]
    run = store.home() / "runs" / "r"
    run.mkdir(parents=True)
    (run / "console.log").write_bytes(b"x" * 10)
    (store.home() / "logs").mkdir()
    (store.home() / "logs" / "kernel-1.log").write_text("error")
    secret = tmp_path / "build.log"
    secret.write_text("of somebody else")
    place = job.place(one.id)
    place.mkdir(parents=True)
    value = told(one.id, folder=str(run))
    value["facts"]["kernel"] = str(tmp_path)
    (place / "result.json").write_text(json.dumps(value))
    assert {path.name for path in artifacts.keep(one.id, tmp_path / "a")} == {"result.json", "console.log"}
    (place / "result.json").write_text(json.dumps({**value, "status": "failed"}))
    assert {path.name for path in artifacts.keep(one.id, tmp_path / "b")} == {
        "result.json",
        "console.log",
        "kernel-1.log",
    }


@pytest.mark.parametrize(
    ("second", "status"),
    [
        ({}, "passed"),
        ({"status": "failed", "reasons": ["<b>|lost"], "checks": []}, "failed"),
        ({"checks": [{"ok": False}]}, "failed"),
        ({"checks": []}, "failed"),
        ({"status": "running"}, "running"),
        ({"facts": {"cell_id": "another"}}, "never reported"),
        ({"reasons": None}, "never reported"),
        (None, "never reported"),
    ],
)
def test_the_verdict_on_jobs(second: dict[str, Any] | None, status: str, tmp_path: Path) -> None:
    small = matrices.find("small")
    for one, changes in zip(small.cells, ({}, second), strict=True):
        if changes is not None:
            (tmp_path / one.id).mkdir()
            (tmp_path / one.id / "result.json").write_text(json.dumps(told(one.id, **changes)))
    found = artifacts.verdicts(small, tmp_path)
    assert [one.status for one in found] == ["passed", status]
    text = artifacts.markdown(small, found)
    assert len(text.splitlines()) == 6 and "<b>" not in text
    if status == "passed":
        artifacts.require(found)
        return
    with pytest.raises(UnderTest, match="1 of 2 cells did not pass"):
        artifacts.require(found)
    artifacts.require([found[0], replace(found[1], cell=replace(found[1].cell, required=False))])
