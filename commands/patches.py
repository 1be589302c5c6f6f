"""invoke patches.*: series and trees."""

from __future__ import annotations

from typing import Any

from commands.common import CELL_HELP, print_json, print_table
from core.program import command


@command(name="list", help={"json": CELL_HELP["json"]})
def list_(_c: Any, json: bool = False) -> None:
    """List the series. Example: ./invoke patches.list"""
    from patches import series

    rows = [
        {
            "name": s.name,
            "patches": len(s.patches),
            "generation": s.generation or "-",
            "layout": s.layout or "-",
            "subject": s.subject,
        }
        for s in series.load_all().values()
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("name", "patches", "generation", "layout", "subject"))


@command(
    positional=["series"],
    help={"series": CELL_HELP["series"], "linux": CELL_HELP["linux"], "json": CELL_HELP["json"]},
)
def check(_c: Any, series: str, linux: str = "7.1.8", json: bool = False) -> None:
    """Say patch by patch whether a series applies. Example: ./invoke patches.check kit --linux 7.2.8"""
    from core import sources
    from patches import apply
    from patches import series as names

    reports = apply.check(sources.source_tree(linux), names.load(series))
    if json:
        print_json([r.as_json() for r in reports])
    else:
        print_table([r.as_row() for r in reports], ("patch", "status", "files", "hunks", "reason"))
    apply.require(reports, f"Linux {linux}")


@command(name="apply", help={"series": CELL_HELP["series"], "linux": CELL_HELP["linux"]})
def apply_(_c: Any, series: str = "kit", linux: str = "7.1.8") -> None:
    """Make the patched tree in the store and print its path. Example: ./invoke patches.apply --series kit"""
    from core import sources
    from patches import apply
    from patches import series as names

    print(apply.tree(sources.source_tree(linux), names.load(series)).path / "linux")
