"""invoke store.*: what is in the store, and making room; and a store that many machines share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commands.tables import human_size, print_json, print_table
from commands.task import command


@command(name="list", help={"kind": "only products of this kind"})
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


@command(help={"days": "remove what was not used for this many days"})
def gc(_c: Any, days: float = 30.0) -> None:
    """Remove products, builds and runs not used for some days. Example: ./invoke store.gc --days 7"""
    from core import store

    gone = store.collect(days)
    for path, size in gone:
        print(f"removed {path} ({human_size(size)})")
    freed = human_size(sum(size for _path, size in gone))
    print(f"{len(gone)} removed that were not used for {days:g} days, {freed} freed")


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


def _shared(place: str, about: str, key: str, no_kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A task on a shared store: where it is, and which products by key and kind."""
    kind = f"a kind of products (store.list); may be given several times; {no_kind} if none is named"
    return command(positional=[place], iterable=["key", "kind"], help={place: about, "key": key, "kind": kind})


@_shared(
    "target",
    "a directory, or the http(s) address of a server that takes PUT",
    "only products whose key begins so; may be given several times",
    "kernel and toolchain",
)
def push(_c: Any, target: str, key: list[str], kind: list[str]) -> None:
    """Bring products to a shared store. Example: ./invoke store.push /srv/kdf --kind kernel"""
    from core import store
    from core.errors import UserError
    from toolchain import share

    kinds = kind or ["kernel", "toolchain"]
    chosen = [one for name in kinds for one in store.products(name)]
    for start in key:
        if not any(one.key.startswith(start) for one in chosen):
            raise UserError(f"no product of kind {' or '.join(kinds)} has a key that begins with {start}")
    if key:
        chosen = [one for one in chosen if one.key.startswith(tuple(key))]
    new = 0
    for one in chosen:
        fresh = share.push(one, target)
        new += fresh
        print(f"{one.kind} {share.name_of(one)} {'pushed' if fresh else 'is there'}", flush=True)
    print(f"{len(chosen)} products, {new} of them new there")


@_shared(
    "source",
    "a directory, or the http(s) address of a server",
    "keys as store.push printed them; of a directory their first digits will do, and none means all",
    "all",
)
def pull(_c: Any, source: str, key: list[str], kind: list[str]) -> None:
    """Take products out of a shared store. Example: ./invoke store.pull /srv/kdf --kind kernel"""
    from core.errors import UserError
    from sources import depot
    from toolchain import share

    whole = key
    if not key or not all(depot.is_key(one) for one in key):
        there = depot.names(source)
        for start in key:
            if not any(one.startswith(start) for one in there):
                raise UserError(f"{source} has nothing whose key begins with {start}")
        whole = [one for one in there if one.startswith(tuple(key) or "")]
    taken = 0
    for one in whole:
        found = share.pull(source, one, kind)
        if found is None and key:
            raise UserError(f"the shared store has no {' or '.join(kind) or 'product'} {one}")
        if found is not None:
            taken += 1
            print(f"{found.kind} {found.key} {found.path}", flush=True)
    print(f"{taken} products taken")
