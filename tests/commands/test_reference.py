"""docs/commands.md is what the tasks themselves say."""

from __future__ import annotations

import tasks
from commands import reference


def test_the_page_of_commands_is_up_to_date() -> None:
    text = reference.PAGE.read_text()
    assert text == reference.page(), "run .venv/bin/python -m commands.reference --write"


def test_every_task_and_option_is_there() -> None:
    text = reference.page()
    for name in tasks.ns.task_names:
        assert f"### {name}\n" in text
    assert "| `--no-guard` | | build even if" in text
    assert "`--output`, `-o`" in text
