"""Read the mails of a file or a directory: one mail, an mbox, either of them gzipped, or many such files.

Takes a path or bytes, and gives a list of `Mail` in the order of the files. Splits an mbox where git
splits it. Never unpacks more than the limits allow, and never follows links.
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
# As git mailsplit has it: From, a word, and text with a time and a year.
ENVELOPE = re.compile(rb"From +\S+ +.*\d{1,2}:\d\d(:\d\d)?.* \d{4}.*")
_HEADER = re.compile(rb"[!-9;-~]+:|\r?\n|\Z")
_GIT_DATE = b"Mon Sep 17 00:00:00 2001"  # file(1) recognises the output of git format-patch by it
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def load(path: Path) -> list[Mail]:
    """Return the mails of a file or a directory.

    Raises:
        UserError: it does not exist, is too large, or contains no mail.
    """
    if path.is_dir():
        return _directory(path)
    return split(_read(path), path.name)


def split(data: bytes, name: str) -> list[Mail]:
    """Return the mails of an mbox, or the only mail.

    Raises:
        UserError: there are too many mails, they are too large, or there are none.
    """
    data = _unpacked(data, name)
    if not data.strip():
        raise UserError(f"{name} is empty")
    if not data.startswith(b"From "):
        mails = [mail.read(data, name)]
    else:
        starts = _starts(data)
        if len(starts) > MAX_MAILS:
            raise UserError(f"{name} contains {len(starts)} mails, at most {MAX_MAILS}")
        mails = [
            mail.read(_unquoted(data[start:end]), name if len(starts) == 1 else f"{name}#{number}")
            for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1)
        ]
    if not any(message.subject or message.problem for message in mails):
        raise UserError(
            f"{name} contains no mail: there is no Subject",
            "give files of git format-patch or of a list's archive; a bare diff has no author and no order",
        )
    return mails


def _unquoted(data: bytes) -> bytes:
    """Return a mail without its envelope; undo the quoting of From lines (mboxrd), which git does not do."""
    envelope, _, message = data.partition(b"\n")
    return message if envelope.rstrip(b"\r").endswith(_GIT_DATE) else _QUOTED.sub(rb"\1", message)


def _starts(data: bytes) -> list[int]:
    """Return the offsets where mails begin; the first is 0, whatever the first line looks like."""
    starts = [0]
    at = data.find(b"\nFrom ")
    while at >= 0:
        end = data.find(b"\n", at + 1)
        line = data[at + 1 : end if end >= 0 else len(data)]
        if ENVELOPE.fullmatch(line.rstrip(b"\r")) and end >= 0 and _HEADER.match(data, end + 1):
            starts.append(at + 1)
        at = data.find(b"\nFrom ", at + 1)
    return starts


def _directory(path: Path) -> list[Mail]:
    """Return the mails of a directory's files in the order of their names; a Maildir has them in cur and new."""
    folders = [path / part for part in ("cur", "new") if (path / part).is_dir()]
    files: Iterable[Path] = (
        [file for folder in folders for file in sorted(folder.iterdir())]
        if folders
        else [file for file in sorted(path.iterdir()) if file.name.endswith(SUFFIXES)]
    )
    files = [file for file in files if not file.name.startswith(".")]
    odd = next((file.name for file in files if not file.name.isprintable()), "")
    if odd:
        raise UserError(f"{path} contains a file whose name has a control character: {odd!a}")
    if not files:
        raise UserError(f"{path} contains no file that ends in {', '.join(SUFFIXES)}")
    if len(files) > MAX_MAILS:
        raise UserError(f"{path} contains {len(files)} files, at most {MAX_MAILS}")
    mails: list[Mail] = []
    total = 0
    for file in files:
        data = _read(file)
        total += len(data)
        if total > MAX_BYTES:
            raise UserError(f"the files of {path} are too large: more than {MAX_BYTES} bytes")
        mails += split(data, file.name)
    return mails


def _read(path: Path) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path} is not a regular file" if path.exists() else f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large: {path.stat().st_size} bytes, at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _unpacked(data: bytes, name: str) -> bytes:
    """Unpack a gzip file, up to `MAX_BYTES`; return other bytes as they are."""
    if data[:2] != b"\x1f\x8b":
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        out = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise UserError(f"{name} is not a valid gzip file: {error}") from None
    if len(out) > MAX_BYTES:
        raise UserError(f"{name} is too large: it unpacks to more than {MAX_BYTES} bytes")
    if not unpacker.eof:
        raise UserError(f"{name} is cut short: its gzip stream does not end")
    return out
