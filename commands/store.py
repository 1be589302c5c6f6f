"""Tasks store.*: list and clean the store, and share it between machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commands.tables import human_size, print_json, print_table
from commands.task import command


@command(name="list", help={"kind": "kind of products to list; all if it is not given"})
def list_(_c: Any, kind: str = "", json: bool = False) -> None:
    """List finished products. Example: ./invoke store.list"""
    import time

    from core import store

    def moment(seconds: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

    rows = [
        {
            "kind": p.kind,
            "key": p.key[:16],
            "size": human_size(store.size_of(p.path)),
            "made": moment(p.metadata.get("made", 0)),
            "used": moment(store.last_used(p)),
            "seconds": p.metadata.get("seconds", ""),
            "path": str(p.path),
        }
        for p in store.products(kind or None)
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("kind", "key", "size", "made", "used", "seconds", "path"))


@command(help={"days": "number of days; what was not used for so long is removed"})
def gc(_c: Any, days: float = 30.0) -> None:
    """Remove products, builds and runs not used for some days. Example: ./invoke store.gc --days 7"""
    from core import upkeep

    gone = upkeep.collect(days)
    for path, size in gone:
        print(f"removed {path} ({human_size(size)})")
    freed = human_size(sum(size for _path, size in gone))
    print(f"{len(gone)} removed that were not used for {days:g} days, {freed} freed")


@command()
def check(_c: Any) -> None:
    """Compare every product with its metadata. Example: ./invoke store.check"""
    from core import store, upkeep
    from core.errors import InfraError

    damaged = upkeep.damaged()
    for product, why in damaged:
        print(f"{product.path} {why}")
    if damaged:
        raise InfraError(f"{len(damaged)} products are damaged", "remove them; they are made again when needed")
    print(f"{len(store.products())} products, none damaged")


def _shared(address: str, about: str, key: str, no_kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task on a shared store that takes its address by position, and products by key and kind."""
    kind = f"kind of products, as in store.list; may be given several times; by default {no_kind}"
    return command(positional=[address], iterable=["key", "kind"], help={address: about, "key": key, "kind": kind})


@_shared(
    "target",
    "directory, or http(s) address of a server that accepts PUT",
    "first digits of a key; may be given several times; all products if it is not given",
    "kernel and toolchain",
)
def push(_c: Any, target: str, key: list[str], kind: list[str]) -> None:
    """Copy products to a shared store. Example: ./invoke store.push /srv/kdf --kind kernel"""
    from core import store
    from core.errors import UserError
    from toolchain import share

    kinds = kind or ["kernel", "toolchain"]
    products = [product for name in kinds for product in store.products(name)]
    for start in key:
        if not any(product.key.startswith(start) for product in products):
            raise UserError(f"no product of kind {' or '.join(kinds)} has a key that begins with {start}")
    if key:
        products = [product for product in products if product.key.startswith(tuple(key))]
    new = 0
    for product in products:
        fresh = share.push(product, target)
        new += fresh
        print(f"{product.kind} {share.name_of(product)} {'pushed' if fresh else 'is there'}", flush=True)
    print(f"{len(products)} products, {new} of them new there")


@_shared(
    "source",
    "directory, or http(s) address of a server",
    "key as store.push printed it; the first digits are enough for a directory; all products if it is not given",
    "all",
)
def pull(_c: Any, source: str, key: list[str], kind: list[str]) -> None:
    """Copy products from a shared store. Example: ./invoke store.pull /srv/kdf --kind kernel"""
    from core.errors import UserError
    from sources import depot
    from toolchain import share

    keys = key
    if not key or not all(depot.is_key(word) for word in key):
        shared = depot.names(source)
        for start in key:
            if not any(name.startswith(start) for name in shared):
                raise UserError(f"{source} has nothing whose key begins with {start}")
        keys = [name for name in shared if name.startswith(tuple(key) or "")]
    taken = 0
    for name in keys:
        product = share.pull(source, name, kind)
        if product is None and key:
            raise UserError(f"the shared store has no {' or '.join(kind) or 'product'} {name}")
        if product is not None:
            taken += 1
            print(f"{product.kind} {product.key} {product.path}", flush=True)
    print(f"{taken} products taken")
