"""Refuse malformed and hostile patches before git sees them.

Takes the bytes of a patch and the tree that it is meant for. Gives its changes, as `patches.parse` reads them. Never
executes anything of a patch, and never accepts a path outside the tree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from core import outside
from core.errors import UserError
from patches.parse import FileChange, parse

MAX_BYTES = 8 << 20  # mailing lists carry far smaller patches; a register header of a driver has 5 MB
MAX_FILES = 20_000
# A regular file and an executable one; git also knows 120000 (symbolic link) and 160000 (submodule).
_GOOD_MODES = {"100644", "100755"}
_MODE_NAMES = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a directory"}
_ED = re.compile(r"\d{1,20}(?:,\d{1,20})?[acd]\s*", re.ASCII)
_CONTEXT = re.compile(r"\*{15}.*")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")


def read(path: Path, name: str = "") -> str:
    """Return the text of a patch file.

    Args:
        name: what errors call it; its file name by default.

    Raises:
        UserError: it does not exist, is too large, is not a regular file, or is not text.
    """
    shown = name or path.name
    try:
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{shown} is not a regular file: {path}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{shown} is too large for a patch: {size} bytes, at most {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}") from None
    return decode(data, shown)


def decode(data: bytes, name: str) -> str:
    """Decode a patch; keep bytes that are not UTF-8 as surrogates, since old sources contain Latin-1.

    Raises:
        UserError: it is empty or contains a NUL byte.
    """
    if not data.strip():
        raise UserError(f"{name} is empty")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{name}:{line}: a NUL byte: this is not text")
    return data.decode("utf-8", "surrogateescape")


def check(text: str, name: str) -> list[FileChange]:
    """Raise if a patch is malformed or does something that is not allowed here.

    Args:
        name: what errors call it.

    Returns:
        Its changes, in order.

    Raises:
        UserError: the patch is refused; the error gives reason and line.
    """
    changes = parse(text, name)
    _no_other_formats(text, name, changes)
    if not changes:
        raise UserError(f"{name} contains no diff", "a patch has lines like --- a/FILE, +++ b/FILE, @@ -1,2 +1,3 @@")
    if len(changes) > MAX_FILES:
        raise UserError(f"{name} changes {len(changes)} files, at most {MAX_FILES}")
    for change in changes:
        where = f"{name}:{change.at}"
        if change.quoted:
            raise UserError(f"{where}: a path in quotes: names with control characters are refused")
        if not change.paths:
            raise UserError(f"{where}: a change without a file")
        for path in change.paths:
            check_path(path, where)
        if change.binary:
            raise UserError(f"{where}: {change.path} is a binary change: only text can be reviewed")
        for mode in change.modes:
            _check_mode(mode, change, where)
        if change.kind == "change" and not change.hunks and not change.mode_only:
            raise UserError(f"{where}: {change.path} has no hunk: the patch is cut short")
    return changes


def _no_other_formats(text: str, name: str, changes: Sequence[FileChange]) -> None:
    """Raise if there is an ed script or a context diff outside the hunks."""
    inside = _hunk_lines(changes)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if number in inside:
            continue
        if _ED.fullmatch(line):
            raise UserError(
                f"{name}:{number}: {line.strip()!r} is a command of an ed script: only unified diffs are taken"
            )
        if _CONTEXT.fullmatch(line) and number < len(lines) and lines[number].startswith("*** "):
            raise UserError(f"{name}:{number}: a context diff: only unified diffs are taken")


def _hunk_lines(changes: Sequence[FileChange]) -> set[int]:
    """Return the numbers of the lines inside hunks."""
    return {line for change in changes for hunk in change.hunks for line in range(hunk.at, hunk.end)}


def check_path(path: str, where: str) -> None:
    """Raise if a path could leave the tree or reach a git directory.

    Raises:
        UserError: it is refused.
    """
    # This comes first, because the other errors print the path, and control characters must not reach a terminal.
    if "\\" in path or not path.isprintable():
        raise UserError(f"{where}: {path!a} contains a backslash or a control character")
    if why := outside.unfit(path):
        raise UserError(f"{where}: the path {outside.shortened(path, 60)} {why}")
    parts = path.split("/")
    if path.startswith("/") or _WINDOWS.match(path):
        raise UserError(f"{where}: {path} is an absolute path: a patch stays inside the tree")
    if ".." in parts:
        raise UserError(f"{where}: {path} leaves the tree through ..")
    if "" in parts or "." in parts:
        raise UserError(f"{where}: {path} has an empty part or a dot between its slashes")
    if any(part.lower().rstrip(". ") == ".git" or part.lower().startswith("git~") for part in parts):
        raise UserError(f"{where}: {path} reaches into a git directory")


def _check_mode(mode: str, change: FileChange, where: str) -> None:
    if mode in _GOOD_MODES:
        return
    if mode in _MODE_NAMES:
        raise UserError(f"{where}: {change.path} is {_MODE_NAMES[mode]} (mode {mode}): only regular files are taken")
    raise UserError(f"{where}: {change.path} has the mode {mode[:20]!a}: only 100644 and 100755 are taken")


def check_tree(changes: Sequence[FileChange], tree: Path, name: str) -> None:
    """Raise if a path of a patch goes through, or ends at, a symbolic link of the tree.

    Raises:
        UserError: it is refused.
    """
    for change in changes:
        for path in change.paths:
            where = tree
            for part in path.split("/"):
                where = where / part
                if where.is_symlink():
                    link = where.relative_to(tree)
                    raise UserError(f"{name}:{change.at}: {path} goes through the symbolic link {link} of the tree")
