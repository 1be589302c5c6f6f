"""Share products between machines through a directory or an http(s) server.

Takes such a shared store and keys. Writes archives there, or puts the products of its archives into the local store.
Compares each archive with its published sha256, and each file with the archive's index. Never uses a partial upload.

Format: in a directory an archive is `KEY.tar.zst`, and gets this name by a rename. A server only needs PUT and GET. The
archive goes to `KEY-SHA256.tar.zst` and is read back. After that `KEY.sha256` is written, which contains the SHA256. If
a server has only `KEY.tar.zst`, that is taken, because releases publish toolchains like that (`toolchain.export`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from core import outside, store
from core.errors import InfraError, UserError
from core.progress import Progress
from core.store import Product
from sources import archive, http
from sources.archive import SUFFIX, Index
from sources.origins import without_user

# Kinds of products that are useless on another machine: an image is kept by the engine, the product only names it.
NOT_SHARED = ("image",)
# A source is what its pinned sha256 says, and is fetched from an origin: another machine's word does not replace it.
NOT_TAKEN = (*NOT_SHARED, "source")
_KEY = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_NAME_LIMIT = 256


class FileFacts(TypedDict):
    """Size in bytes and sha256 of a file of a product."""

    size: int
    sha256: str


class AnyFacts(TypedDict, total=False):
    """What is kept of the metadata of a product of any kind."""

    files: dict[str, FileFacts]


class KernelFacts(AnyFacts, total=False):
    """The metadata of a kernel, as kernel.compilation writes it."""

    cell: dict[str, str | bool | list[str]]
    release: str
    tree: str
    toolchain_manifest: dict[str, Any]
    layout: str
    make_seconds: float
    cpu_seconds: float
    warnings: int
    frames: dict[str, int]
    gate_text_sha256: str | None
    objects: int
    jobs: int
    ccache: dict[str, int]
    command: list[str]


def is_key(text: str) -> bool:
    """Check whether a text is a whole key: 64 hex digits."""
    return _KEY.fullmatch(text) is not None


def _is_server(shared: str) -> bool:
    """Check whether a shared store is a server.

    Raises:
        UserError: it is a malformed address.
    """
    if "://" not in shared:
        return False
    outside.address(shared)
    return True


def _folder(shared: str) -> Path:
    """Return the directory of a shared store that is not a server.

    Raises:
        UserError: there is no such directory.
    """
    folder = outside.path(shared)
    if not folder.is_dir():
        raise UserError(f"the shared store {shared} is not a directory", "create it, or name another")
    return folder


def _url(shared: str, name: str) -> str:
    return f"{shared.rstrip('/')}/{name}"


@contextlib.contextmanager
def _server_errors(shared: str) -> Iterator[None]:
    """Turn errors of a connection to a server into an InfraError.

    Raises:
        InfraError: the server cannot be reached, or the connection broke.
    """
    import requests
    import urllib3

    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise InfraError(
            f"the shared store {without_user(shared)} cannot be read: {type(error).__name__}",
            "check that the server runs, or name another",
        ) from error


def _get(shared: str, name: str, sink: Path | None, limit: int) -> tuple[str, bytes] | None:
    """Read a file of a server to its end.

    Args:
        sink: file for the bytes; if it is None, they are returned.
        limit: bytes; a longer file is refused.

    Returns:
        The sha256 of the bytes, and the bytes if there is no sink; None if the server does not have the file.
    """
    url, digest, content, length_read = _url(shared, name), hashlib.sha256(), bytearray(), 0
    with _server_errors(shared), http.get(url) as answer:
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise InfraError(f"{without_user(url)}: HTTP {answer.status}", "read the server's log")
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(sink.open("wb")) if sink else None
            progress = stack.enter_context(Progress("downloading", answer.length >> 20 or None, "MB")) if sink else None
            try:
                for chunk in answer.pieces(limit):
                    length_read += len(chunk)
                    digest.update(chunk)
                    if out is None:
                        content += chunk
                        continue
                    out.write(chunk)
                    if progress:
                        progress.at(length_read >> 20)
            except http.TooMuch:
                raise InfraError(f"{without_user(url)} is longer than {limit} bytes", "read the server's log") from None
    return digest.hexdigest(), bytes(content)


def _put(shared: str, name: str, source: Path | bytes) -> None:
    """Write a file to a server.

    Raises:
        InfraError: the server refuses it or cannot be reached.
    """
    with http.read(source) as body, _server_errors(shared):
        status = http.put(_url(shared, name), body)
    if status not in (200, 201, 204):
        raise InfraError(f"{without_user(_url(shared, name))}: HTTP {status} to a PUT", "read the server's log")


def _published(shared: str, key: str) -> str:
    """Return the sha256 of a key's archive on a server; empty if none is published.

    Raises:
        InfraError: the published file does not contain a sha256.
    """
    answer = _get(shared, f"{key}.sha256", None, _NAME_LIMIT)
    if answer is None:
        return ""
    text = answer[1].decode(errors="replace").strip()
    if not _KEY.fullmatch(text):
        raise InfraError(f"{without_user(_url(shared, key))}.sha256 is not a sha256", "remove it and push again")
    return text


@contextlib.contextmanager
def found(shared: str, keys: Sequence[str]) -> Iterator[tuple[str, Path] | None]:
    """Look for the archive of one of several keys; a downloaded archive is removed after the block.

    Args:
        shared: a directory, or an http or https address of one.
        keys: acceptable keys, the best first.

    Yields:
        The key that was found and its archive, or None.

    Raises:
        UserError: there is no such directory.
        InfraError: the server cannot be reached, or the archive differs from the published sha256.
    """
    if not _is_server(shared):
        folder = _folder(shared)
        yield next(((key, folder / f"{key}{SUFFIX}") for key in keys if (folder / f"{key}{SUFFIX}").is_file()), None)
        return
    for key in keys:
        part = store.home() / "downloads" / f"{key}{SUFFIX}.part"
        with store.lock(f"download-{key[:16]}"), store.disk_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                if _download(shared, key, part):
                    yield key, part
                    return
            finally:
                part.unlink(missing_ok=True)
    yield None


def _download(shared: str, key: str, part: Path) -> bool:
    """Fetch a key's archive; return False if the server does not have it."""
    sha256 = _published(shared, key)
    name = f"{key}-{sha256}{SUFFIX}" if sha256 else f"{key}{SUFFIX}"
    answer = _get(shared, name, part, archive.LIMIT_BYTES)
    if answer is not None and sha256 and answer[0] != sha256:
        raise InfraError(
            f"{without_user(_url(shared, name))} has the sha256 {answer[0][:12]}, published is {sha256[:12]}",
            f"remove {key}.sha256 there, and push again",
        )
    return answer is not None


def names(shared: str) -> list[str]:
    """List the keys of the archives in a directory.

    Raises:
        UserError: the shared store is a server, which cannot list its files, or is not a directory.
    """
    if _is_server(shared):
        raise UserError(
            f"{without_user(shared)} is a server, which cannot list its archives",
            "give keys with --key; store.push prints them",
        )
    keys = [path.name.removesuffix(SUFFIX) for path in _folder(shared).glob(f"*{SUFFIX}")]
    return sorted(name for name in keys if _KEY.fullmatch(name))


def push(product: Product, shared: str, name: str, notes: Mapping[str, Any]) -> bool:
    """Write a product to a shared store.

    Args:
        name: the key under which others look for it.
        notes: JSON values to store in the index of the archive.

    Returns:
        True if it is new there, False if it was there before.

    Raises:
        UserError: there is no such directory, or the product is useless on another machine.
        InfraError: the disk is full, the server refuses it, or the server returns other bytes than it received.
    """
    if product.kind in NOT_SHARED:
        raise UserError(f"a product of kind {product.kind} is useless on another machine", "leave it out")
    if not _is_server(shared):
        path = _folder(shared) / f"{name}{SUFFIX}"
        if path.is_file():
            return False
        _write(product, path, notes)
        return True
    if _published(shared, name):
        return False
    part = store.home() / "downloads" / f"{name}.{os.getpid()}.push{SUFFIX}"
    try:
        archive.write(product, part, notes)
        sha256 = store.hash_file(part)
        remote_name = f"{name}-{sha256}{SUFFIX}"
        _put(shared, remote_name, part)
        answer = _get(shared, remote_name, part.with_suffix(".back"), archive.LIMIT_BYTES)
        if answer is None or answer[0] != sha256:
            returned = answer[0][:12] if answer else "nothing"
            raise InfraError(
                f"{without_user(shared)} received {sha256[:12]} and returns {returned}", "read the server's log"
            )
        _put(shared, f"{name}.sha256", f"{sha256}\n".encode())
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".back").unlink(missing_ok=True)
    return True


def _write(product: Product, out: Path, notes: Mapping[str, Any]) -> None:
    """Write an archive into a directory; it is read back before it gets its name.

    Raises:
        InfraError: the disk is full, or returns other bytes than were written.
    """
    part = store.home() / "downloads" / f"{out.name}.{os.getpid()}.push"
    temporary = out.with_name(f".{out.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        archive.write(product, part, notes)
        with store.disk_errors(out):
            shutil.copyfile(part, temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            if store.hash_file(temporary) != store.hash_file(part):
                raise InfraError(f"{out.parent} returns other bytes than were written", "check its disk")
            temporary.replace(out)
    finally:
        part.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def take(path: Path, key: str) -> Product:
    """Put the product of an archive into the store, if it has the expected key.

    Raises:
        InfraError: the archive is damaged or hostile, contains another product, or the disk is full.
        UserError: the archive contains a link that leaves it, or a product that is useless on another machine.
    """
    index = archive.read_index(path)
    if index.key != key:
        raise InfraError(
            f"{path} contains the product {index.key[:12]}, not {key[:12]}", "remove it from the shared store"
        )
    if index.kind in NOT_TAKEN or not re.fullmatch(r"[a-z]{1,32}", index.kind):
        shown = outside.shortened(index.kind, 40)
        raise UserError(f"{path} contains a product of kind {shown}, which is not taken from another machine")
    metadata = _rebuilt(index, path)

    def work(tmp: Path) -> dict[str, object]:
        # The archive may have been replaced since its index was read.
        if archive.extract(path, tmp) != index:
            raise InfraError(f"{path} changed while it was read", "run the same command again")
        made = index.metadata.get("made", 0)
        return {**metadata, "imported": {"from": path.name, "made": made if isinstance(made, int) else 0}}

    return store.make(index.kind, index.inputs, work)


def _rebuilt(index: Index, path: Path) -> dict[str, Any]:
    """Return the metadata of an archive as far as its schema knows it; nothing else is taken over.

    Raises:
        InfraError: it has other types, or names files that the archive does not have.
    """
    import msgspec

    try:
        known = msgspec.convert(dict(index.metadata), KernelFacts if index.kind == "kernel" else AnyFacts)
    except msgspec.ValidationError as error:
        raise InfraError(f"the metadata of {path} is malformed: {error}", "export it again") from error
    members = {entry.name: (entry.size, entry.sha256) for entry in index.entries}
    for name, facts in known.get("files", {}).items():
        if members.get(name) != (facts["size"], facts["sha256"]):
            shown = outside.shortened(name, 60)
            raise InfraError(
                f"the metadata of {path} says something else about {shown} than its index", "export it again"
            )
    return dict(known)
