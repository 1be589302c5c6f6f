"""Hold the pages to docs/style.md where a program can judge it: length of lines, glossary, measurements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import judged
from tests.docs import documented
from tests.docs.documented import PAGES, ROOT

MEASUREMENTS = tuple(sorted((ROOT / "docs" / "measurements").glob("*.md")))


def prose(page: Path) -> list[tuple[int, str]]:
    """List the lines of a page, with their numbers from 1, that are not of a table or a block of code."""
    text = page.read_text()
    lines = dict(enumerate(text.splitlines(), 1))
    for block in documented.blocks(text):
        for number in range(block.number, block.number + len(block.lines)):
            del lines[number]
    return [(number, line) for number, line in lines.items() if not line.startswith("|")]


@pytest.mark.parametrize("page", [*PAGES, *MEASUREMENTS], ids=lambda page: page.stem)
def test_lines_of_prose_break_at_100_characters(page: Path) -> None:
    assert [number for number, line in prose(page) if len(line) > 100] == []


def test_the_glossary_has_each_word_once() -> None:
    section = (ROOT / "docs" / "style.md").read_text().partition("## Glossary")[2].partition("\n## ")[0]
    words = re.findall(r"^\| ([a-z ]+) \|", section, re.MULTILINE)[1:]
    assert len(words) >= 30
    assert len(words) == len(set(words))


@pytest.mark.parametrize("page", MEASUREMENTS, ids=lambda page: page.stem)
def test_a_measurement_names_its_machine_and_its_date(page: Path) -> None:
    text = page.read_text()
    assert "Machine" in text
    assert re.search(r"20\d\d", text)


@pytest.mark.parametrize("page", MEASUREMENTS, ids=lambda page: page.stem)
def test_commands_and_links_of_measurements_are_right(page: Path) -> None:
    text = page.read_text()
    wrong = (judged.wrong(line, frozenset({"mine", "theirs"})) for line in documented.commands(text, page.name))
    assert [reason for reason in wrong if reason] == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", MEASUREMENTS, ids=lambda page: page.stem)
def test_every_measurement_is_linked_from_a_page(page: Path) -> None:
    assert any(f"measurements/{page.name}" in other.read_text() for other in PAGES)
