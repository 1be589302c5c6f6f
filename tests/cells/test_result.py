"""The result of a cell: never passed without held checks, and as its schema says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cells.result import Check, Result, finish
from core.errors import UnderTest
from kernel.cell import CellNames

SCHEMA = json.loads((Path(__file__).parent.parent.parent / "docs" / "result.schema.json").read_text())
HELD = Check("records of getpid", True, "> 0", "17")
BROKEN = Check("pid", False, "4242", "1")


def fresh(folder: Path) -> Result:
    cell = CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8")
    from dataclasses import asdict

    return Result(folder, asdict(cell), "host")


def test_running_is_written_before_work_starts(tmp_path: Path) -> None:
    fresh(tmp_path).save()
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "running"


@pytest.mark.parametrize("checks", [[], [BROKEN], [HELD, BROKEN]])
def test_nothing_passes_without_held_checks(tmp_path: Path, checks: list[Check]) -> None:
    with pytest.raises(ValueError, match="cannot have passed"):
        finish(fresh(tmp_path), "passed", checks=checks)


def test_text_names_what_is_wrong(tmp_path: Path) -> None:
    done = finish(fresh(tmp_path), "failed", checks=[HELD, BROKEN], reasons=["1 check does not hold"])
    assert "wrong: pid: asked 4242, got 1" in done.as_text()
    assert "failed: 1 of 2 checks hold" in done.as_text()
    with pytest.raises(UnderTest, match="1 check does not hold"):
        done.require()


def test_json_is_as_its_schema_says(tmp_path: Path) -> None:
    import jsonschema

    done = finish(fresh(tmp_path), "passed", checks=[HELD], stages={"boot": 2.5}, facts={"release": "7.1.8"})
    jsonschema.validate(json.loads((tmp_path / "result.json").read_text()), SCHEMA)
    done.require()


def test_the_published_schema_is_the_generated_one() -> None:
    from cells import schema

    assert schema.PUBLISHED.read_text() == schema.text(), f"rewrite it: {schema.COMMAND}"


def test_a_wrong_word_is_named_with_its_key_and_those_that_are_known(tmp_path: Path) -> None:
    from cells import schema
    from core.errors import UserError

    value = {**fresh(tmp_path).as_json(), "status": "passed\n"}
    with pytest.raises(
        UserError, match=r"result\.json: status: expected one of running, passed, failed, refused, lost"
    ):
        schema.parse(value, tmp_path)
