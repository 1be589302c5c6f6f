"""Look after the store: find damaged products, and remove what nobody uses."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from core import store
from core.errors import UserError
from core.store import Product

_MOST_DAYS = 36_500.0


def damaged() -> list[tuple[Product, str]]:
    """Return products that differ from their metadata in count, size or hash of files, with a reason each."""
    bad = [(store.Product(path.parent.name, path.name, path, {}), "has no readable metadata") for path in _unreadable()]
    for product in store.products():
        now = store.count_content(product.path)
        then = product.metadata.get("content", now)
        if now != then:
            bad.append((product, f"has {now['files']} files of {now['bytes']} bytes, was made with {then}"))
            continue
        hashes = product.metadata.get("files", {})
        wrong = [name for name, facts in hashes.items() if not _holds(product.path, name, facts)]
        if wrong:
            bad.append((product, f"differs in {', '.join(sorted(wrong))}"))
    return bad


def _unreadable() -> list[Path]:
    """List directories in the place of a product whose metadata is missing or malformed."""
    root = store.home() / "store"
    return sorted(
        entry
        for kind in (root.iterdir() if root.is_dir() else ())
        if kind.is_dir()
        for entry in kind.iterdir()
        if re.fullmatch(r"[0-9a-f]{64}", entry.name) and store.read(kind.name, entry.name) is None
    )


def _holds(root: Path, name: str, facts: Any) -> bool:
    """Check that a file below a product has the hash of its metadata; a name that leaves the product has none."""
    path = root / name
    try:
        return (
            path.resolve().is_relative_to(root.resolve())
            and path.is_file()
            and store.hash_file(path) == facts["sha256"]
        )
    except (OSError, KeyError, TypeError, ValueError):
        return False


def collect(keep_days: float) -> list[tuple[Path, int]]:
    """Remove what was not used for some days, and unfinished products of killed runs.

    Args:
        keep_days: remove products not used for so many days, and build directories and runs not changed for so many.

    Returns:
        The removed paths with their sizes, bytes.

    Raises:
        UserError: the number of days is negative, or none.
    """
    if not 0 <= keep_days < _MOST_DAYS:
        raise UserError(
            f"{keep_days:g} is not a number of days to keep things", "give 0 to remove all that is not in use"
        )
    gone: list[tuple[Path, int]] = []
    limit = time.time() - keep_days * 86400
    root = store.home()
    old: list[tuple[Path, Product | None]] = [(p.path, p) for p in store.products() if store.last_used(p) < limit]
    for folder in (root / "build", root / "runs"):
        if folder.is_dir():
            old += [(entry, None) for entry in folder.iterdir() if entry.stat().st_mtime < limit]
    for kind in (root / "store").iterdir() if (root / "store").is_dir() else ():
        store.sweep(kind)
    for path, product in old:
        with store.lock(f"{path.parent.name}-{path.name[:16]}"):
            if product and store.last_used(product) >= limit:
                continue  # another run has used it meanwhile
            size = store.size_of(path)
            store.remove_tree(path)
            gone.append((path, size))
    return gone
