"""Keep finished products, named by the hash of their inputs.

A product is a directory. It is made next to its final path, gets `metadata.json` last, and is then renamed, so every
product in the store is complete. Two runs that need the same product wait for each other.
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

from core import outside
from core.errors import InfraError, KitError, UserError

METADATA = "metadata.json"
_looking: contextvars.ContextVar[bool] = contextvars.ContextVar("looking", default=False)
# Errors of flock(2) and fcntl(2) on a file system without locks.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_WORK_PREFIX = ".making-"


@dataclass(frozen=True)
class Product:
    """A complete directory in the store.

    Attributes:
        kind: `tree`, `toolchain`, `kernel`, ...
        key: sha256 of its canonical inputs, 64 hex digits.
        path: its directory.
        metadata: `inputs`, `made` (seconds since the epoch), `seconds`, and what the maker adds.
    """

    kind: str
    key: str
    path: Path
    metadata: Mapping[str, Any]


def home() -> Path:
    """Return `$KDF_HOME`, or the user's cache directory; create it if needed.

    Raises:
        InfraError: it cannot be created or written.
    """
    variable = os.environ.get("KDF_HOME")
    path = outside.path(variable).absolute() if variable else platformdirs.user_cache_path("kcov-dataflow-kit")
    with disk_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise InfraError(
                f"cannot create {path}: {error.strerror}", "point KDF_HOME at a directory of yours"
            ) from error
    return path


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into an InfraError.

    Raises:
        InfraError: the operating system refused to write below `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # A copy names its source first, and what it could not write second.
            where = error.filename2 or error.filename or path
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
    """Return the canonical JSON text of some inputs: sorted keys, no spaces, exact floats."""
    return json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of some inputs, 64 hex digits."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step: a reader sees the old content or the new one."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step.

    Raises:
        InfraError: the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a named lock below the home; if another run holds it, print that once and wait."""
    folder = home() / "locks"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        held = filelock.FileLock(folder / f"{name}.lock")
        try:
            held.acquire(timeout=0)
        except filelock.Timeout:
            print(f"waiting: another run is making {name}", file=sys.stderr, flush=True)
            held.acquire()
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            raise InfraError(
                f"the file system of {folder} has no locks, so two runs would damage the store",
                "point KDF_HOME at a file system with locks (flock), such as a local disk or NFS 4",
            ) from error
    try:
        yield
    finally:
        held.release()


def _path_of(kind: str, key: str) -> Path:
    return home() / "store" / kind / key


def product(kind: str, key: str) -> Product | None:
    """Find the product of a key and mark it as used; None if the store does not have it or the key is malformed."""
    return _taken(kind, key) if re.fullmatch(r"[0-9a-f]{64}", key) else None


def read(kind: str, key: str) -> Product | None:
    """Find the product of a key without marking it as used; None without readable metadata."""
    path = _path_of(kind, key)
    try:
        metadata = json.loads((path / METADATA).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("inputs"), dict):
        return None
    return Product(kind, key, path, metadata)


def _taken(kind: str, key: str) -> Product | None:
    product = read(kind, key)
    return mark_used(product) if product else None


def mark_used(product: Product) -> Product:
    """Record that a product is used now, so that `collect` keeps it; return it.

    `find`, `make` and `product` do this. A caller that takes a product from `products` must call it.
    """
    with contextlib.suppress(OSError):  # the store is read-only, or the product was just removed
        os.utime(product.path / METADATA)
    return product


def last_used(product: Product) -> float:
    """Return when a product was last used, or made if later; seconds since the epoch."""
    made = float(product.metadata.get("made", 0))
    try:
        return max(made, (product.path / METADATA).stat().st_mtime)
    except FileNotFoundError:
        return made


class Absent(Exception):  # noqa: N818  (not an error: an answer)
    """Something would have to be made inside a block of `looking`."""


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """Forbid making and fetching while the block runs: whatever is missing raises `Absent`."""
    before = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(before)


def may_make(what: str) -> None:
    """Raise Absent inside a block of `looking`."""
    if _looking.get():
        raise Absent(what)


def find(kind: str, inputs: Mapping[str, Any]) -> Product | None:
    """Find the product of some inputs and mark it as used; None if the store does not have it."""
    return _taken(kind, key_of(inputs))


def make(
    kind: str, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]], *, renew: bool = False
) -> Product:
    """Return the product of some inputs; make it if the store does not have it.

    Args:
        kind: of the product.
        inputs: everything that decides its content; JSON values only.
        work: fills an empty directory and returns what to add to the metadata.
        renew: make it even if the store has it.

    Raises:
        InfraError: the disk is full. Errors of `work` pass through too. Neither leaves anything in the store.
    """
    key = key_of(inputs)
    if not renew and (stored := _taken(kind, key)):
        return stored
    may_make(f"{kind} {key[:12]}")
    with lock(f"{kind}-{key[:16]}"):
        if not renew and (stored := _taken(kind, key)):
            return stored
        path = _path_of(kind, key)
        with disk_errors(path):
            sweep(path.parent, key[:16])
            temporary = path.parent / f"{_WORK_PREFIX}{key[:16]}-{os.getpid()}"
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
                if path.exists():
                    remove_tree(path)
                temporary.rename(path)
            except KitError as error:
                _keep_log(error, temporary, f"{kind}-{key[:16]}")
                raise
            finally:
                remove_tree(temporary)
    return Product(kind, key, path, metadata)


def _keep_log(error: KitError, temporary: Path, name: str) -> None:
    """Copy the log that an error names out of a directory that will be removed."""
    if error.log is not None and error.log.is_relative_to(temporary) and error.log.is_file():
        kept = home() / "logs" / f"{name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(error.log, kept)
        error.log = kept


def sweep(folder: Path, own: str = "") -> None:
    """Remove unfinished directories of killed runs.

    Whoever works in one holds the lock of its key. A number of a process says nothing: a run in another container, or
    on another machine with the same home, has numbers of its own.

    Args:
        own: the first 16 digits of a key whose lock is held here.
    """
    for entry in folder.glob(f"{_WORK_PREFIX}*") if folder.is_dir() else ():
        short = entry.name.removeprefix(_WORK_PREFIX).partition("-")[0]
        if short == own:
            remove_tree(entry)
            continue
        free = filelock.FileLock(home() / "locks" / f"{folder.name}-{short}.lock")
        try:
            free.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            continue
        try:
            remove_tree(entry)
        finally:
            free.release()


def remove_tree(path: Path) -> None:
    """Remove a directory, even if parts of it are read-only; do nothing if it does not exist."""
    if not path.exists() and not path.is_symlink():
        return

    def retry(function: Callable[[str], object], name: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(stat.S_IRWXU)
            Path(name).chmod(stat.S_IRWXU)
            function(name)

    shutil.rmtree(path, onerror=retry)


def products(kind: str | None = None) -> list[Product]:
    """List all products, or those of one kind, oldest first; does not mark them as used (`mark_used`).

    Raises:
        UserError: there is no such kind.
    """
    root = home() / "store"
    kinds = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    if kind is not None:
        if kind not in kinds:
            raise UserError(f"the store has no products of kind {kind} (it has: {', '.join(kinds) or 'none'})")
        kinds = [kind]
    listed = [
        product
        for name in kinds
        for entry in (root / name).iterdir()
        if not entry.name.startswith(".") and (product := read(name, entry.name))
    ]
    return sorted(listed, key=lambda product: product.metadata.get("made", 0))


def size_of(path: Path) -> int:
    """Return the bytes that a directory takes on disk."""
    total = 0
    for folder, _dirs, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / name).lstat().st_blocks * 512
    return total


def count_content(path: Path) -> dict[str, int]:
    """Count files and bytes below a directory, without its own metadata; a damaged product has other counts."""
    files = total = 0
    for folder, _dirs, names in os.walk(path):
        for name in names:
            entry = Path(folder) / name
            if entry == path / METADATA:
                continue
            files += 1
            total += entry.lstat().st_size
    return {"files": files, "bytes": total}
