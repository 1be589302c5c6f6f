"""Export series for git am, and refresh our own series from a developer's branch.

Takes a series, or a range of commits, and gives files as git format-patch writes them. Checks commits as strictly as
mails from outside. Never writes to the developer's repository.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from core import process, store
from core.errors import InfraError, UserError
from patches import hostile, incoming, series
from patches.incoming import Incoming
from patches.series import Series

# These override what a user's configuration may change in the output (git-config(1), format.* and diff.*).
_PLAIN = (
    *(
        "--zero-commit",
        "--no-numbered",
        "--no-signature",
        "--no-thread",
        "--no-attach",
        "--no-cover-letter",
        "--quiet",
        "--no-signoff",
    ),
    *("--subject-prefix=PATCH", "--no-to", "--no-cc", "--no-add-header", "--no-base", "--no-notes", "--no-from"),
    *(
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-relative",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "-O/dev/null",
    ),
    *("--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers", "--find-renames", "--abbrev=12"),
)
_PINS = re.compile(r"(?<=\n)    sha256:.*\n(?:      .*\n)*")


def export(wanted: Series, folder: Path) -> list[Path]:
    """Write the patches of a series into a directory that is new or empty.

    Raises:
        UserError: the series is empty, or the directory contains other files.
        InfraError: the disk is full.
    """
    _not_empty(wanted)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        if folder.is_dir() and {p.name: store.hash_file(p) for p in folder.iterdir() if p.is_file()} == {
            patch.name: patch.sha256 for patch in wanted.patches
        }:
            return [folder / patch.name for patch in wanted.patches]
        raise UserError(f"{folder} is not empty", "git am takes all files in it: name a new directory")
    new = folder.absolute().with_name(f".{folder.absolute().name}.new")
    with store.disk_errors(folder):
        new.parent.mkdir(parents=True, exist_ok=True)
        store.remove_tree(new)
        new.mkdir()
        for patch in wanted.patches:
            (new / patch.name).write_bytes(_read(patch).encode("utf-8", "surrogateescape"))
        new.rename(folder)
    return [folder / patch.name for patch in wanted.patches]


def export_mbox(wanted: Series, file: Path) -> None:
    """Write a series as one mbox with numbered subjects.

    Raises:
        UserError: the series is empty, or the path is a directory.
        InfraError: the disk is full.
    """
    _not_empty(wanted)
    if file.is_dir():
        raise UserError(f"{file} is a directory")
    total = len(wanted.patches)
    mails = []
    for number, patch in enumerate(wanted.patches, 1):
        envelope, _, text = _read(patch).partition("\n")
        tag = f"[PATCH {number}/{total}]" if total > 1 else "[PATCH]"
        text = re.sub(r"^Subject: \[PATCH[^\]]*\]", f"Subject: {tag}", text, count=1, flags=re.MULTILINE)
        mails.append(f"{envelope}\n{text}\n")
    new = file.absolute().with_name(f".{file.name}.new")
    with store.disk_errors(file):
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes("".join(mails).encode("utf-8", "surrogateescape"))
        new.replace(file)


def _not_empty(wanted: Series) -> None:
    if not wanted.patches:
        raise UserError(f"the series {wanted.name} has no patches")


def _read(patch: series.PatchFile) -> str:
    """Read a patch of a series and check it again: the file may have changed since it was pinned."""
    text = hostile.read(patch.path)
    hostile.check(text, patch.name)
    return text


def from_branch(repository: Path, span: str) -> Incoming:
    """Return the commits of a range as patches.

    Args:
        repository: a git repository; it is only read.
        span: A..B; A itself is left out.

    Raises:
        UserError: the range does not exist, is empty or has merges, or a patch is refused.
    """
    if not repository.is_dir():
        raise UserError(f"{repository} is not a directory")
    first, dots, last = span.partition("..")
    if not dots or not first or not last or last.startswith("."):
        raise UserError(f"{span!r} is not a range of commits", "write A..B; A itself is left out")
    ends = [
        _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{end}^{{commit}}")
        for end in (first, last)
    ]
    for end, commit in zip((first, last), ends, strict=True):
        if commit.code:
            raise UserError(f"{repository} has no commit {end}: {commit.err.strip() or 'git does not know it'}")
    commits = f"{ends[0].out.strip()}..{ends[1].out.strip()}"
    listed = _git(repository, "rev-list", "--parents", commits)
    lines = listed.out.split("\n")[:-1]
    if listed.code or not lines:
        raise UserError(f"the range {span} contains no commits: {listed.err.strip() or 'it is empty'}")
    merges = [line.split()[0][:12] for line in lines if len(line.split()) > 2]
    if merges:
        raise UserError(f"the range {span} contains merges ({', '.join(merges[:5])}): a series needs a linear history")
    with tempfile.TemporaryDirectory(prefix="kdf-refresh-") as scratch:
        done = _git(repository, "format-patch", *_PLAIN, "-o", scratch, commits)
        if done.code:
            raise InfraError(f"git format-patch failed: {done.err.strip()}")
        made = incoming.read(scratch)
    if len(made.patches) != len(lines):
        raise UserError(f"git made {len(made.patches)} patches of {len(lines)} commits: one of them changes nothing")
    return made


def _git(repository: Path, *words: str) -> process.Captured:
    quiet = {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "LC_ALL": "C",
    }
    words = ("-c", "i18n.logOutputEncoding=UTF-8", "-c", "diff.suppressBlankEmpty=false", *words)
    return process.capture(["git", *words], cwd=repository, env=quiet, timeout=600)


def refresh(commits: Incoming, file: Path = series.FILE) -> list[str]:
    """Replace the patches of our own series by those of a developer's branch, and pin them.

    Replaces the directory as a whole. If a run is killed, the next one repairs it.

    Args:
        file: series.yaml with the series `kit`.

    Returns:
        The changes: one line per patch.

    Raises:
        UserError: series.yaml has no key for the hashes.
        InfraError: the disk is full or read-only.
    """
    text = file.read_text()
    head, mark, rest = text.partition("\n  kit:\n")
    pins = "".join(f'      {patch.name}: "{patch.sha256}"\n' for patch in commits.patches)
    block, count = _PINS.subn(lambda _: f"    sha256:  # written by ./invoke patches.refresh\n{pins}", rest, count=1)
    if not mark or not count:
        raise UserError(f"{file}: the series kit has no key sha256 to write to")
    folder = file.parent / "linux"
    old = {path.name: path.read_bytes() for path in sorted(folder.glob("*.patch"))} if folder.is_dir() else {}
    new = {patch.name: patch.data for patch in commits.patches}
    new_folder, old_folder = folder.with_name(".linux.new"), folder.with_name(".linux.old")
    with store.disk_errors(folder):
        store.remove_tree(new_folder)
        new_folder.mkdir()
        for name, data in new.items():
            (new_folder / name).write_bytes(data)
        if folder.exists():
            store.remove_tree(old_folder)
            folder.rename(old_folder)
        new_folder.rename(folder)
        store.write_text(file, f"{head}{mark}{block}")
        store.remove_tree(old_folder)
    words = {name: "is new" if name not in old else "differs" for name, data in new.items() if old.get(name) != data}
    return [
        *(f"{name} {word}" for name, word in words.items()),
        *(f"{name} is gone" for name in old if name not in new),
    ]
