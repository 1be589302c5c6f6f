"""Unpack an untrusted archive into a directory.

Takes the path of a tar archive or a Debian package. Gives a directory with its files, without the one top directory.
Never writes outside the directory, and refuses links that lead out of it. sources.tar reads the archive.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from core import outside
from core.errors import InfraError, UserError
from core.progress import Progress
from sources import tar
from sources.tar import Refused

# Errors caused by the content of an archive: names that clash or are too long, and errors of bz2 and gzip (None).
_BY_MEMBERS = (None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
# An archive may contain so many bytes for each of its own, and so many whatever its size is. Kernel sources have 10.
_RATIO = 200
_FLOOR = 256 << 20


def _open_tar(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Open an archive for reading its uncompressed bytes; find the compression from its first bytes."""
    import bz2
    import gzip
    import lzma

    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\xfd7zXZ\0"):
        return lzma.open(raw)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(raw))
    if magic.startswith(b"BZh"):
        return bz2.open(raw)
    if magic.startswith(b"!<arch"):
        return _open_deb(path, raw)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise UserError(f"{path} is compressed with zstd, which is not supported", "compress it as tar.xz or tar.gz")
    return raw


def _open_deb(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Open the files of a Debian package: the member data.tar of an ar archive (deb(5), ar(5))."""
    whole = os.fstat(raw.fileno()).st_size
    raw.seek(8)
    data: bytes | None = None
    while header := raw.read(60):
        name, length = header[:16].rstrip(b" /"), outside.number(header[48:58].strip().decode("latin-1"))
        if len(header) < 60 or header[58:] != b"`\n" or length is None:
            raise Refused("a header of the package is malformed")
        if raw.tell() + length > whole:
            raise Refused("the package ends in the middle")
        if name.startswith(b"data.tar"):
            if data is not None:
                raise Refused("the package has two data.tar")
            data = raw.read(length)
        else:
            raw.seek(length, 1)
        raw.seek(length % 2, 1)
    if data is None:
        raise Refused("the package has no data.tar")
    return _open_tar(path, io.BytesIO(data))


def unpack(path: Path, target: Path) -> None:
    """Unpack a tar archive or the files of a Debian package, without the one top directory.

    Raises:
        InfraError: it is damaged, or contains a member that a source must not have.
        UserError: it is compressed with zstd, or contains a link that leaves it.
    """
    import lzma
    import zlib

    size = path.stat().st_size
    try:
        with path.open("rb") as raw, Progress(f"unpacking {path.name}", size >> 20, "MB") as progress:
            reader = tar.Reader(_open_tar(path, raw), max(_FLOOR, _RATIO * size))
            links = _write_members(reader, target, lambda: progress.at(raw.tell() >> 20))
    except (Refused, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _BY_MEMBERS:
            raise
        reason = outside.shortened(str(error))
        raise InfraError(f"the archive {path} cannot be unpacked: {reason}", "fetch it again") from error
    check_links(target, links, str(path))


def _write_members(reader: tar.Reader, target: Path, report: Callable[[], None]) -> list[Path]:
    """Write the members of an archive below `target`; return the symbolic links, which are made last."""
    target.mkdir(parents=True)
    links: list[tuple[Path, str]] = []
    tops: set[str] = set()
    created: set[Path] = set()
    for count, member in enumerate(reader.members()):
        path = _inside(member.name, target, tops)
        folder = target if path is None else path if member.kind == "folder" else path.parent
        if folder not in created:
            folder.mkdir(parents=True, exist_ok=True)
            created.add(folder)
        if path is None or member.kind == "folder":
            if member.kind != "folder":
                raise Refused("its top is not a directory")
            continue
        if member.kind == "link":
            links.append((path, member.goal))
        elif member.kind == "hard link":
            original = _inside(member.goal, target, tops)
            if original is None or not original.is_file():
                raise Refused(f"{member.name} is a link to {member.goal}, which is not a file of it")
            os.link(original, path)
        else:
            _write_file(reader, member, path)
        if count % 256 == 0:
            report()
    for link, goal in links:
        link.symlink_to(goal)
    return [link for link, _goal in links]


def _inside(name: str, target: Path, tops: set[str]) -> Path | None:
    """Return the path of a member below `target`; None for the top directory itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise Refused(f"the member {name!r} leaves the archive")
    tops.update(parts[:1])
    if len(tops) > 1:
        raise Refused(f"it has more than one top directory: {', '.join(sorted(tops))}")
    return target.joinpath(*parts[1:]) if len(parts) > 1 else None


def _write_file(reader: tar.Reader, member: tar.Member, path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o755 if member.mode & 0o100 else 0o644), "wb") as out:
        for piece in reader.content():
            out.write(piece)
        out.flush()
        os.utime(out.fileno(), (member.mtime, member.mtime))


def links(root: Path) -> list[Path]:
    """List the symbolic links of a tree."""
    return [
        Path(folder) / name
        for folder, folders, files in os.walk(root)
        for name in [*folders, *files]
        if os.path.islink(f"{folder}/{name}")  # noqa: PTH114  (faster for a hundred thousand files)
    ]


def check_links(root: Path, links: list[Path], what: str) -> None:
    """Raise if a symbolic link leads out of a tree.

    Args:
        what: name of the tree in the error.

    Raises:
        UserError: there is such a link.
    """
    resolved_root = root.resolve()
    for link in links:
        goal = link.readlink()
        # Resolve on disk, not by the text: a link through another link must not leave unnoticed.
        if goal.is_absolute() or not link.resolve().is_relative_to(resolved_root):
            raise UserError(f"{what} contains a link that leaves it: {link.relative_to(root)} -> {goal}")
