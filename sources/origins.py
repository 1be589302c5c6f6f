"""Find the addresses of an archive, and download it.

Takes an `Origin` of sources.yaml and gives bytes whose hash was compared. The address of Debian's archive comes from
the apt configuration of this machine, and that of the snapshot archive from `KDF_SNAPSHOT`. No address is fixed here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from core import store
from core.progress import Progress
from sources import http

_ATTEMPTS = 8
# Bytes of a source whose size is not pinned.
MOST_BYTES = 16 << 30
_CHUNK = 1 << 20
_MB = 1_000_000
# If an apt entry has one of these suites, its address is Debian's archive or a mirror of it.
_DEBIAN_SUITES = {
    *("stable", "oldstable", "testing", "unstable", "experimental", "sid"),
    *("bullseye", "bookworm", "trixie", "forky", "duke"),
}


@dataclass(frozen=True)
class Origin:
    """One way to get an archive.

    Attributes:
        kind: `pool`, `snapshot` or `url`.
        place: path below the apt origin, sha1, or address.
        file: name of the archive.
        sha256: its pinned hash; empty if the hash is not known.
        size: its size in bytes; 0 if not known.
    """

    kind: str
    place: str
    file: str
    sha256: str = ""
    size: int = 0

    @property
    def shown(self) -> str:
        """Return the name of the origin for messages."""
        return f"{self.kind} {self.place}" if self.kind != "url" else without_user(self.place)


class OriginFailed(Exception):  # noqa: N818  (it names what happened)
    """An origin did not give the pinned bytes; the text is the reason."""


def without_user(url: str) -> str:
    """Remove user and password from an address, so that logs and metadata do not contain them."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed address"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def apt_entries(apt: Path = Path("/etc/apt")) -> list[tuple[str, str, tuple[str, ...]]]:
    """Read address, suite and components of the binary entries of an apt configuration (sources.list(5))."""
    entries: list[tuple[str, str, tuple[str, ...]]] = []
    folder = apt / "sources.list.d"
    for path in [apt / "sources.list", *(sorted(folder.iterdir()) if folder.is_dir() else [])]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            entries += _deb822_entries(text)
        elif path.suffix == ".list":
            entries += _line_entries(text)
    return entries


def _line_entries(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s*(.*)", line.partition("#")[0])
        if match:
            yield match[1], match[2], tuple(match[3].split())


def _deb822_entries(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[last] = f"{fields.get(last, '')} {line.strip()}"
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in ("no", "false"):
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    yield uri, suite, tuple(fields.get("components", "").split())


def apt_origins(apt: Path = Path("/etc/apt")) -> list[str]:
    """List the base addresses of Debian's archive in an apt configuration, in its order, without a final slash."""
    bases: list[str] = []
    for uri, suite, components in apt_entries(apt):
        if suite not in _DEBIAN_SUITES or "main" not in components:
            continue
        uris = [uri]
        if uri.startswith(("mirror+file:", "mirror:file:")):  # apt-transport-mirror(1): one address a line
            with contextlib.suppress(OSError):
                lines = Path("/" + uri.partition("file:")[2].lstrip("/")).read_text().splitlines()
                uris = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        bases += [u.rstrip("/") for u in uris if u.startswith(("http://", "https://"))]
    return list(dict.fromkeys(bases))


def apt_origin(apt: Path = Path("/etc/apt")) -> str | None:
    """Return the first Debian origin of the machine, or None."""
    return next(iter(apt_origins(apt)), None)


def addresses(origin: Origin) -> list[str]:
    """List the addresses of an archive, in the order in which they are tried.

    Raises:
        OriginFailed: this machine has no address for this kind of origin.
    """
    if origin.kind == "url":
        return [origin.place]
    if origin.kind == "snapshot":
        base = os.environ.get("KDF_SNAPSHOT", "").rstrip("/")
        if not base:
            raise OriginFailed("the setting KDF_SNAPSHOT does not name a snapshot archive")
        return [f"{base}/file/{origin.place}"]
    bases = apt_origins()
    if not bases:
        raise OriginFailed("the apt configuration of this machine names no Debian archive")
    return [f"{base}/{origin.place}" for base in bases]


def set_aside(path: Path) -> Path:
    """Rename a file with a wrong hash to NAME.bad-N; return the new path."""
    stem = path.name.removesuffix(".part")
    number = next(number for number in range(1, 1 << 30) if not path.with_name(f"{stem}.bad-{number}").exists())
    return path.rename(path.with_name(f"{stem}.bad-{number}"))


def download(url: str, origin: Origin, part: Path) -> None:
    """Download the pinned bytes to `part`, and continue an earlier download of them.

    Args:
        part: NAME.part; the file NAME.part.json contains its address and pinned hash.

    Raises:
        OriginFailed: the server cannot be reached, or gives no file or other bytes; other bytes are set aside.
        InfraError: the disk is full.
    """
    note_path = part.with_name(part.name + ".json")
    with store.disk_errors(part):
        note = _note(note_path)
        if part.exists() and note.get("sha256") != origin.sha256:
            part.unlink()
        resumed = part.exists() and part.stat().st_size > 0
        sha256 = _transfer(url, origin, part, note_path)
        if sha256 != origin.sha256 and resumed:
            # The earlier part may be damaged: download once more from the beginning.
            part.unlink()
            sha256 = _transfer(url, origin, part, note_path)
        note_path.unlink(missing_ok=True)
        if sha256 != origin.sha256:
            bad = set_aside(part)
            raise OriginFailed(f"gave sha256 {sha256}, pinned is {origin.sha256}; kept as {bad.name}")


def fetch_bytes(url: str, limit: int) -> bytes:
    """Return the content of an address, for small files whose hash is not known yet.

    Args:
        limit: bytes; a longer answer is refused.

    Raises:
        OriginFailed: the server cannot be reached, or gives no file or a longer one.
    """
    import requests
    import urllib3

    host = urlsplit(url).hostname
    content = bytearray()
    try:
        with http.get(url) as answer:
            if answer.status != 200:
                raise OriginFailed(f"{host} answered HTTP {answer.status}")
            for piece in answer.pieces(limit):
                content += piece
    except http.TooMuch as error:
        raise OriginFailed(f"{host} sends more than {limit} bytes") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OriginFailed(_reason(error, url, len(content))) from error
    return bytes(content)


def _note(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _transfer(url: str, origin: Origin, part: Path, note_path: Path) -> str:
    """Repeat the request while it brings more bytes; return the sha256 of the whole file."""
    import requests
    import urllib3

    for attempt in range(1, _ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            return _ask(url, origin, part, note_path)
        except http.TooMuch as error:
            raise OriginFailed(f"{urlsplit(url).hostname} sends more than {error.args[0]} bytes") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            after = part.stat().st_size if part.exists() else 0
            if attempt == _ATTEMPTS or after <= before:
                raise OriginFailed(_reason(error, url, after)) from error
    raise AssertionError


def _reason(error: Exception, url: str, have: int) -> str:
    """Return why a request failed, in a few words."""
    host = urlsplit(url).hostname or url
    text = f"{error!r}"
    for marker, words in (
        ("TooSlow", f"{host} sends less than 1 KB a second"),
        ("TooManyRedirects", f"{host} sends us elsewhere again and again"),
        ("NameResolution", f"{host} does not resolve"),
        ("refused", f"{host} refuses the connection"),
        ("ConnectTimeout", f"{host} does not answer within {http.CONNECT_SECONDS:g} s"),
        ("ReadTimeout", f"{host} sent nothing for {http.STALL_SECONDS:g} s"),
        ("ProxyError", f"the proxy does not let us reach {host}"),
        ("SSLError", f"the certificate of {host} is not accepted (set REQUESTS_CA_BUNDLE to your certificates)"),
        ("InvalidSchema", f"{without_user(url)} is not an http address"),
        ("MissingSchema", f"{without_user(url)} is not an http address"),
        ("IncompleteRead", f"{host} ended after {have} bytes"),
    ):
        if marker in text:
            return words
    return f"{host}: {type(error).__name__}"


def _ask(url: str, origin: Origin, part: Path, note_path: Path) -> str:
    """Send one request and append the answer to `part`; return the sha256 of the whole file."""
    have = part.stat().st_size if part.exists() else 0
    headers: dict[str, str] = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        note = _note(note_path)
        # RFC 9110, 13.1.5: with If-Range, a server sends the whole file if it has changed. Weak tags are not allowed.
        if note.get("url") == without_user(url) and note.get("etag"):
            headers["If-Range"] = note["etag"]
    with http.get(url, headers) as answer:
        if answer.status == 416 and have:
            return store.hash_file(part)  # the server has no more bytes: the part is whole or too long
        if answer.status not in (200, 206):
            raise OriginFailed(f"{urlsplit(url).hostname} answered HTTP {answer.status}")
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise OriginFailed(f"{urlsplit(url).hostname} answered another range than the requested one")
        start = have if answer.status == 206 else 0
        total = start + answer.length if answer.length else 0
        if origin.size and total and total != origin.size:
            raise OriginFailed(f"{urlsplit(url).hostname} has a file of {total} bytes, pinned are {origin.size}")
        etag = answer.headers.get("ETag", "")
        new_note = {"url": without_user(url), "sha256": origin.sha256, "etag": "" if etag.startswith("W/") else etag}
        store.write_json(note_path, new_note)
        digest = hashlib.sha256()
        if start:
            with part.open("rb") as old:
                for chunk in iter(lambda: old.read(_CHUNK), b""):
                    digest.update(chunk)
        total = total or origin.size
        with (
            part.open("ab" if start else "wb") as out,
            Progress(origin.file, total // _MB or None, "MB") as progress,
        ):
            done = start
            try:
                for chunk in answer.pieces((origin.size or MOST_BYTES) + _CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    if origin.size and done > origin.size:
                        break
                    progress.at(done // _MB)
            finally:
                out.flush()
                os.fsync(out.fileno())
    return digest.hexdigest()
