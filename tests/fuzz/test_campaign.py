"""Made inputs: every border for a moment, and that a border that breaks its promise is found."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from core.errors import UserError
from fuzz import borders, campaign, mutation
from fuzz.borders import BORDERS, Border


@pytest.mark.parametrize("name", list(BORDERS))
def test_each_border_keeps_its_promise(name: str) -> None:
    """A hundred inputs of a fixed seed; test.fuzz makes others."""
    border = BORDERS[name]
    examples = border.corpus()
    for number in range(100):
        data = mutation.make(examples, border.words, 7, number)
        assert borders.fails(border, data) is None


@pytest.mark.parametrize("name", list(BORDERS))
def test_each_border_reads_its_examples(name: str) -> None:
    for data in BORDERS[name].corpus():
        assert borders.fails(BORDERS[name], data) is None


def test_a_seed_gives_the_same_inputs() -> None:
    first = [mutation.make([b"abc\ndef"], [b"x"], 3, number) for number in range(50)]
    assert first == [mutation.make([b"abc\ndef"], [b"x"], 3, number) for number in range(50)]
    assert len(set(first)) > 30


def test_a_campaign_over_a_real_border(tmp_path: Path) -> None:
    outcome = campaign.run([BORDERS["rules"]], 1, 5, tmp_path)
    assert outcome.inputs["rules"] > 10
    assert outcome.findings == ()
    assert json.loads((tmp_path / campaign.FILE).read_text())["seed"] == 5


def broken(data: bytes) -> object:
    if data.count(b"a") > 3:
        raise IndexError("planted")
    if data.startswith(b"\xff"):
        raise UserError("this is allowed")
    return None


def test_a_border_that_breaks_its_promise_is_found(tmp_path: Path) -> None:
    border = Border("broken", broken, (), (b"aaaa",))
    campaign.work(border, 1, 0, 1.0, tmp_path)
    findings = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert [what.partition(" at ")[0] for what, _file in findings] == ["IndexError"]
    assert b"a" in Path(findings[0][1]).read_bytes()
    assert borders.fails(border, b"\xff") is None


def test_an_input_that_takes_for_ever_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that reads it is ended, and the next input is read by another one."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys\nfrom fuzz import borders, campaign\nfrom pathlib import Path\ncampaign.INPUT_SECONDS = 0\n"
        "def read(data):\n    while True: pass\n"
        "slow = borders.Border('slow', read, ())\n"
        "campaign.work(slow, 1, int(sys.argv[3]), 5.0, Path(sys.argv[5]), campaign.limit())\n"
    )
    real = campaign.process.run
    monkeypatch.setattr(
        campaign.process,
        "run",
        lambda argv, **more: real([argv[0], str(slow), *argv[3:]], env={"PYTHONPATH": str(borders.ROOT)}, **more),
    )
    began = time.monotonic()
    outcome = campaign.run([Border("slow", broken, ())], 1, 1, tmp_path / "out")
    assert [finding.what for finding in outcome.findings] == ["took too long"]
    assert time.monotonic() - began < 30


def test_a_border_that_is_not_there() -> None:
    with pytest.raises(UserError, match="there is no border consol"):
        list(borders.choose(["consol"]))
