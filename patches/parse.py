"""Parse unified diffs as `git apply` does.

Takes the text of a patch, with the mail around the diff, and gives a list of `FileChange`. Malformed text is an error
that names the line. Never judges whether a change is allowed: `patches.hostile` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from core.errors import UserError

_GIT = re.compile(r"diff --git (\S+) (\S+)")
# A file has fewer than a thousand million lines.
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(.*)", re.ASCII)
_INDEX = re.compile(r"index [0-9a-f]{1,64}\.\.[0-9a-f]{1,64}(?: (\d{1,6}))?", re.ASCII)
_EXTENDED = ("similarity index ", "dissimilarity index ")
NULL = "/dev/null"


@dataclass(frozen=True)
class Hunk:
    """One hunk.

    Attributes:
        at: its line in the patch file, from 1.
        end: the first line after it.
        old_start: line of the old file that it names.
        added, removed: numbers of lines.
        header: its first line.
    """

    at: int
    end: int
    old_start: int
    added: int
    removed: int
    header: str


@dataclass
class FileChange:
    """The changes of one file.

    Attributes:
        at: line in the patch file where it begins.
        end: the first line after its last header or hunk.
        old, new: paths without the first component (`a/`, `b/`); empty if there is none.
        modes: all modes that it names, as octal text.
        mode_only: whether it needs no hunks, because it changes the mode.
        quoted: whether a path is in git's quotes.
        binary: whether its content is binary.
        kind: `change`, `create`, `delete`, `rename` or `copy`.
    """

    at: int
    old: str = ""
    new: str = ""
    modes: list[str] = field(default_factory=list)
    mode_only: bool = False
    quoted: bool = False
    binary: bool = False
    kind: str = "change"
    hunks: list[Hunk] = field(default_factory=list)
    end: int = 0

    @property
    def path(self) -> str:
        """Return the new path of the file, or the old one if it is removed."""
        return self.new or self.old

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(p for p in (self.old, self.new) if p))


def parse(text: str, name: str) -> list[FileChange]:
    """Return all file changes of a patch, in order.

    Args:
        name: of the patch, for errors.

    Raises:
        UserError: a hunk is cut short or belongs to no file.
    """
    lines = text.split("\n")
    changes: list[FileChange] = []
    current: FileChange | None = None
    in_header = False
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.startswith("diff --git "):
            current = FileChange(i + 1)
            changes.append(current)
            in_header = True
            _git_names(current, line)
            current.end = i + 2
        elif in_header and current is not None and _extended(current, line):
            current.end = i + 2
        elif line.startswith("--- ") and i + 1 < len(lines) and lines[i + 1].startswith("+++ "):
            # It is a header only if a hunk follows, as in git; the text of a mail may contain such lines.
            if in_header or (i + 2 < len(lines) and lines[i + 2].startswith("@@ -")):
                if not in_header or current is None:
                    current = FileChange(i + 1)
                    changes.append(current)
                _plain_names(current, line, lines[i + 1])
                in_header = False
                i += 1
                current.end = i + 2
        elif line.startswith("@@ -"):
            if current is None:
                raise UserError(f"{name}:{i + 1}: a hunk without a file")
            hunk, i = _hunk(lines, i, name)
            current.hunks.append(hunk)
            current.end = hunk.end
            in_header = False
            continue
        elif not line.startswith(("index ", "new ", "old ", "deleted ")):
            in_header = False
            if current is not None and current.hunks:
                current = None
        i += 1
    return changes


def _strip(path: str) -> str:
    """Return a path without its first component, as `-p1` reads it."""
    if path == NULL:
        return ""
    head, slash, rest = path.partition("/")
    return rest if slash and head else path


def _git_names(change: FileChange, line: str) -> None:
    rest = line.removeprefix("diff --git ")
    if '"' in rest:
        change.quoted = True
        return
    names = _GIT.fullmatch(line.rstrip("\r"))
    if names:
        change.old, change.new = _strip(names[1]), _strip(names[2])
    else:
        # A path with spaces: both halves name the same file, or the ---, +++ and rename lines have the names.
        half = len(rest) // 2
        change.old, change.new = _strip(rest[:half]), _strip(rest[half + 1 :])


def _extended(change: FileChange, line: str) -> bool:
    """Read one line of git's extended header; return False if it is not one."""
    line = line.rstrip("\r")
    for start, kind in (
        ("old mode ", ""),
        ("new mode ", ""),
        ("new file mode ", "create"),
        ("deleted file mode ", "delete"),
    ):
        if line.startswith(start):
            change.modes.append(line.removeprefix(start).strip())
            change.mode_only = True
            if kind:
                change.kind = kind
            if kind == "create":
                change.old = ""
            if kind == "delete":
                change.new = ""
            return True
    for start, kind in (
        ("rename from ", "rename"),
        ("copy from ", "copy"),
        ("rename to ", "rename"),
        ("copy to ", "copy"),
    ):
        if line.startswith(start):
            path = line.removeprefix(start)
            change.quoted |= path.startswith('"')
            change.kind = kind
            if start.endswith("from "):
                change.old = path
            else:
                change.new = path
            return True
    index = _INDEX.fullmatch(line)
    if index:
        if index[1]:
            change.modes.append(index[1])
        return True
    if line == "GIT binary patch" or (line.startswith("Binary files ") and line.endswith(" differ")):
        change.binary = True
        return True
    return line.startswith(_EXTENDED)


def _plain_names(change: FileChange, old_line: str, new_line: str) -> None:
    """Read the names in the lines `---` and `+++`."""
    names = []
    for line in (old_line, new_line):
        path = line[4:].split("\t")[0].rstrip("\r")
        change.quoted |= path.startswith('"')
        names.append(_strip(path))
    change.old, change.new = names
    if not change.old:
        change.kind = "create"
    elif not change.new:
        change.kind = "delete"


def _hunk(lines: list[str], start: int, name: str) -> tuple[Hunk, int]:
    """Return the hunk whose header is at `start`, and the index of the line after it."""
    header = _HUNK.match(lines[start])
    if header is None:
        raise UserError(f"{name}:{start + 1}: {lines[start][:60]!r} is not a hunk header")
    old_left, new_left = int(header[2] or "1"), int(header[4] or "1")
    added = removed = 0
    i = start + 1
    while old_left > 0 or new_left > 0:
        line = lines[i] if i < len(lines) else None
        # The last element of a text that ends with a newline is empty and is not a line.
        if line is None or (line == "" and i == len(lines) - 1):
            raise UserError(
                f"{name}:{start + 1}: the hunk is cut short: {old_left} old and {new_left} new lines are missing"
            )
        mark = line[:1]
        if mark in (" ", ""):
            old_left, new_left = old_left - 1, new_left - 1
        elif mark == "-":
            old_left, removed = old_left - 1, removed + 1
        elif mark == "+":
            new_left, added = new_left - 1, added + 1
        elif mark != "\\":
            raise UserError(
                f"{name}:{i + 1}: {line[:60]!r} inside the hunk of line {start + 1}: "
                f"{old_left} old and {new_left} new lines are missing"
            )
        if old_left < 0 or new_left < 0:
            raise UserError(f"{name}:{i + 1}: the hunk of line {start + 1} has more lines than its header gives")
        i += 1
    if i < len(lines) and lines[i].startswith("\\"):
        i += 1
    # git would ignore such a line. -- starts the signature of a mail, --- the header of the next file.
    after = lines[i] if i < len(lines) else ""
    if after.startswith((" ", "+", "-")) and after.rstrip() not in ("--", "---") and not after.startswith("--- "):
        raise UserError(f"{name}:{i + 1}: the hunk of line {start + 1} has more lines than its header gives")
    return Hunk(start + 1, i + 1, int(header[1]), added, removed, lines[start].rstrip("\r")), i
