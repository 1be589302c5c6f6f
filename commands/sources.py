"""Tasks sources.*: list, fetch and verify upstream archives."""

from __future__ import annotations

from typing import Any

from commands.tables import print_json, print_table
from commands.task import command


@command(name="list")
def list_(_c: Any, json: bool = False) -> None:
    """List the sources and their origins. Example: ./invoke sources.list"""
    from sources import catalogue

    rows = catalogue.list_sources()
    if json:
        print_json(rows)
    else:
        print_table(rows, ("name", "origin", "pinned", "here"))


@command(
    positional=["name"],
    help={"name": "source of sources.yaml", "sha256": "hash by which to accept an origin without a pinned one"},
)
def fetch(_c: Any, name: str, sha256: str = "") -> None:
    """Fetch and verify an archive. Example: ./invoke sources.fetch linux-7.1.8"""
    from sources import catalogue

    print(catalogue.fetch(name, sha256=sha256 or None))


@command()
def verify(_c: Any, json: bool = False) -> None:
    """Hash every downloaded archive again. Example: ./invoke sources.verify"""
    from core.errors import InfraError
    from sources import catalogue

    rows = catalogue.verify()
    if json:
        print_json(rows)
    else:
        print_table(rows, tuple(rows[0]) if rows else ("name",))
    wrong = [row["name"] for row in rows if row["status"] != "ok"]
    if wrong:
        raise InfraError(
            f"changed since they were fetched: {', '.join(wrong)}", "fetch them again: ./invoke sources.fetch NAME"
        )
