"""Depot: archives of products in a place that many machines reach: a directory, or an http(s) server.

What comes in is a place and keys; what goes out is archives there, or products here. Nothing that a place answers is
believed: an archive is compared with the sha256 that was published with it, then each of its files with its own list
(`sources.archive`). A half-done upload is never taken for a whole one.

Format: in a directory an archive is `KEY.tar.zst`, and appears there by a rename. A server is asked for nothing but
PUT and GET: the archive goes to `KEY-SHA256.tar.zst` and is read back; last comes `KEY.sha256`, which names it. Where
a server has only a `KEY.tar.zst`, that is taken: so releases publish toolchains (`toolchain.export`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import store
from core.errors import InfraError, UserError
from core.progress import Progress
from core.store import Product
from sources import archive
from sources.archive import SUFFIX
from sources.origins import CONNECT_SECONDS, STALL_SECONDS, without_user

# What is of one machine and means nothing on another: images are the engine's, products only tell of them.
NOT_SHARED = ("image",)
_KEY = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_NAME_LIMIT = 256
_TIMES = (CONNECT_SECONDS, STALL_SECONDS)


def is_key(text: str) -> bool:
    """Whether a text is a whole key: 64 hex digits."""
    return _KEY.fullmatch(text) is not None


def _is_server(place: str) -> bool:
    return "://" in place


def _folder(place: str) -> Path:
    """The directory of a place that is none of a server.

    Raises:
        UserError: there is no such directory.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise UserError(f"the shared store {place} is no directory", "make it, or name another")
    return folder


def _url(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"


@contextlib.contextmanager
def _server_errors(place: str) -> Iterator[None]:
    """Turn what goes wrong between here and a server into a sentence.

    Raises:
        InfraError: it cannot be reached, or the connection broke.
    """
    import requests
    import urllib3

    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise InfraError(
            f"the shared store {without_user(place)} cannot be read: {type(error).__name__}",
            "see that the server runs, or name another place",
        ) from error


def _get(place: str, name: str, sink: Path | None, limit: int) -> tuple[str, bytes] | None:
    """Read a file of a server to its end.

    Args:
        sink: where its bytes go; without one they are returned.
        limit: in bytes; what is longer is refused.

    Returns:
        The sha256 of the bytes, and the bytes if there is no sink; None if the server does not have the file.
    """
    import requests

    url, digest, kept, done = _url(place, name), hashlib.sha256(), bytearray(), 0
    with _server_errors(place), requests.get(url, stream=True, timeout=_TIMES) as answer:
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise InfraError(f"{without_user(url)}: HTTP {answer.status_code}", "see what the server says, and its log")
        length = answer.headers.get("Content-Length", "")
        total = int(length) >> 20 if length.isdigit() else None
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(sink.open("wb")) if sink else None
            progress = stack.enter_context(Progress("downloading", total, "MB")) if sink else None
            for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                done += len(chunk)
                if done > limit:
                    raise InfraError(f"{without_user(url)} has no end", "see what the server says, and its log")
                digest.update(chunk)
                if out is None:
                    kept += chunk
                    continue
                out.write(chunk)
                if progress:
                    progress.at(done >> 20)
    return digest.hexdigest(), bytes(kept)


def _put(place: str, name: str, source: Path | bytes) -> None:
    """Write a file of a server.

    Raises:
        InfraError: it refuses.
    """
    import requests

    with contextlib.ExitStack() as stack:
        body = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        with _server_errors(place):
            answer = requests.put(_url(place, name), data=body, timeout=_TIMES, allow_redirects=False)
    if answer.status_code not in (200, 201, 204):
        raise InfraError(f"{without_user(_url(place, name))}: HTTP {answer.status_code} to a PUT", "see its log")


def _published(place: str, key: str) -> str:
    """The sha256 of a key's archive on a server; empty without one.

    Raises:
        InfraError: what should be one is none.
    """
    got = _get(place, f"{key}.sha256", None, _NAME_LIMIT)
    if got is None:
        return ""
    text = got[1].decode(errors="replace").strip()
    if not _KEY.fullmatch(text):
        raise InfraError(f"{without_user(_url(place, key))}.sha256 holds no sha256", "remove it there, and push again")
    return text


@contextlib.contextmanager
def found(place: str, keys: Sequence[str]) -> Iterator[tuple[str, Path] | None]:
    """Look for archives; one that was downloaded is gone after the block.

    Args:
        place: a directory, or an http or https address of one.
        keys: which will do, the best first.

    Yields:
        The key that was found and its archive, or None.

    Raises:
        UserError: there is no such directory.
        InfraError: the server cannot be asked, or gives other bytes than it published.
    """
    if not _is_server(place):
        folder = _folder(place)
        yield next(((key, folder / f"{key}{SUFFIX}") for key in keys if (folder / f"{key}{SUFFIX}").is_file()), None)
        return
    for key in keys:
        part = store.home() / "downloads" / f"{key}{SUFFIX}.part"
        with store.lock(f"download-{key[:16]}"), store.disk_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                if _download(place, key, part):
                    yield key, part
                    return
            finally:
                part.unlink(missing_ok=True)
    yield None


def _download(place: str, key: str, part: Path) -> bool:
    """Fetch a key's archive; False if the server does not have it whole."""
    sha256 = _published(place, key)
    name = f"{key}-{sha256}{SUFFIX}" if sha256 else f"{key}{SUFFIX}"
    got = _get(place, name, part, archive.LIMIT_BYTES)
    if got is not None and sha256 and got[0] != sha256:
        raise InfraError(
            f"{without_user(_url(place, name))} has the sha256 {got[0][:12]}, published is {sha256[:12]}",
            f"remove {key}.sha256 there, and push again",
        )
    return got is not None


def names(place: str) -> list[str]:
    """The keys of a directory's archives.

    Raises:
        UserError: it is no directory; a server is not asked what it has.
    """
    if _is_server(place):
        raise UserError(
            f"{without_user(place)} is a server, which cannot be asked what it has",
            "name the keys with --key: store.push prints them",
        )
    found = [path.name.removesuffix(SUFFIX) for path in _folder(place).glob(f"*{SUFFIX}")]
    return sorted(name for name in found if _KEY.fullmatch(name))


def push(product: Product, place: str, name: str, notes: Mapping[str, Any]) -> bool:
    """Bring a product to a place.

    Args:
        name: the key under which it is looked for there.
        notes: JSON values to be kept with it.

    Returns:
        Whether it is new there.

    Raises:
        UserError: there is no such directory, or the product is of this machine alone.
        InfraError: the disk is full, the server refuses, or what it gives back is not what it got.
    """
    if product.kind in NOT_SHARED:
        raise UserError(f"a product of kind {product.kind} means nothing on another machine", "leave it out")
    if not _is_server(place):
        out = _folder(place) / f"{name}{SUFFIX}"
        if out.is_file():
            return False
        _write(product, out, notes)
        return True
    if _published(place, name):
        return False
    part = store.home() / "downloads" / f"{name}.{os.getpid()}.push{SUFFIX}"
    try:
        archive.write(product, part, notes)
        sha256 = store.hash_file(part)
        there = f"{name}-{sha256}{SUFFIX}"
        _put(place, there, part)
        got = _get(place, there, part.with_suffix(".back"), archive.LIMIT_BYTES)
        if got is None or got[0] != sha256:
            back = got[0][:12] if got else "nothing"
            raise InfraError(f"{without_user(place)} got {sha256[:12]} and gives back {back}", "see the server's log")
        _put(place, f"{name}.sha256", f"{sha256}\n".encode())
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".back").unlink(missing_ok=True)
    return True


def _write(product: Product, out: Path, notes: Mapping[str, Any]) -> None:
    """Put an archive into a directory; what stands there is read back before it gets its name.

    Raises:
        InfraError: the disk is full, or gives back other bytes.
    """
    part = store.home() / "downloads" / f"{out.name}.{os.getpid()}.push"
    beside = out.with_name(f".{out.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        archive.write(product, part, notes)
        with store.disk_errors(out):
            shutil.copyfile(part, beside)
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            if store.hash_file(beside) != store.hash_file(part):
                raise InfraError(f"{out.parent} gives back other bytes than it got", "look at its disk")
            beside.replace(out)
    finally:
        part.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)


def take(path: Path, key: str) -> Product:
    """Put the product of an archive into the store, if it is the one of a key.

    Raises:
        InfraError: it is damaged or hostile, holds another product, or the disk is full.
        UserError: it holds a link that leaves it, or is of another machine alone.
    """
    index = archive.read_index(path)
    if index.key != key:
        raise InfraError(f"{path} holds the product {index.key[:12]}, not {key[:12]}", "remove it from that place")
    if index.kind in NOT_SHARED or not re.fullmatch(r"[a-z]+", index.kind):
        raise UserError(f"{path} holds a product of kind {index.kind!r}, which is not taken from elsewhere")
    # What the maker said of its product is kept; what the store says of it is said anew.
    told = {name: value for name, value in index.metadata.items() if name not in ("content", "made", "seconds")}

    def work(tmp: Path) -> dict[str, object]:
        archive.extract(path, tmp)
        return {**told, "imported": {"from": path.name, "made": index.metadata.get("made", 0)}}

    return store.make(index.kind, index.inputs, work)
