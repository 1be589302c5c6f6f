"""Write the files that other programs read into a run's folder, next to result.json."""

from __future__ import annotations

from cells.result import Result
from core import store
from report import junit, markdown

JUNIT, MARKDOWN = "junit.xml", "report.md"


def write(result: Result) -> None:
    """Write a result as JUnit XML and as markdown into its folder.

    Raises:
        InfraError: the disk is full or read-only.
    """
    store.write_text(result.folder / JUNIT, junit.junit(result))
    store.write_text(result.folder / MARKDOWN, markdown.markdown(result))
