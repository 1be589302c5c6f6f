"""Foreign text on a terminal, in a log of a CI system, in markdown, JUnit, the page and annotations."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cells.result import Check, Result, Splat
from cells.suites import Suite
from commands import screen
from commands.screen import Screen
from core.errors import UnderTest, describe
from guest.ktap import Test
from kconfig import annotate
from report import junit, markdown

EVIL = "x\n::error::owned\npassed: 12 of 12 checks hold\r\x1b[2J\x1b]0;t\x07\x9b1m\u202e\u2028##[error]y\x85section_start:1:z"  # noqa: E501
CASES = (EVIL, "\n" + EVIL, "\t::set-output name=a::b", "\r::debug::x")


def hostile(folder: Path, text: str) -> Result:
    """A result of a guest that answered so in every field."""
    tests = (Test(text, "failed", text, (text, "::error::d"), (Test(text, "lost", text),)),)
    return Result(
        folder, {"profile": text, "base": text, "arch": text}, "docker", "failed", [text], [Check(text, False, text, text)],  # noqa: E501
        facts={"release": text}, suites=[Suite(text, "kselftest", tests, text)],
        splats=[Splat("bug", text, 1, text, [text])],
    )  # fmt: skip


def lines_of(text: str) -> list[str]:
    return text.splitlines()


@pytest.mark.parametrize("text", CASES)
def test_no_value_begins_a_line_or_controls_a_terminal(text: str, tmp_path: Path) -> None:
    result = hostile(tmp_path, text)
    for shown in (result.as_text(), *(splat.as_text() for splat in result.splats), describe(UnderTest(text, text))):
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert not any(line.lstrip().startswith(("::", "##[", "section_")) for line in lines_of(shown))
    assert not any(line.startswith("passed") for line in lines_of(describe(UnderTest(text))))
    own = [line for line in lines_of(result.as_text()) if line.startswith(("passed:", "failed:"))]
    assert own == ["failed: 0 of 1 checks hold ()"]


@pytest.mark.parametrize("text", CASES)
def test_what_is_printed_passes_a_net(text: str) -> None:
    out = io.StringIO()
    net = Screen(out)
    print(text, file=net)
    print("a", end="", file=net)
    print("::b", file=net)
    assert all(char.isprintable() or char in "\n\t" for char in out.getvalue())
    lines = out.getvalue().split("\n")
    assert not any(line.lstrip().startswith(("::", "##[", "section_")) for line in lines)
    assert lines[-2] == "a::b"


def test_the_net_is_put_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    screen.install()
    first = sys.stdout
    screen.install()
    assert sys.stdout is first
    monkeypatch.setattr(sys, "stdout", None)
    screen.install()
    assert sys.stdout is None


@pytest.mark.parametrize("text", CASES)
def test_reports_keep_foreign_text_as_text(text: str, tmp_path: Path) -> None:
    result = hostile(tmp_path, text)
    ElementTree.fromstring(junit.junit(result))  # noqa: S314  (we made it)
    page = markdown.markdown(result)
    assert all(char.isprintable() or char in "\n\t" for char in page)
    assert not any(line.lstrip().startswith(("::", "##[")) for line in lines_of(page))
    note = annotate.line(annotate.Note("c", text, text, text, text, 3))
    assert "\n" not in note and "\r" not in note and note.count("::") >= 2
    assert all(char.isprintable() for char in note)
