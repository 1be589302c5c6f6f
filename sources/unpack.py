"""Unpack an untrusted archive into a directory.

Takes the path of a tar archive or a Debian package. Gives a directory with its files, without the one top directory.
Never writes outside the directory, and refuses links that lead out of it.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from core.errors import InfraError, UserError
from core.progress import Progress

# Errors caused by the content of an archive: names that clash or are too long, and errors of bz2 and gzip (None).
_BY_MEMBERS = (None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


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
    import io

    raw.seek(8)
    while len(header := raw.read(60)) == 60:
        name, length = header[:16].rstrip(b" /"), header[48:58].strip()
        if header[58:] != b"`\n" or not length.isdigit():
            raise tarfile.ReadError("a header of the package is malformed")
        if name.startswith(b"data.tar"):
            data = raw.read(int(length))
            if len(data) < int(length):
                raise EOFError("the package ends in the middle")
            return _open_tar(path, io.BytesIO(data))
        raw.seek(int(length) + int(length) % 2, 1)
    raise tarfile.ReadError("the package has no data.tar")


def unpack(path: Path, target: Path) -> None:
    """Unpack a tar archive or the files of a Debian package, without the one top directory.

    Not every Python 3.11 has extraction filters. So this function writes each member itself, and makes links last.

    Raises:
        InfraError: it is damaged, or contains a member that a source must not have.
        UserError: it is compressed with zstd, or contains a link that leaves it.
    """
    import lzma
    import zlib

    try:
        with path.open("rb") as raw, Progress(f"unpacking {path.name}", path.stat().st_size >> 20, "MB") as progress:
            links = _write_members(_open_tar(path, raw), target, lambda: progress.at(raw.tell() >> 20))
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _BY_MEMBERS:
            raise
        raise InfraError(f"the archive {path} cannot be unpacked: {error}", "fetch it again") from error
    check_links(target, links, str(path))


def _write_members(stream: IO[bytes], target: Path, report: Callable[[], None]) -> list[Path]:
    """Write the members of an archive below `target`; return the symbolic links."""
    target.mkdir(parents=True)
    links: list[tuple[Path, str]] = []
    tops: set[str] = set()
    created: set[Path] = set()
    # Opening the stream ourselves is ten times as fast as tarfile's "r|xz" with a large buffer.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16, encoding="utf-8") as archive:
        for count, member in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # a stream is read once; 180,000 members take 300 MB
            path = _inside(member.name, target, tops)
            folder = target if path is None else path if member.isdir() else path.parent
            if folder not in created:
                folder.mkdir(parents=True, exist_ok=True)
                created.add(folder)
            if path is None or member.isdir():
                continue
            if member.issym():
                links.append((path, member.linkname))
            elif member.islnk():
                original = _inside(member.linkname, target, tops)
                if original is None or not original.is_file():
                    raise tarfile.ReadError(f"{member.name} is a link to {member.linkname}, which is not a file of it")
                os.link(original, path)
            elif member.isreg():
                _write_file(archive, member, path)
            else:
                raise tarfile.ReadError(f"{member.name} is not a file, a directory or a link")
            if count % 256 == 0:
                report()
    for link, goal in links:
        link.symlink_to(goal)
    return [link for link, _goal in links]


def _inside(name: str, target: Path, tops: set[str]) -> Path | None:
    """Return the path of a member below `target`; None for the top directory itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise tarfile.ReadError(f"the member {name!r} leaves the archive")
    tops.update(parts[:1])
    if len(tops) > 1:
        raise tarfile.ReadError(f"it has more than one top directory: {', '.join(sorted(tops))}")
    return target.joinpath(*parts[1:]) if len(parts) > 1 else None


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None  # noqa: S101  (it is a regular file)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o755 if member.mode & 0o100 else 0o644), "wb") as out:
        while chunk := content.read(1 << 20):
            out.write(chunk)
        out.flush()
        os.utime(out.fileno(), (max(member.mtime, 0), max(member.mtime, 0)))


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
