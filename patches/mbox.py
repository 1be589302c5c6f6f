"""Files that hold mails: one mail, an mbox, either of them gzipped, or a directory of such files.

What comes in is a path or bytes; what goes out is a list of `Mail` in the order of the files. Sizes are limited before
anything is unpacked, links are not followed, and a line that git would take for the start of a mail is one here, too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError
from patches import mail
from patches.mail import Mail

MAX_BYTES = 64 << 20
MAX_MAILS = 5000
SUFFIXES = (".patch", ".diff", ".eml", ".mbox", ".mbx", ".gz")
# As git mailsplit knows it: From, a word, and something with a time and a year.
ENVELOPE = re.compile(rb"From +\S+ +.*\d{1,2}:\d\d(:\d\d)?.* \d{4}.*")
_HEADER = re.compile(rb"[!-9;-~]+:|\r?\n|\Z")
_GIT_DATE = b"Mon Sep 17 00:00:00 2001"  # by which file(1) knows the output of git format-patch
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def load(path: Path) -> list[Mail]:
    """The mails of a file or a directory.

    Raises:
        UserError: it is not there, too large, or holds no mail.
    """
    if path.is_dir():
        return _directory(path)
    return split(_read(path), path.name)


def split(data: bytes, name: str) -> list[Mail]:
    """The mails of an mbox, or the one mail that the bytes are.

    Raises:
        UserError: they are too many or too large, or there is none.
    """
    data = _unpacked(data, name)
    if not data.strip():
        raise UserError(f"{name} is empty")
    if not data.startswith(b"From "):
        found = [mail.read(data, name)]
    else:
        starts = _starts(data)
        if len(starts) > MAX_MAILS:
            raise UserError(f"{name} holds {len(starts)} mails, at most {MAX_MAILS}")
        found = [
            mail.read(_unquoted(data[start:end]), name if len(starts) == 1 else f"{name}#{number}")
            for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1)
        ]
    if not any(one.subject or one.problem for one in found):
        raise UserError(
            f"{name} holds no mail: there is no Subject",
            "give what git format-patch or a list's archive made; a bare diff has no author and no order",
        )
    return found


def _unquoted(data: bytes) -> bytes:
    """A mail without its envelope; archives quote lines that begin with From (mboxrd), git does not."""
    envelope, _, mail_ = data.partition(b"\n")
    return mail_ if envelope.rstrip(b"\r").endswith(_GIT_DATE) else _QUOTED.sub(rb"\1", mail_)


def _starts(data: bytes) -> list[int]:
    """Where mails begin; the first is at 0 whatever its line looks like."""
    found = [0]
    at = data.find(b"\nFrom ")
    while at >= 0:
        end = data.find(b"\n", at + 1)
        line = data[at + 1 : end if end >= 0 else len(data)]
        if ENVELOPE.fullmatch(line.rstrip(b"\r")) and end >= 0 and _HEADER.match(data, end + 1):
            found.append(at + 1)
        at = data.find(b"\nFrom ", at + 1)
    return found


def _directory(path: Path) -> list[Mail]:
    """The mails of a directory's files in the order of their names; a Maildir's are in cur and new."""
    folders = [path / part for part in ("cur", "new") if (path / part).is_dir()]
    files: Iterable[Path] = (
        [file for folder in folders for file in sorted(folder.iterdir())]
        if folders
        else [file for file in sorted(path.iterdir()) if file.name.endswith(SUFFIXES)]
    )
    files = [file for file in files if not file.name.startswith(".")]
    odd = next((file.name for file in files if not file.name.isprintable()), "")
    if odd:
        raise UserError(f"{path} holds a file whose name has a control character: {odd!a}")
    if not files:
        raise UserError(f"{path} holds no file that ends in {', '.join(SUFFIXES)}")
    if len(files) > MAX_MAILS:
        raise UserError(f"{path} holds {len(files)} files, at most {MAX_MAILS}")
    found: list[Mail] = []
    total = 0
    for file in files:
        data = _read(file)
        total += len(data)
        if total > MAX_BYTES:
            raise UserError(f"the files of {path} are too large: more than {MAX_BYTES} bytes")
        found += split(data, file.name)
    return found


def _read(path: Path) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path} is no regular file" if path.exists() else f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large: {path.stat().st_size} bytes, at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _unpacked(data: bytes, name: str) -> bytes:
    """What a gzip file holds, at most `MAX_BYTES` of it; other bytes as they are."""
    if data[:2] != b"\x1f\x8b":
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        out = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise UserError(f"{name} is no valid gzip file: {error}") from None
    if len(out) > MAX_BYTES:
        raise UserError(f"{name} is too large: it unpacks to more than {MAX_BYTES} bytes")
    if not unpacker.eof:
        raise UserError(f"{name} is cut short: its gzip stream does not end")
    return out
