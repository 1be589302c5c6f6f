"""Fetch, verify and unpack sources: releases that `sources.yaml` lists, or trees and commits of the user.

Takes `7.1.8`, `linux-7.1.8`, `llvm-23.1.1`, `path:DIR`, `path:ARCHIVE` or `git:REPOSITORY@COMMIT`. Gives an archive
whose sha256 was compared just now, or a product of kind `source` with the files in `path/src`. Never uses an archive
without comparing its hash, and never lets a member leave the directory that it is unpacked to.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import outside, store
from core.data import Node, load_yaml
from core.errors import InfraError, UserError, nearest
from core.store import Product
from sources import checkout, origins, unpack
from sources.origins import Origin, OriginFailed

FILE = Path(__file__).parent / "sources.yaml"
_HASH = re.compile(r"[0-9a-f]{64}")
_UNPACKER = 1  # increase it when the same archive would unpack to other files


@dataclass(frozen=True)
class Source:
    """An upstream release at a version.

    Attributes:
        origins: origins with a pinned hash, in the order in which they are tried.
        unpinned: origins whose hash is not known.
    """

    name: str
    origins: tuple[Origin, ...]
    unpinned: tuple[Origin, ...]


def load() -> tuple[str, dict[str, Source]]:
    """Return the name of the default source, and all sources of sources.yaml.

    Raises:
        UserError: the file is malformed.
    """
    root = load_yaml(FILE)
    root.only("default", "sources")
    found: dict[str, Source] = {}
    for name, node in root.mapping("sources").items():
        node.only("origins", "unpinned")
        urls = [Origin("url", url, _file_name(url)) for url in node.strings("unpinned")]
        found[name] = Source(name, tuple(_origin(item) for item in node.elements("origins")), tuple(urls))
    default = root.string("default")
    if default not in found:
        raise root.get("default").error(f"there is no source {default}{nearest(default, found)}")
    return default, found


def default_linux() -> str:
    """Return the version of Linux that is built if the user names none, such as `7.1.8`.

    Raises:
        UserError: sources.yaml is malformed.
    """
    return load()[0].removeprefix("linux-")


def _file_name(place: str) -> str:
    return place.rpartition("/")[2]


def _origin(node: Node) -> Origin:
    node.only("pool", "snapshot", "url", "file", "sha256", "bytes")
    kinds = [kind for kind in ("pool", "snapshot", "url") if node.has(kind)]
    if len(kinds) != 1:
        raise node.error("say exactly one of pool, snapshot and url")
    place = node.string(kinds[0])
    if not _HASH.fullmatch(node.string("sha256")):
        raise node.get("sha256").error("expected 64 hex digits; an origin without a known hash belongs under unpinned")
    file = node.string("file", _file_name(place))
    if kinds[0] == "snapshot" and not re.fullmatch("[0-9a-f]{40}", place):
        raise node.get("snapshot").error("expected a sha1, 40 hex digits")
    if file in ("", ".", "..") or "/" in file:
        raise node.error(f"the file name {file!r} is not a plain name")
    size = node.get("bytes").convert(int) if node.has("bytes") else 0
    return Origin(kinds[0], place, file, node.string("sha256"), size)


def find(name: str) -> Source:
    """Return a source by its name or its Linux version.

    Raises:
        UserError: there is no such source.
    """
    _default, known = load()
    source = known.get(name) or known.get(f"linux-{name}")
    if source is None:
        versions = [n.removeprefix("linux-") for n in known]
        raise UserError(f"there is no source {name}{nearest(name, [*known, *versions])}", "see ./invoke sources.list")
    return source


def _downloads() -> Path:
    folder = store.home() / "downloads"
    with store.disk_errors(folder):
        folder.mkdir(exist_ok=True)
    return folder


def _facts(file: str) -> Mapping[str, Any]:
    """Read what was recorded when an archive was fetched: origin, url, sha256, pinned_by."""
    try:
        loaded = json.loads((_downloads() / f"{file}.json").read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _candidates(source: Source, sha256: str | None) -> list[Origin]:
    """Return the origins of a source that have a hash: pinned, given now, or given by the user before."""
    if sha256 is not None:
        same = [origin for origin in source.origins if origin.sha256 == sha256]
        return same + [replace(origin, sha256=sha256) for origin in source.unpinned]
    given = [(origin, _facts(origin.file)) for origin in source.unpinned]
    remembered = [replace(o, sha256=facts["sha256"]) for o, facts in given if facts.get("pinned_by") == "user"]
    return [*source.origins, *remembered]


def _examine(candidates: list[Origin]) -> Iterator[tuple[Path, str, str]]:
    """Hash the downloaded archives, and set aside each that differs from its pins.

    Yields:
        Path, sha256, and what is wrong, or an empty string.
    """
    for file in dict.fromkeys(origin.file for origin in candidates):
        path = _downloads() / file
        if not path.is_file():
            continue
        same = [origin for origin in candidates if origin.file == file]
        sha256 = store.hash_file(path)
        if sha256 in {origin.sha256 for origin in same}:
            yield path, sha256, ""
            continue
        size, expected = path.stat().st_size, same[0].size or int(_facts(file).get("bytes", 0))
        wrong = (
            f"is truncated ({size} of {expected} bytes)"
            if size < expected
            else "was altered (its sha256 is not the pin)"
        )
        yield path, sha256, f"{wrong}: set aside as {origins.set_aside(path).name}"


def _present(candidates: list[Origin]) -> Path | None:
    """Return a verified archive that was downloaded before; print the name of each that differs from its pin."""
    for path, _sha256, wrong in _examine(candidates):
        if not wrong:
            return path
        print(f"{path} {wrong}", file=sys.stderr, flush=True)
    return None


def fetch(name: str, sha256: str | None = None) -> Path:
    """Return a verified archive of a source; fetch it if it is not here.

    Args:
        name: a source of sources.yaml or a Linux version.
        sha256: expected hash of an archive from an unpinned origin, 64 hex digits; it is remembered.

    Raises:
        UserError: there is no such source, or the hash is malformed.
        InfraError: no origin gave the pinned bytes.
    """
    source = find(name)
    if sha256 is not None and not _HASH.fullmatch(sha256):
        raise UserError(f"{sha256!r} is not a sha256", "give 64 hex digits in lower case")
    with store.lock(f"download-{source.name}"):
        candidates = _candidates(source, sha256)
        present = _present(candidates)
        if present is not None:
            return present
        store.may_make(f"a download of {source.name}")
        failed: list[str] = []
        for origin in candidates:
            path = _from(source, origin, failed, by_user=origin.place in {o.place for o in source.unpinned})
            if path is not None:
                return path
        tried = {origin.place for origin in candidates}
        for origin in (*source.origins, *source.unpinned):
            if origin.place not in tried:
                why = "is pinned to another hash" if origin.sha256 else "its hash is not known here: give --sha256"
                failed.append(f"{origin.shown}: {why}")
    raise InfraError(
        f"{source.name} could not be fetched: " + "; ".join(failed),
        f"check the network, or name a hash: ./invoke sources.fetch {source.name} --sha256 HASH",
    )


def _from(source: Source, origin: Origin, failed: list[str], *, by_user: bool) -> Path | None:
    """Fetch an archive from one origin; if that fails, add the reason to `failed` and return None."""
    path = _downloads() / origin.file
    part = path.with_name(path.name + ".part")
    try:
        urls = origins.addresses(origin)
    except OriginFailed as error:
        failed.append(f"{origin.shown}: {error}")
        return None
    for url in urls:
        started = time.monotonic()
        try:
            origins.download(url, origin, part)
        except OriginFailed as error:
            failed.append(f"{origin.shown}: {error}")
            print(f"{source.name}: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        facts = {
            "source": source.name,
            "origin": origin.kind,
            "url": origins.without_user(url),
            "sha256": origin.sha256,
            "bytes": part.stat().st_size,
            "pinned_by": "user" if by_user else FILE.name,
        }
        store.write_json(path.with_name(path.name + ".json"), facts)
        part.replace(path)
        _sync(path.parent)
        size = path.stat().st_size / 1e6
        spent = time.monotonic() - started
        print(f"{source.name}: {size:.1f} MB from {facts['url']} in {spent:.1f} s", file=sys.stderr, flush=True)
        return path
    return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def list_sources() -> list[dict[str, str]]:
    """List all origins: rows of `name`, `default`, `origin`, `pinned` (hash or advice), `here` (yes, part or empty)."""
    default, known = load()
    rows = []
    for source in known.values():
        remembered = {o.place: o.sha256 for o in _candidates(source, None)}
        for origin in (*source.origins, *source.unpinned):
            path = _downloads() / origin.file
            part = path.with_name(path.name + ".part").exists()
            rows.append(
                {
                    "name": source.name,
                    "default": "yes" if source.name == default else "",
                    "origin": origin.shown,
                    "pinned": remembered.get(origin.place) or "no: needs --sha256",
                    "here": "yes" if path.exists() else "part" if part else "",
                }
            )
    return rows


def verify() -> list[dict[str, str]]:
    """Compare every downloaded archive with its pin: rows of `file`, `status` (ok or what is wrong), `sha256`.

    A file that differs is set aside. The next use fetches it again.
    """
    rows: list[dict[str, str]] = []
    for source in load()[1].values():
        with store.lock(f"download-{source.name}"):
            for path, sha256, wrong in _examine(_candidates(source, None)):
                rows.append({"file": str(path), "status": wrong or "ok", "sha256": sha256})
    return rows


def source_tree(spec: str) -> Product:
    """Return the product with the files of a source, in `path/src`; make it if the store does not have it.

    Args:
        spec: a name or Linux version of sources.yaml, `path:DIR`, `path:ARCHIVE`, or `git:REPOSITORY@COMMIT`.

    Raises:
        UserError: there is no such source, tree or commit.
        InfraError: it cannot be fetched, unpacked or stored.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind == "path":
        return _user_tree(_user_path(rest))
    if colon and kind == "git":
        return _git_tree(rest)
    source = find(spec)
    for origin in _candidates(source, None):
        product = store.find("source", _archive_inputs(origin.sha256))
        if product is not None:
            return product
    path = fetch(spec)
    return _unpacked(path, dict(_facts(path.name)))


def _archive_inputs(sha256: str) -> dict[str, Any]:
    return {"sha256": sha256, "unpacker": _UNPACKER}


def _unpacked(path: Path, facts: Mapping[str, Any]) -> Product:
    inputs = _archive_inputs(store.hash_file(path))

    def work(tmp: Path) -> dict[str, Any]:
        unpack.unpack(path, tmp / "src")
        return {"origin": {**facts, "file": path.name}}

    return store.make("source", inputs, work)


def check(spec: str) -> None:
    """Check the name of a source as far as possible without fetching anything.

    Args:
        spec: as for `source_tree`.

    Raises:
        UserError: there is no such source, directory, archive, or commit on this machine.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind == "path":
        _user_path(rest)
    elif colon and kind == "git":
        repository, revision = _commit(rest)
        if ":" not in repository or outside.path(repository).is_dir():
            checkout.git_commit(repository, revision)
    else:
        find(spec)


def _user_path(rest: str) -> Path:
    root = outside.path(rest)
    if not root.is_file() and not root.is_dir():
        raise UserError(f"there is no directory or archive {root}")
    return root


def _commit(rest: str) -> tuple[str, str]:
    """Split `REPOSITORY@COMMIT` into repository and revision."""
    repository, at, revision = rest.rpartition("@")
    if not at or not re.fullmatch(r"[\w][\w./~^+-]*", revision) or not repository or repository.startswith("-"):
        raise UserError(f"git:{rest} does not name a commit", "write git:REPOSITORY@COMMIT")
    return repository, revision


def _git_tree(rest: str) -> Product:
    repository, revision = _commit(rest)
    git_dir, commit = checkout.git_commit(repository, revision)

    def work(tmp: Path) -> dict[str, Any]:
        checkout.git_export(repository, git_dir, commit, tmp / "src")
        unpack.check_links(tmp / "src", unpack.links(tmp / "src"), repository)
        return {"origin": {"origin": "git", "url": origins.without_user(repository), "revision": revision}}

    return store.make("source", {"git": commit}, work)


def _user_tree(root: Path) -> Product:
    if root.is_file():
        return _unpacked(root, {"origin": "path", "url": str(root.absolute())})
    state, files = checkout.tree_files(root)
    if not files:
        raise UserError(f"the directory {root} is empty")

    def work(tmp: Path) -> dict[str, Any]:
        try:
            checkout.copy_tree(root, files, tmp / "src")
            same = checkout.tree_files(root)[0] == state
        except FileNotFoundError:
            same = False
        if not same:
            raise UserError(
                f"{root} changed while it was copied", "stop what writes to it, then run the same command again"
            )
        unpack.check_links(tmp / "src", unpack.links(tmp / "src"), str(root))
        return {"origin": {"origin": "path", "url": str(root.absolute())}}

    return store.make("source", {"state": state}, work)
