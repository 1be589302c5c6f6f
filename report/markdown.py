"""Show a result as markdown, or as rows of a table.

Escapes markdown's own marks, because a guest may print anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from cells.result import Result
from core.errors import one_line
from guest.ktap import FAILED, LOST

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#])")


def rows(result: Result) -> Iterator[Mapping[str, str]]:
    """Yield one row for each test, and one for each suite that did not build."""
    for suite in result.suites:
        if not suite.built:
            yield {"test": suite.name, "status": "not built", "why": suite.reason}
        for name, test in suite.leaves():
            yield {"test": name, "status": test.status, "why": test.reason}


def markdown(result: Result) -> str:
    """Return a result as a page: its status, a table of the suites, the tests that did not pass, and the splats."""
    lines = [f"# {_md(result.label)}: {result.status}", ""]
    lines += [*(f"* {_md(reason)}" for reason in result.reasons), ""] if result.reasons else []
    lines += ["| suite | passed | failed | skipped | todo | lost |", "|---|---|---|---|---|---|"]
    for suite in result.suites:
        counts = suite.counts()
        cells = [str(count) for count in counts.values()] if suite.built else ["not built", "", "", "", ""]
        lines.append(f"| {_md(suite.name)} | {' | '.join(cells)} |")
    bad = [row for row in rows(result) if row["status"] in (FAILED, LOST, "not built")]
    if bad:
        lines += ["", "| test | status | why |", "|---|---|---|"]
        lines += [f"| {_md(row['test'])} | {row['status']} | {_md(row['why'])} |" for row in bad]
    for splat in result.splats:
        during = f" during {_md(splat.during)}" if splat.during else ""
        lines += ["", f"## {_md(splat.kind)}: {_md(splat.title)}{during}", "", *(f"* {_md(f)}" for f in splat.frames)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    """Escape a text for markdown; join its lines, because a line feed would end a row of a table."""
    return _MARKDOWN.sub(r"\\\1", " ".join(one_line(text).split()))
