"""Write a product of the store to a single file, and unpack such a file.

Takes a product and gives a tar.zst, or takes an untrusted tar.zst and gives a directory. Each unpacked file is compared
with the archive's index. Never writes outside the directory.

Format: tar (POSIX.1-1988 ustar, no extended headers) in one zstd frame with a checksum (RFC 8878). The first member is
`index-<sha256 of its bytes>.json`. The other members follow in the order of the index, and their headers contain only
what the index contains. So the same product always gives the same tar. A tar that differs from this is refused.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from core import store
from core.errors import InfraError, UserError
from core.progress import Progress
from core.store import Product
from sources import unpack

SUFFIX = ".tar.zst"
VERSION = 1
# A compiler with its headers is 600 MB in 3,000 files, so our products stay far below these limits.
LIMIT_BYTES = 16 << 30
LIMIT_INDEX = 64 << 20
_LEVEL = 10
_CHUNK = 1 << 20
# Size of one read of compressed bytes: a hostile block of 4 bytes may expand to 128 KiB (RFC 8878, 3.1.1.2.4).
_READ = 1 << 11
_INDEX_NAME = re.compile(r"index-([0-9a-f]{64})\.json")
_KINDS = ("folder", "file", "program", "link")


@dataclass(frozen=True)
class Entry:
    """One member of an archive.

    Attributes:
        name: its path below the product, with slashes.
        kind: `folder`, `file`, `program` (an executable file) or `link`.
        size: size of a file in bytes; 0 for folders and links.
        sha256: hash of a file; empty for folders and links.
        goal: target of a link; empty for everything else.
    """

    name: str
    kind: str
    size: int = 0
    sha256: str = ""
    goal: str = ""


@dataclass(frozen=True)
class Index:
    """Content of the first member: the product and the list of the other members.

    Attributes:
        kind: kind of the product.
        key: key of the product, which is the hash of `inputs`.
        metadata: metadata of the product, from the machine that made it.
        notes: JSON values that the caller of `write` added.
    """

    kind: str
    key: str
    inputs: Mapping[str, Any]
    metadata: Mapping[str, Any]
    notes: Mapping[str, Any]
    entries: tuple[Entry, ...]

    def text(self) -> bytes:
        """Return the bytes of the first member."""
        return (store.canonical({"version": VERSION, **asdict(self)}) + "\n").encode()


class _Refused(Exception):  # noqa: N818  (it names what happened)
    """The archive is damaged or hostile; the text is the reason."""


def entries(root: Path) -> tuple[Entry, ...]:
    """List everything below a directory except its metadata, sorted by name.

    Raises:
        InfraError: it contains something that is not a file, a directory or a symbolic link.
    """
    members: list[Entry] = []
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            if path == root / store.METADATA:
                continue
            if path.is_symlink():
                members.append(Entry(shown, "link", goal=str(path.readlink())))
            elif path.is_dir():
                members.append(Entry(shown, "folder"))
            elif path.is_file():
                state = path.stat()
                kind = "program" if state.st_mode & 0o100 else "file"
                members.append(Entry(shown, kind, state.st_size, store.hash_file(path)))
            else:
                raise InfraError(f"{path} is not a file, a directory or a link", "remove the product and make it again")
    return tuple(sorted(members, key=lambda entry: entry.name))


def _header(entry: Entry) -> bytes:
    """Build the tar header of a member, without time or owner."""
    info = tarfile.TarInfo(entry.name)
    info.type = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}.get(entry.kind, tarfile.REGTYPE)
    info.mode = 0o644 if entry.kind == "file" else 0o755
    info.size = entry.size
    info.linkname = entry.goal
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def write(product: Product, out: Path, notes: Mapping[str, Any]) -> Index:
    """Write a product to a file; the file gets its name when it is complete.

    Args:
        notes: JSON values to store in the index.

    Raises:
        InfraError: the disk is full, or the product changed while it was read.
    """
    import zstandard

    with store.disk_errors(out):
        members = entries(product.path)
        metadata = {name: value for name, value in product.metadata.items() if name != "inputs"}
        index = Index(product.kind, product.key, product.metadata["inputs"], metadata, notes, members)
        text = index.text()
        first = Entry(f"index-{hashlib.sha256(text).hexdigest()}.json", "file", len(text))
        total = sum(entry.size for entry in members)
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{os.getpid()}")
        packer = zstandard.ZstdCompressor(level=_LEVEL, threads=-1, write_checksum=True)
        try:
            with (
                temporary.open("wb") as raw,
                packer.stream_writer(raw, closefd=False) as sink,
                Progress(f"writing {out.name}", total >> 20, "MB") as progress,
            ):
                sink.write(_header(first) + text + _padding(len(text)))
                done = 0
                for entry in members:
                    sink.write(_header(entry))
                    if entry.kind in ("file", "program"):
                        _copy_in(product.path / entry.name, entry, sink)
                        done += entry.size
                        progress.at(done >> 20, note=entry.name)
                sink.write(b"\0" * 2 * tarfile.BLOCKSIZE)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(out)
        except ValueError as error:  # from tarfile: a name or a link's target is too long for ustar
            raise InfraError(f"{product.path} cannot be put into an archive: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
    return index


def _copy_in(path: Path, entry: Entry, sink: Any) -> None:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            sink.write(chunk)
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise InfraError(f"{path} changed while it was read", "run the same command again")
    sink.write(_padding(size))


class _Plain(io.RawIOBase):
    """Read a file that is exactly one zstd frame; keep at most one decompressed block in memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._raw = raw
        self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._rest = memoryview(b"")
        self.total = 0

    def _more(self) -> bool:
        import zstandard

        while not self._rest:
            chunk = self._raw.read(_READ)
            if self._frame.eof or not chunk:
                if chunk or self._frame.unused_data or not self._frame.eof:
                    raise _Refused("it continues after its end" if self._frame.eof else "it is cut off")
                return False
            try:
                self._rest = memoryview(self._frame.decompress(chunk))
            except zstandard.ZstdError as error:
                raise _Refused(f"it is not valid zstd ({error})") from error
            self.total += len(self._rest)
            if self.total > LIMIT_BYTES:
                raise _Refused(f"it contains more than {LIMIT_BYTES >> 30} GB")
        return True

    def exactly(self, size: int) -> Iterator[bytes]:
        """Yield `size` bytes, in pieces."""
        while size:
            if not self._more():
                raise _Refused("it ends too early")
            piece = bytes(self._rest[:size])
            self._rest = self._rest[len(piece) :]
            size -= len(piece)
            yield piece

    def all(self, size: int) -> bytes:
        return b"".join(self.exactly(size))

    def end(self) -> None:
        if self._more():
            raise _Refused("it continues after its end")


def _read_index(plain: _Plain) -> Index:
    """Read and check the first member; after this, its names, sizes and hashes are well formed."""
    block = plain.all(tarfile.BLOCKSIZE)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise _Refused(f"it is not an archive of a product ({error})") from error
    match = _INDEX_NAME.fullmatch(info.name)
    if match is None or block != _header(Entry(info.name, "file", info.size)):
        raise _Refused("it is not an archive of a product: its first member is not an index")
    if info.size > LIMIT_INDEX:
        raise _Refused(f"its index is larger than {LIMIT_INDEX >> 20} MB")
    text = plain.all(info.size)
    if hashlib.sha256(text).hexdigest() != match[1]:
        raise _Refused("its index has another sha256 than its name")
    if plain.all(len(_padding(info.size))).strip(b"\0"):
        raise _Refused("there are bytes between its members")
    try:
        index = _parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Refused(f"its index is malformed ({type(error).__name__}: {error})") from error
    if index.key != store.key_of(index.inputs):
        raise _Refused("its key is not the hash of its inputs")
    _check_names(index.entries)
    return index


def _parse(fields: Any) -> Index:
    if fields.pop("version") != VERSION:
        raise _Refused("it has another version of this format")
    members = tuple(Entry(**item) for item in fields.pop("entries"))
    for entry in members:
        types = [type(value) for value in (entry.name, entry.kind, entry.size, entry.sha256, entry.goal)]
        is_file = entry.kind in ("file", "program")
        if types != [str, str, int, str, str] or entry.kind not in _KINDS:
            raise ValueError(f"entry {entry.name!r}")
        if (entry.size != 0 and not is_file) or entry.size < 0 or bool(entry.goal) != (entry.kind == "link"):
            raise ValueError(f"entry {entry.name!r}")
    index = Index(entries=members, **fields)
    if not isinstance(index.kind, str) or not isinstance(index.key, str):
        raise TypeError("kind and key must be strings")
    for mapping in (index.inputs, index.metadata, index.notes):
        if not isinstance(mapping, dict):
            raise TypeError("inputs, metadata and notes must be mappings")
    return index


def _check_names(members: Sequence[Entry]) -> None:
    """Raise if a name leaves the archive, appears twice, or is below something that is not a directory."""
    folders = {entry.name for entry in members if entry.kind == "folder"}
    for entry in members:
        parts = entry.name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in entry.name or "\0" in entry.goal:
            raise _Refused(f"the name {entry.name!r} leaves the archive")
        if len(parts) > 1 and "/".join(parts[:-1]) not in folders:
            raise _Refused(f"{entry.name} is not in a directory of the archive")
        if entry.name == store.METADATA:
            raise _Refused(f"it contains a {store.METADATA} of its own")
        try:
            _header(entry)
        except ValueError as error:
            raise _Refused(f"{entry.name!r} cannot be a member ({error})") from error
    for before, entry in itertools.pairwise(members):
        if before.name >= entry.name:
            raise _Refused(f"{entry.name} appears twice or out of order")


def _reading(path: Path, work: Callable[[_Plain], Index]) -> Index:
    try:
        with path.open("rb", buffering=_CHUNK) as raw:
            return work(_Plain(raw))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{path} is not a file", "name a file that toolchain.export wrote") from error
    except _Refused as refusal:
        raise InfraError(f"the archive {path} is refused: {refusal}", "copy it again, or export it again") from refusal


def read_index(path: Path) -> Index:
    """Read the index of an archive; its files are not read.

    Raises:
        InfraError: it is damaged or hostile.
    """
    return _reading(path, _read_index)


def extract(path: Path, target: Path, outside: Callable[[str], bool] = lambda _goal: False) -> Index:
    """Unpack an archive into an empty directory, and compare every file with the index.

    Args:
        outside: whether a link to this absolute path is allowed.

    Raises:
        InfraError: it is damaged or hostile, or the disk is full.
        UserError: it contains a link that leaves it.
    """

    def work(plain: _Plain) -> Index:
        index = _read_index(plain)
        with Progress(f"unpacking {path.name}", sum(entry.size for entry in index.entries) >> 20, "MB") as progress:
            for entry in index.entries:
                if plain.all(tarfile.BLOCKSIZE) != _header(entry):
                    raise _Refused(f"the member {entry.name} differs from the index")
                member_path = target / entry.name
                if entry.kind == "folder":
                    member_path.mkdir()
                elif entry.kind != "link":
                    _write_file(plain, entry, member_path)
                    progress.at(plain.total >> 20, note=entry.name)
        if plain.all(2 * tarfile.BLOCKSIZE).strip(b"\0"):
            raise _Refused("it continues after its last member")
        plain.end()
        # Links are made last, so no file was written through one.
        links = [entry for entry in index.entries if entry.kind == "link"]
        for entry in links:
            (target / entry.name).symlink_to(entry.goal)
        kept = [target / entry.name for entry in links if not (entry.goal.startswith("/") and outside(entry.goal))]
        unpack.check_links(target, kept, f"the archive {path}")
        return index

    with store.disk_errors(target):
        return _reading(path, work)


def _write_file(plain: _Plain, entry: Entry, path: Path) -> None:
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o755 if entry.kind == "program" else 0o644), "wb") as out:
        for piece in plain.exactly(entry.size):
            digest.update(piece)
            out.write(piece)
    if digest.hexdigest() != entry.sha256:
        raise _Refused(f"{entry.name} has another sha256 than in the index")
    if plain.all(len(_padding(entry.size))).strip(b"\0"):
        raise _Refused("there are bytes between its members")
