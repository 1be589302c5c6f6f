"""Long work shows that it goes on: plain lines without a terminal."""

from __future__ import annotations

import sys
import time

import pytest

from core import progress
from core.progress import Progress


def test_plain_lines_come_at_intervals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress("copying", 100, "files") as bar:
        bar.step(5)
        assert capsys.readouterr().err == ""
        now[0] += 31
        bar.step(5, "a/b")
        bar.step(5)
    assert capsys.readouterr().err == "copying: 10/100 files after 31 s, about 279 s left a/b\n"


def test_without_a_total() -> None:
    bar = Progress("copying")
    bar.step(3)
    assert bar.line(bar._started + 2) == "copying: 3 steps after 2 s"
    bar.at(4, 8)
    assert bar.line(bar._started + 2) == "copying: 4/8 steps after 2 s, about 2 s left"


@pytest.mark.parametrize("total", [None, 3])
def test_a_bar_on_a_terminal(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    with Progress("copying [x]", total) as bar:
        bar.step(1, "note [/y]")
        bar.at(2, 4)
    assert bar.done == 2


def test_no_bar_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert progress.on_terminal()
    monkeypatch.setenv("CI", "true")
    assert not progress.on_terminal()
