"""Tasks report.*: show runs as a page or as JUnit, and compare them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.tables import print_json, print_table
from commands.task import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from report.comparison import Comparison


@command(
    short={"output": "o"},
    help={
        "output": "file to write; report.html in $KDF_HOME if it is not given",
        "runs": "number of runs to show, newest first",
    },
)
def html(_c: Any, output: str = "", runs: int = 60) -> None:
    """Write the latest runs as one HTML page that needs no network. Example: ./invoke report.html -o report.html"""
    from core import store
    from core.errors import UserError, one_line
    from report import history, html

    if runs < 1:
        raise UserError("a page needs at least one run", "use --runs 60")
    history.home().mkdir(parents=True, exist_ok=True)
    known = history.load(history.home(), runs)
    path = Path(output) if output else store.home() / "report.html"
    html.write(known, path)
    broken = [run for run in known.runs if run.problem]
    print(f"{len(known.runs)} runs, {len(broken)} of them cannot be read; {known.left} older ones left out")
    for run in broken:
        print(one_line(f"unreadable: {run.folder}: {run.problem}"), file=sys.stderr)
    print(path.resolve())


@command(
    help={
        "before": "run, matrix run, or directory of runs",
        "after": "later run, matrix run, or directory of runs",
    }
)
def compare(_c: Any, before: str, after: str, json: bool = False) -> None:
    """Compare two runs, or two directories of runs. Example: ./invoke report.compare RUN-A RUN-B"""
    from dataclasses import replace

    from core.errors import UnderTest
    from report import comparison, history, html

    first, second = history.named(before), history.named(after)
    kernels = html.measure_kernels((*first, *second))
    compared = comparison.compare(first, second, lambda run: kernels.sizes.get(html.kernel_of(run), {}))
    unknown = [f"no sizes of the kernel {path}: {why}" for path, why in kernels.problems.items()]
    compared = replace(compared, notes=[*compared.notes, *unknown])
    if json:
        print_json(compared.as_json())
    else:
        _print(compared)
    if compared.broke:
        count = sum(change.broke for change in compared.changes)
        what = "1 result does" if count == 1 else f"{count} results do"
        raise UnderTest(f"{what} not pass any more", "read the broken and the missing ones above")


@command(
    short={"output": "o"},
    help={"runs": "run, matrix run, or directory of runs", "output": "file to write"},
)
def junit(_c: Any, runs: str, output: str = "junit.xml") -> None:
    """Write runs as JUnit's XML for a CI system. Example: ./invoke report.junit RUN -o junit.xml"""
    from core import store
    from report import history, junit

    known = history.named(runs)
    store.write_text(Path(output), junit.junit_of(known))
    print(f"{len(known)} runs in {Path(output).resolve()}")


def _print(compared: Comparison) -> None:
    from core.errors import one_line

    for note in (*compared.notes, *(f"unreadable: {folder}" for folder in compared.unreadable)):
        print(one_line(note))
    for name, keys in (("before", compared.only_before), ("after", compared.only_after)):
        for key in keys:
            print(one_line(f"only {name}: {key}"))
    if compared.changes:
        rows = [
            {
                "change": change.kind,
                "before": "/".join(change.before),
                "after": "/".join(change.after),
                "test": change.name,
                "why": " ".join(change.why.split()),
                "cell": change.key,
            }
            for change in compared.changes
        ]
        print_table(rows, ("change", "before", "after", "test", "cell", "why"))
    metrics = [
        metric for metric in compared.metrics if metric.changed or (metric.note and metric.before != metric.after)
    ]
    if metrics:
        rows = [
            {
                "figure": metric.name,
                "unit": metric.unit,
                "before": _range(metric.before),
                "after": _range(metric.after),
                "grew": f"{metric.percent:+.2f}%" if metric.changed else "?",
                "cell": metric.key,
                "note": metric.note,
            }
            for metric in metrics
        ]
        print_table(rows, ("figure", "unit", "before", "after", "grew", "cell", "note"))
    print(f"{compared.compared} cells compared, {len(compared.changes)} changes")


def _range(values: Sequence[float]) -> str:
    """Return the lowest and the highest value, or the only one."""
    low, high = (f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}..{high}"
