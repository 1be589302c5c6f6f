"""invoke store.*: what is in the store, and making room."""

from __future__ import annotations

from typing import Any

from commands.common import CELL_HELP, human_size, print_json, print_table
from core.program import command


@command(name="list", help={"kind": "only products of this kind", "json": CELL_HELP["json"]})
def list_(_c: Any, kind: str = "", json: bool = False) -> None:
    """List finished products. Example: ./invoke store.list --kind kernel"""
    import time

    from core import store

    rows = [
        {
            "kind": p.kind,
            "key": p.key[:16],
            "size": human_size(store.size_of(p.path)),
            "made": time.strftime("%Y-%m-%d %H:%M", time.localtime(p.metadata.get("made", 0))),
            "seconds": p.metadata.get("seconds", ""),
            "path": str(p.path),
        }
        for p in store.products(kind or None)
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("kind", "key", "size", "made", "seconds", "path"))


@command(help={"days": "keep what was made within so many days"})
def gc(_c: Any, days: float = 30.0) -> None:
    """Remove old products, build directories and runs. Example: ./invoke store.gc --days 7"""
    from core import store

    gone = store.collect(days)
    for path, size in gone:
        print(f"removed {path} ({human_size(size)})")
    print(f"{len(gone)} removed, {human_size(sum(size for _path, size in gone))} freed")


@command()
def check(_c: Any) -> None:
    """Compare every product with what its metadata says. Example: ./invoke store.check"""
    from core import store
    from core.errors import InfraError

    damaged = store.damaged()
    for product, why in damaged:
        print(f"{product.path} {why}")
    if damaged:
        raise InfraError(f"{len(damaged)} products are damaged", "remove them; they are made again when needed")
    print(f"{len(store.products())} products, none damaged")
