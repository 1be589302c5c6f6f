"""Read a tar archive strictly, member by member.

Takes the uncompressed bytes of an archive that nobody has checked. Gives its members and their content. Refuses what
Python's tarfile lets pass: a damaged header in the middle (tarfile takes it for the end), a missing end, bytes after
the end, sparse files, and sizes, times or names that cannot be.

Format: POSIX.1-1988 ustar, POSIX.1-2001 pax and GNU's long names (tar(5) of libarchive has all three).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from core import outside

BLOCK = 512
# Bytes of the extended headers before one member; a path has at most 4096.
_MOST_EXTRA = 1 << 20
# Linux 7 has 93,000 members, LLVM 180,000.
_MOST_MEMBERS = 2_000_000
_MOST_SECONDS = 1 << 35  # the year 3058
_CHUNK = 1 << 20

_OCTAL = re.compile(rb" *([0-7]{1,22})[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\n]{1,200})=")
_TIME = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,20})?", re.ASCII)
_KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "link", b"5": "folder"}


class Refused(Exception):  # noqa: N818  (it names what happened)
    """The archive is damaged or hostile; the text is the reason."""


@dataclass(frozen=True)
class Member:
    """One member of an archive.

    Attributes:
        kind: `file`, `folder`, `link` (symbolic) or `hard link`.
        size: bytes of a file; 0 for all others.
        mode: permissions.
        mtime: seconds since 1970, not negative.
        goal: target of a link; empty for all others.
    """

    name: str
    kind: str
    size: int
    mode: int
    mtime: float
    goal: str


class Reader:
    """Reads members one after the other; the content of each is read, or skipped, before the next.

    Args:
        stream: the uncompressed archive.
        most: bytes that it may contain.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._most = most
        self._left = 0  # bytes of the current member, padding included
        self._size = 0  # the same without padding
        self._read = 0

    def members(self) -> Iterator[Member]:
        """Yield the members to the end of the archive.

        Raises:
            Refused: the archive is damaged, hostile, empty or too large.
        """
        count = 0
        while member := self._next():
            count += 1
            if count > _MOST_MEMBERS:
                raise Refused(f"it has more than {_MOST_MEMBERS} members")
            yield member
        if not count:
            raise Refused("it is empty")

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current member, in pieces.

        Raises:
            Refused: the archive ends in it.
        """
        while self._size:
            piece = self._take(min(self._size, _CHUNK))
            self._size -= len(piece)
            self._left -= len(piece)
            yield piece

    def _take(self, size: int) -> bytes:
        """Read so many bytes."""
        pieces: list[bytes] = []
        while size:
            piece = self._stream.read(size)
            if not piece:
                raise Refused("it is cut off")
            self._read += len(piece)
            if self._read > self._most:
                raise Refused(f"it contains more than {self._most >> 20} MB, far more than its size explains")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _skip(self) -> None:
        while self._left:
            self._left -= len(self._take(min(self._left, _CHUNK)))

    def _next(self) -> Member | None:
        """Read the headers of the next member; None at the end."""
        self._skip()
        extra: dict[str, str] = {}
        spent = 0
        while True:
            block = self._take(BLOCK)
            if not block.strip(b"\0"):
                if extra:
                    raise Refused("it ends after an extended header")
                self._end()
                return None
            member, flag = _header(block)
            if flag not in (b"x", b"g", b"L", b"K"):
                break
            spent += BLOCK + member.size
            if spent > _MOST_EXTRA:
                raise Refused("its extended headers are too long")
            text = self._take(member.size)
            self._take(-member.size % BLOCK)
            extra |= _extended(flag, text)
        member = _with(member, extra)
        if member.kind != "file" and member.size:
            raise Refused(f"the {member.kind} {outside.shortened(member.name, 60)} has content")
        if self._read + member.size > self._most:
            raise Refused(f"it contains more than {self._most >> 20} MB, far more than its size explains")
        self._size = member.size
        self._left = member.size + -member.size % BLOCK
        return member

    def _end(self) -> None:
        """Check that the second block of the end follows, and nothing but zeros behind it."""
        if self._take(BLOCK).strip(b"\0"):
            raise Refused("a block of zeros stands in its middle")
        while piece := self._stream.read(_CHUNK):
            self._read += len(piece)
            if piece.strip(b"\0") or self._read > self._most:
                raise Refused("it continues after its end")


def _header(block: bytes) -> tuple[Member, bytes]:
    """Read one header block; return the member and the flag of its type."""
    total = sum(block) - sum(block[148:156]) + 8 * 0x20
    if _number(block[148:156]) != total:
        raise Refused("a header is damaged: its checksum does not match")
    flag, magic = block[156:157], block[257:265]
    name = _text(block[:100])
    if magic == b"ustar\x0000" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    kind = _KINDS.get(flag, "")
    if not kind and flag not in (b"x", b"g", b"L", b"K"):
        shown = outside.shortened(name, 60)
        raise Refused(f"{shown} is not a file, a directory or a link (type {flag.decode('latin-1')!r})")
    if kind == "file" and name.endswith("/"):
        kind = "folder"  # as tar wrote it before 1988
    size = _number(block[124:136])
    goal = _text(block[157:257]) if "link" in kind else ""
    return Member(
        name, kind, size, _number(block[100:108]) & 0o7777, _seconds(str(_number(block[136:148]))), goal
    ), flag


def _number(raw: bytes) -> int:
    """Read a number: octal digits, or with the first bit set a binary one (GNU)."""
    if raw[0] in (0x80, 0xFF):
        value = int.from_bytes(raw[1:], "big")
        return value - (1 << (8 * (len(raw) - 1))) if raw[0] == 0xFF else value
    if not raw.strip(b" \0"):
        return 0
    match = _OCTAL.fullmatch(raw)
    if match is None:
        raise Refused("a header is damaged: a number is not octal")
    return int(match[1], 8)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _seconds(text: str) -> float:
    if not _TIME.fullmatch(text) or float(text) > _MOST_SECONDS:
        raise Refused("a header has a time that cannot be")
    return max(float(text), 0.0)


def _extended(flag: bytes, text: bytes) -> dict[str, str]:
    """Return what an extended header says about the next member: `path`, `linkpath`, `size`, `mtime`."""
    if flag in (b"L", b"K"):
        return {"path" if flag == b"L" else "linkpath": _text(text)}
    records: dict[str, str] = {}
    while text.strip(b"\0"):
        match = _RECORD.match(text)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(text) or text[length - 1 : length] != b"\n":
            raise Refused("an extended header is malformed")
        key = match[2].decode("utf-8", "replace")
        if key.startswith("GNU.sparse"):
            raise Refused("it contains a sparse file")
        if key in ("path", "linkpath", "size", "mtime"):
            if flag == b"g":
                raise Refused(f"an extended header gives all members the same {key}")
            records[key] = text[match.end() : length - 1].decode("utf-8", "surrogateescape")
        text = text[length:]
    return records


def _with(member: Member, extra: dict[str, str]) -> Member:
    """Return a member with what extended headers say about it."""
    if "size" in extra:
        size = outside.number(extra["size"])
        if size is None:
            raise Refused("an extended header has a size that cannot be")
        member = replace(member, size=size)
    if "mtime" in extra:
        member = replace(member, mtime=_seconds(extra["mtime"]))
    member = replace(member, name=extra.get("path", member.name))
    if "link" in member.kind:
        member = replace(member, goal=extra.get("linkpath", member.goal))
        if not member.goal:
            raise Refused(f"the link {outside.shortened(member.name, 60)} has no target")
    if member.size < 0 or not member.name:
        raise Refused("a header has a size or a name that cannot be")
    for path in (member.name, member.goal):
        if why := outside.unfit(path):
            raise Refused(f"{outside.shortened(path, 60)} {why}")
    return member
