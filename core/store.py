"""Finished products, named by the hash of what they were made from.

A product is a directory. It is made in a temporary sibling, gets `metadata.json` last, and is then renamed to its
place: what stands in the store is complete. Two runs that want the same product wait for each other.
The time of the file `metadata.json` is when the product was last used; it is not part of any hash or archive.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from core.errors import InfraError, KitError, UserError

METADATA = "metadata.json"
_looking: contextvars.ContextVar[bool] = contextvars.ContextVar("looking", default=False)
_WORK_PREFIX = ".making-"


@dataclass(frozen=True)
class Product:
    """A complete directory in the store.

    Attributes:
        kind: what room made it: `tree`, `toolchain`, `kernel`, ...
        key: sha256 of its canonical inputs, 64 hex digits.
        path: its directory.
        metadata: `inputs`, `made` (seconds since the epoch), `seconds`, and what the maker added.
    """

    kind: str
    key: str
    path: Path
    metadata: Mapping[str, Any]


def home() -> Path:
    """`$KDF_HOME`, or the user's cache directory; made if absent.

    Raises:
        InfraError: it cannot be made or written.
    """
    named = os.environ.get("KDF_HOME")
    path = Path(named).expanduser().absolute() if named else platformdirs.user_cache_path("kcov-dataflow-kit")
    with disk_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise InfraError(
                f"cannot make {path}: {error.strerror}", "point KDF_HOME at a directory of yours"
            ) from error
    return path


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence.

    Raises:
        InfraError: the operating system refused to write below `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or path
            raise InfraError(
                f"the disk is full: writing {where} failed",
                "free some space or point KDF_HOME at a larger disk, then run the same command again",
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            where = error.filename or path
            raise InfraError(
                f"cannot write {where}: {error.strerror}", "point KDF_HOME at a directory of yours"
            ) from error
        raise


def canonical(inputs: Mapping[str, Any]) -> str:
    """The one JSON text of some inputs: sorted keys, no spaces, no floats lost."""
    return json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_of(inputs: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of some inputs, 64 hex digits."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, so that a reader sees the old one or the new one."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step.

    Raises:
        InfraError: the disk is full or read-only.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock by name below the home; says once if somebody else has it, then waits."""
    folder = home() / "locks"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        held = filelock.FileLock(folder / f"{name}.lock")
        try:
            held.acquire(timeout=0)
        except filelock.Timeout:
            print(f"waiting: another run is making {name}", file=sys.stderr, flush=True)
            held.acquire()
    try:
        yield
    finally:
        held.release()


def _place(kind: str, key: str) -> Path:
    return home() / "store" / kind / key


def product(kind: str, key: str) -> Product | None:
    """Find the product of a key, to use it; None if the store has none, or if it is not a key."""
    return _taken(kind, key) if re.fullmatch(r"[0-9a-f]{64}", key) else None


def _read(kind: str, key: str) -> Product | None:
    path = _place(kind, key)
    try:
        metadata = json.loads((path / METADATA).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return None
    return Product(kind, key, path, metadata)


def _taken(kind: str, key: str) -> Product | None:
    there = _read(kind, key)
    return mark_used(there) if there else None


def mark_used(product: Product) -> Product:
    """Record that a product is used now, so that `collect` keeps it; returns it.

    `find`, `make` and `product` do this. Whoever takes one out of the list of `products` calls it.
    """
    with contextlib.suppress(OSError):  # a store that is read-only, or a product that was removed just now
        os.utime(product.path / METADATA)
    return product


def last_used(product: Product) -> float:
    """Return when a product was last used, or made if it was not used since; seconds since the epoch."""
    made = float(product.metadata.get("made", 0))
    try:
        return max(made, (product.path / METADATA).stat().st_mtime)
    except FileNotFoundError:
        return made


class Absent(Exception):  # noqa: N818  (no error: an answer)
    """Something would have to be made, while we only look (`looking`)."""


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """A block in which nothing is made or fetched: what is not there raises `Absent`."""
    before = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(before)


def may_make(what: str) -> None:
    """Raises Absent if we only look."""
    if _looking.get():
        raise Absent(what)


def find(kind: str, inputs: Mapping[str, Any]) -> Product | None:
    """Find the product of some inputs, to use it; None if it is not there."""
    return _taken(kind, key_of(inputs))


def make(
    kind: str, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]], *, renew: bool = False
) -> Product:
    """The product of some inputs; made now if it is not there.

    Args:
        kind: the room that makes it.
        inputs: all that decides its content; JSON values only.
        work: fills an empty directory and returns what to add to the metadata.
        renew: make it even if it is there.

    Raises:
        InfraError: the disk is full; whatever `work` raises. Nothing is left in the store then.
    """
    key = key_of(inputs)
    if not renew and (there := _taken(kind, key)):
        return there
    may_make(f"{kind} {key[:12]}")
    with lock(f"{kind}-{key[:16]}"):
        if not renew and (there := _taken(kind, key)):
            return there
        place = _place(kind, key)
        with disk_errors(place):
            _sweep(place.parent)
            temporary = place.parent / f"{_WORK_PREFIX}{key[:16]}-{os.getpid()}"
            remove_tree(temporary)
            temporary.mkdir(parents=True)
            started = time.time()
            try:
                extra = work(temporary)
                metadata = {
                    **extra,
                    "content": count_content(temporary),
                    "inputs": dict(inputs),
                    "made": int(started),
                    "seconds": round(time.time() - started, 2),
                }
                write_json(temporary / METADATA, metadata)
                if place.exists():
                    remove_tree(place)
                temporary.rename(place)
            except KitError as error:
                _keep_log(error, temporary, f"{kind}-{key[:16]}")
                raise
            finally:
                remove_tree(temporary)
    return Product(kind, key, place, metadata)


def _keep_log(error: KitError, temporary: Path, name: str) -> None:
    """Copy the log that an error names out of a directory that is about to go."""
    if error.log is not None and error.log.is_relative_to(temporary) and error.log.is_file():
        kept = home() / "logs" / f"{name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(error.log, kept)
        error.log = kept


def _sweep(folder: Path) -> None:
    """Remove what killed runs left half-made: directories whose process is gone."""
    for entry in folder.glob(f"{_WORK_PREFIX}*") if folder.is_dir() else ():
        pid = entry.name.rpartition("-")[2]
        if pid.isdigit() and int(pid) != os.getpid() and not Path("/proc", pid).exists():
            remove_tree(entry)


def remove_tree(path: Path) -> None:
    """Remove a directory, also one whose parts are read-only; nothing if it is not there."""
    if not path.exists() and not path.is_symlink():
        return

    def retry(function: Callable[[str], object], name: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(stat.S_IRWXU)
            Path(name).chmod(stat.S_IRWXU)
            function(name)

    shutil.rmtree(path, onerror=retry)


def products(kind: str | None = None) -> list[Product]:
    """List all products, or those of one kind, oldest first; this uses none of them (`mark_used`).

    Raises:
        UserError: there is no such kind.
    """
    root = home() / "store"
    kinds = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    if kind is not None:
        if kind not in kinds:
            raise UserError(f"the store has no products of kind {kind} (it has: {', '.join(kinds) or 'none'})")
        kinds = [kind]
    found = [
        there
        for name in kinds
        for entry in (root / name).iterdir()
        if not entry.name.startswith(".") and (there := _read(name, entry.name))
    ]
    return sorted(found, key=lambda product: product.metadata.get("made", 0))


def size_of(path: Path) -> int:
    """Bytes that a directory takes on disk."""
    total = 0
    for folder, _dirs, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / name).lstat().st_blocks * 512
    return total


def count_content(path: Path) -> dict[str, int]:
    """Files and bytes below a directory, its own metadata not counted: what a damaged product differs in."""
    files = total = 0
    for folder, _dirs, names in os.walk(path):
        for name in names:
            entry = Path(folder) / name
            if entry == path / METADATA:
                continue
            files += 1
            total += entry.lstat().st_size
    return {"files": files, "bytes": total}


def damaged() -> list[tuple[Product, str]]:
    """Products that are not what their metadata says: other files, sizes, or bytes where hashes are kept."""
    found: list[tuple[Product, str]] = []
    for product in products():
        now = count_content(product.path)
        then = product.metadata.get("content", now)
        if now != then:
            found.append((product, f"has {now['files']} files of {now['bytes']} bytes, was made with {then}"))
            continue
        hashes = product.metadata.get("files", {})
        wrong = [name for name, facts in hashes.items() if hash_file(product.path / name) != facts["sha256"]]
        if wrong:
            found.append((product, f"differs in {', '.join(sorted(wrong))}"))
    return found


def collect(keep_days: float) -> list[tuple[Path, int]]:
    """Remove what was not used for some days, and what killed runs left half-made.

    Args:
        keep_days: days without use after which a product goes, or a build directory or a run that did not change.

    Returns:
        What went, with its size in bytes.
    """
    gone: list[tuple[Path, int]] = []
    limit = time.time() - keep_days * 86400
    root = home()
    old: list[tuple[Path, Product | None]] = [(p.path, p) for p in products() if last_used(p) < limit]
    for folder in (root / "build", root / "runs"):
        if folder.is_dir():
            old += [(entry, None) for entry in folder.iterdir() if entry.stat().st_mtime < limit]
    for kind in (root / "store").iterdir() if (root / "store").is_dir() else ():
        _sweep(kind)
    for path, product in old:
        with lock(f"{path.parent.name}-{path.name[:16]}"):
            if product and last_used(product) >= limit:
                continue  # another run took it meanwhile
            size = size_of(path)
            remove_tree(path)
            gone.append((path, size))
    return gone
