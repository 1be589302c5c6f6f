"""Render runs as one HTML file that needs no other file.

Takes runs from report.history and kernels of the store. Gives the text of a page. Never trusts text from a run: the
template escapes it, and the page's policy forbids scripts and anything from outside, in case an escape is missing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from cells.result import REFUSED, STATUSES
from core import store
from core.errors import KitError, UserError, printable
from guest.ktap import FAILED, LOST, PASSED, SKIPPED
from kernel import built
from kernel.built import Kernel
from report import charts
from report.history import CONSOLE, UNREADABLE, History, Run

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
TEMPLATE, STYLE = "report.html.j2", "report.css"
# Limits of a page, in this order: lines of a console, letters of a line, runs, tests, calls. The logs have the rest.
_TAIL, _LETTERS, _COLUMNS, _ROWS, _TREE = 40, 300, 24, 400, 300
_LOGS = (CONSOLE, "qemu.log", "result.json", "junit.xml", "report.md")
# The text of a kconfig.survival.Lost; a value in quotes may contain blanks.
_LOST_SYMBOL = re.compile(r'CONFIG_(\w+): asked ("[^"\n]*"|\S+) \(([^)\n]*)\), got ("[^"\n]*"|[^\s:]+)(?:: (.*))?')
_MARKS = {PASSED: "✓", FAILED: "✗", SKIPPED: "s", LOST: "?", REFUSED: "r", "todo": "t", "running": "…", UNREADABLE: "!"}


@dataclass(frozen=True)
class Cell:
    """All runs of one key, oldest first, each with its number on the page."""

    key: str
    runs: Sequence[tuple[int, Run]]


@dataclass(frozen=True)
class Row:
    """One test over the runs of its cell.

    Attributes:
        marks: status and reason in each run; "" if the run does not have the test.
        flaky: whether it both passed and did not pass on the same kernel.
    """

    name: str
    marks: Sequence[tuple[str, str]]
    flaky: bool


@dataclass(frozen=True)
class Tree:
    """The call tree of a capture.

    Attributes:
        lines: the first lines of the tree as text.
        left: number of lines that are left out.
        why: why there is no tree; empty if there is one.
    """

    title: str = ""
    flame: charts.Flame | None = None
    lines: Sequence[str] = ()
    left: int = 0
    why: str = ""


@dataclass(frozen=True)
class Kernels:
    """Sizes and lost symbols of the kernels of runs.

    Attributes:
        sizes: path -> name -> bytes.
        losses: path -> symbol, asked, origin, got of each lost symbol.
        problems: path -> why a kernel cannot be measured.
    """

    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    losses: Mapping[str, Sequence[tuple[str, str, str, str]]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def kernel_of(run: Run) -> str:
    """Return the path of a run's kernel from its result; empty if the result has none."""
    path = run.result.facts.get("kernel", "") if run.result else ""
    return path if isinstance(path, str) else ""


def measure_kernels(runs: Iterable[Run]) -> Kernels:
    """Measure the kernels of runs that are still in the store; never read another path that a run names."""
    known = {str(kernel.path): kernel for kernel in built.all_kernels()}
    sizes, losses, problems = {}, {}, {}
    for path in dict.fromkeys(kernel_of(run) for run in runs):
        if path not in known:
            if path:
                problems[path] = "it is no longer in the store"
            continue
        try:
            sizes[path] = _sizes(known[path])
            losses[path] = _losses(known[path])
        except (KitError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems[path] = f"{type(error).__name__}: {error}"
    return Kernels(sizes, losses, problems)


def _sizes(kernel: Kernel) -> dict[str, int]:
    from elftools.common.exceptions import ELFError

    from dataflow import image

    try:
        return image.kernel_sizes(kernel.path)
    except ELFError as error:
        raise ValueError(f"vmlinux cannot be read: {error}") from None


def _losses(kernel: Kernel) -> list[tuple[str, str, str, str]]:
    from kconfig import survival

    return [
        (symbol, value, "its request", kernel.config.get(symbol, survival.ABSENT))
        for symbol, value in kernel.asked.items()
        if not survival.granted(value, kernel.config.get(symbol, survival.ABSENT))
    ]


def capture_tree(runs: Sequence[Run]) -> Tree:
    """Return the call tree of a capture (`open-close` if possible) of the newest run whose kernel is in the store."""
    from cells import recording
    from dataflow import listing
    from guest.guests import CAPTURES

    why = "no run has captures"
    for run in reversed(runs):
        names = sorted(path.stem for path in (run.folder / CAPTURES).glob("*.words") if _both_files(path))
        if not names or not run.result:
            continue
        name = "open-close" if "open-close" in names else names[0]
        try:
            shown = recording.prepare(str(run.folder), name)
            calls = [(call.depth, listing.named(shown, call)[0][0], listing.line(shown, call)) for call in shown.calls]
        except KitError as error:
            why = f"{run.name}: {error.message}"
            continue
        lines = [f"{'  ' * min(depth, 40)}{text}"[:_LETTERS] for depth, _, text in calls]
        return Tree(f"{name} of {run.name}", charts.flame(calls), lines[:_TREE], max(0, len(lines) - _TREE))
    return Tree(why=why)


def _both_files(words: Path) -> bool:
    """Check that a capture is two regular files; opening a pipe would wait for its writer."""
    return all(path.is_file() and not path.is_symlink() for path in (words, words.with_suffix(".json")))


def render(history: History, kernels: Kernels, tree: Tree, page: Path, *, now: float | None = None) -> str:
    """Return the text of the page.

    Args:
        page: path at which the page will be; links are relative to it.
        now: seconds since the epoch; the present if None.
    """
    style = (_HERE / STYLE).read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    cells = _cells(history.runs)
    return _template().render(
        # The style is our own file. It must not be escaped, because the policy has its hash.
        style=Markup(style),  # noqa: S704
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
        made=time.time() if now is None else now,
        history=history,
        counts=_counts(history.runs),
        cells=cells,
        tests=[(cell, *_rows(cell)) for cell in cells],
        boots=_boots(cells, len(history.runs)),
        sizes=_size_chart(cells, kernels),
        losses=_all_losses(cells, kernels),
        kernels=kernels,
        tree=tree,
        details=[(number, run, _logs(run, page), _tail(run)) for number, run in _numbered(history.runs)][::-1],
        marks=_MARKS,
        columns=_COLUMNS,
        mark=charts.mark,
    )


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = _when
    return environment.get_template(TEMPLATE)


def _finalize(value: Any) -> Any:
    """Replace control characters in what the template writes; Markup is our own and stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _when(seconds: float) -> str:
    """Format a moment in UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds else "unknown"
    except (OverflowError, ValueError, OSError):
        return "unknown"


def _numbered(runs: Sequence[Run]) -> list[tuple[int, Run]]:
    return list(enumerate(runs))


def _counts(runs: Sequence[Run]) -> dict[str, int]:
    return {status: sum(run.status == status for run in runs) for status in (*STATUSES[1:], STATUSES[0], UNREADABLE)}


def _cells(runs: Sequence[Run]) -> list[Cell]:
    groups: dict[str, list[tuple[int, Run]]] = {}
    for number, run in _numbered(runs):
        groups.setdefault(run.key(), []).append((number, run))
    return [Cell(key, groups[key]) for key in sorted(groups)]


def _rows(cell: Cell) -> tuple[list[Row], list[Row], int]:
    """Return tests that did not always pass, tests that did, and the number of tests that are left out."""
    seen = [(run, run.outcomes()) for _, run in cell.runs[-_COLUMNS:]]
    rows = []
    for name in dict.fromkeys(name for _, outcomes in seen for name in outcomes):
        marks = [outcomes.get(name, ("", "")) for _, outcomes in seen]
        answers: dict[str, set[str]] = {}
        for (run, _), (status, _why) in zip(seen, marks, strict=True):
            if status and kernel_of(run):
                answers.setdefault(kernel_of(run), set()).add(status)
        flaky = any(PASSED in statuses and statuses & {FAILED, LOST} for statuses in answers.values())
        rows.append(Row(name, [(status, why[:_LETTERS]) for status, why in marks], flaky))
    bad = [row for row in rows if {status for status, _ in row.marks} - {PASSED, ""}]
    good = [row for row in rows if row not in bad]
    left = max(0, len(bad) - _ROWS) + max(0, len(good) - _ROWS)
    return bad[:_ROWS], good[:_ROWS], left


def _boots(cells: Sequence[Cell], places: int) -> tuple[Markup, list[str]]:
    series = {}
    for cell in cells:
        points = [
            charts.Point(number, round(boot, 1), f"{run.name} ({cell.key})", f"#run-{number}")
            for number, run in cell.runs
            if (boot := run.boot_ms())
        ]
        if points:
            series[cell.key] = points
    return charts.dots(series, "ms", places), list(series)


def _size_chart(cells: Sequence[Cell], kernels: Kernels) -> tuple[Markup, list[str]]:
    """Draw the newest stored kernel of each cell, each kernel once."""
    rows, seen = [], set()
    for cell in cells:
        paths = [kernel_of(run) for _, run in cell.runs if kernel_of(run) in kernels.sizes]
        if paths and paths[-1] not in seen:
            seen.add(paths[-1])
            sizes = kernels.sizes[paths[-1]]
            rows.append((cell.key, {name: sizes[name] / 1e6 for name in (".text", ".data", ".rodata")}))
    return charts.bars(rows, "MB"), [".text", ".data", ".rodata"] if rows else []


def _all_losses(cells: Sequence[Cell], kernels: Kernels) -> list[tuple[str, str, str, str, str, str]]:
    """Return cell, symbol, asked, origin, got and reason of lost symbols, in kernels and in failed builds."""
    losses: dict[tuple[str, str, str, str, str, str], None] = {}
    for cell in cells:
        for path in dict.fromkeys(kernel_of(run) for _, run in cell.runs):
            for loss in kernels.losses.get(path, ()):
                losses[(cell.key, *loss, "")] = None
        for match in (lost for _, run in cell.runs for text in run.reasons for lost in _LOST_SYMBOL.finditer(text)):
            losses[(cell.key, match[1], match[2], match[3], match[4], match[5] or "")] = None
    return list(losses)


def _logs(run: Run, page: Path) -> list[tuple[str, str]]:
    """Return name and relative address of the logs in the run's folder."""
    return [(name, _address(run.folder / name, page)) for name in _LOGS if os.path.lexists(run.folder / name)]


def _address(path: Path, page: Path) -> str:
    """Return a relative address that starts with `./`, so that no browser takes its begin for a scheme."""
    relative = os.path.relpath(path.absolute(), page.absolute().parent)
    return f"./{quote(os.fsencode(relative))}"


def _tail(run: Run) -> list[str]:
    """Return the last lines of the console of a run that did not pass."""
    from guest import console

    if run.status == PASSED:
        return []
    lines = console.tail(run.console(), _TAIL)
    return [line[:_LETTERS] for line in lines]


def write(history: History, page: Path) -> None:
    """Write the page, with sizes from the store and a call tree from a capture.

    Raises:
        UserError: the path is a directory.
    """
    if page.is_dir():
        raise UserError(f"{page} is a directory", "give the path of a file with -o")
    text = render(history, measure_kernels(history.runs), capture_tree(history.runs), page)
    store.write_text(page, text)
