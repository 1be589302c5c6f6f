"""Run `git apply` without any repository or configuration, and read its output.

Takes a directory and a patch file. Only git decides whether a patch applies: the context must match exactly, lines may
have moved, there is no fuzz. Never uses hooks, attributes of the user, or a repository around the directory.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from core import process
from core.errors import InfraError, UserError

TIMEOUT = 120.0  # seconds; a series of hundreds of patches takes one second
# Variables by which git would look for its repository elsewhere (git(1), "The Git Repository").
_UNSET = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG")
_CHECKING = re.compile(r"(?:Checking|Applying|Applied) patch (.+?)(?:\.\.\.| cleanly\.| with \d+ rejects?\.\.\.)")
_OFFSET = re.compile(r"Hunk #(\d+) succeeded at \d+ \(offset (-?\d+) lines?\)\.")
_REJECTED = re.compile(r"Rejected hunk #(\d+)\.")
_FAILED = re.compile(r"patch failed: .*:(\d+)")


@dataclass
class Answer:
    """What git printed about one file.

    Attributes:
        offsets: hunk number -> lines by which it moved.
        rejected: numbers of the hunks that do not apply.
        searched: line that a hunk names -> the lines that git did not find.
        errors: git's own messages, without the searched lines.
    """

    offsets: dict[int, int] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    searched: dict[int, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def apply(tree: Path, patch: Path, *options: str) -> process.Captured:
    """Run `git apply` on a directory.

    Raises:
        InfraError: git is not installed, or did not end in time.
    """
    if shutil.which("git") is None:
        raise InfraError(
            "the program git is not on this machine", "run ./invoke doctor, it names the package to install"
        )
    root = tree.resolve()
    unset = [word for name in _UNSET for word in ("-u", name)]
    return process.capture(
        ["env", *unset, "git", "apply", "-p1", "--whitespace=nowarn", *options, str(patch.resolve())],
        cwd=root,
        env={
            "GIT_CEILING_DIRECTORIES": str(root.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "LC_ALL": "C",
        },
        timeout=TIMEOUT,
    )


def touched(tree: Path, patch: Path, name: str) -> list[str]:
    """Return the files that git finds in a patch, by their new names.

    Raises:
        UserError: git cannot read it.
    """
    done = apply(tree, patch, "--numstat", "-z")
    if done.code != 0:
        reason = "; ".join(line.removeprefix("error: ") for line in done.err.splitlines() if line.strip())
        raise UserError(f"{name} is malformed: git says: {reason[:300]}")
    return [entry.split("\t", 2)[2] for entry in done.out.split("\0") if entry.count("\t") >= 2]


def agree(tree: Path, patch: Path, ours: Iterable[str], name: str) -> None:
    """Raise if git finds other files in a patch than this toolkit does.

    Args:
        ours: the files that `patches.parse` finds in it.

    Raises:
        UserError: git finds others, or cannot read the patch.
    """
    theirs, mine = sorted(touched(tree, patch, name)), sorted(ours)
    if theirs != mine:
        odd = sorted(set(theirs) ^ set(mine)) or mine
        raise UserError(f"{name} is ambiguous: git and this toolkit find different files in it: {', '.join(odd)}")


def answers(output: str) -> dict[str, Answer]:
    """Sort the output of `git apply --verbose` by file; messages that name no file are under the empty name."""
    current = Answer()
    by_file = {"": current}
    searching: list[str] | None = None
    for line in output.splitlines():
        if searching is not None and not line.startswith("error: "):
            searching.append(line)
            continue
        if header := _CHECKING.fullmatch(line):
            current = by_file.setdefault(header[1].rpartition(" => ")[2], Answer())
        elif moved := _OFFSET.fullmatch(line):
            current.offsets[int(moved[1])] = int(moved[2])
        elif rejected := _REJECTED.fullmatch(line):
            current.rejected.append(int(rejected[1]))
        elif line == "error: while searching for:":
            searching = []
        elif line.startswith(("error: ", "fatal: ")):
            text = line.partition(": ")[2]
            if searching is not None and (failed := _FAILED.fullmatch(text)):
                # git adds an empty line at the end of the block.
                current.searched[int(failed[1])] = searching[:-1] if searching[-1:] == [""] else searching
                searching = None
            current.errors.append(text)
    return by_file
