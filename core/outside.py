"""Take numbers and names from texts of others: a guest, a mail, a server, a command line.

Python refuses to convert a number of more than 4300 digits, and a file system refuses a name of more than 255 bytes.
So each border asks here instead of converting by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import UserError

_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{1,16}", re.ASCII)
# ext4, xfs, btrfs, overlayfs: bytes of one name. The limit of a path is PATH_MAX of Linux.
NAME_BYTES = 255
PATH_BYTES = 4095
# Folders within each other: Python's own walk of a tree uses a stack frame for each.
PATH_DEPTH = 128


def number(text: str, low: int = 0, high: int = (1 << 64) - 1) -> int | None:
    """Return a decimal number of ASCII digits; None if the text is none, or not within the limits."""
    if not _DECIMAL.fullmatch(text):
        return None
    value = int(text)
    return value if low <= value <= high else None


def hexadecimal(text: str) -> int | None:
    """Return a hexadecimal number of at most 64 bits, with or without 0x; None if the text is none."""
    return int(text, 16) if _HEX.fullmatch(text) else None


def shortened(text: str, limit: int = 200) -> str:
    """Return a text for a name or a message: printable, on one line, at most so many characters long."""
    plain = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def unfit(path: str) -> str:
    """Return why a relative path of a file cannot exist below a folder; empty if it can.

    A path that leaves the folder is the caller's matter.
    """
    parts = path.split("/")
    if "\0" in path:
        return "has a NUL byte"
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_BYTES for part in parts):
        return f"has a name of more than {NAME_BYTES} bytes"
    if len(path.encode("utf-8", "surrogateescape")) > PATH_BYTES // 2:
        return f"is longer than {PATH_BYTES // 2} bytes"
    if len(parts) > PATH_DEPTH:
        return f"is more than {PATH_DEPTH} folders deep"
    return ""


def path(text: str) -> Path:
    """Return the path that a user wrote, with ~ expanded.

    Raises:
        UserError: it names the home of a user who does not exist, or cannot be a path.
    """
    try:
        made = Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{shortened(text, 60)}: there is no such user", "write the whole path") from None
    if "\0" in text or any(len(part.encode("utf-8", "surrogateescape")) > NAME_BYTES for part in made.parts):
        raise UserError(f"{shortened(text, 60)} cannot be a path: it has a name that is too long", "name another path")
    return made


def address(text: str) -> str:
    """Return an http or https address that a user wrote.

    Raises:
        UserError: it is another kind of address, or malformed.
    """
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        raise UserError(f"{shortened(text, 80)} is not an address of http or https", "write it as http://HOST/PATH")
    return text


def first_unfit(paths: Iterable[str]) -> str:
    """Return a sentence about the first path that cannot exist; empty if all can."""
    for path in paths:
        if why := unfit(path):
            return f"the path {shortened(path, 60)} {why}"
    return ""
