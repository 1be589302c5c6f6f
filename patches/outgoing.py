"""Series that leave: `export` for git am, and `refresh`, which takes our own series from a developer's branch.

What comes in is a series, or a range of commits; what goes out is files as git format-patch makes them. The developer's
repository is only read. What a refresh writes is checked as hard as what strangers send.
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

# What a user's configuration could change in the output of git format-patch (git-config(1), format.* and diff.*).
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
        UserError: the series is empty, or something else is there.
        InfraError: the disk is full.
    """
    _not_empty(wanted)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        if folder.is_dir() and {p.name: store.hash_file(p) for p in folder.iterdir() if p.is_file()} == {
            patch.name: patch.sha256 for patch in wanted.patches
        }:
            return [folder / patch.name for patch in wanted.patches]
        raise UserError(f"{folder} is not empty", "git am takes all that is in it: name a new directory")
    beside = folder.absolute().with_name(f".{folder.absolute().name}.new")
    with store.disk_errors(folder):
        beside.parent.mkdir(parents=True, exist_ok=True)
        store.remove_tree(beside)
        beside.mkdir()
        for patch in wanted.patches:
            (beside / patch.name).write_bytes(_read(patch).encode("utf-8", "surrogateescape"))
        beside.rename(folder)
    return [folder / patch.name for patch in wanted.patches]


def export_mbox(wanted: Series, file: Path) -> None:
    """Write a series as one mbox, its subjects numbered.

    Raises:
        UserError: the series is empty, or something is there that is no file.
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
    beside = file.absolute().with_name(f".{file.name}.new")
    with store.disk_errors(file):
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes("".join(mails).encode("utf-8", "surrogateescape"))
        beside.replace(file)


def _not_empty(wanted: Series) -> None:
    if not wanted.patches:
        raise UserError(f"the series {wanted.name} has no patches")


def _read(patch: series.PatchFile) -> str:
    """A patch of a series, checked again: what stands on the disk may not be what was pinned."""
    text = hostile.read(patch.path)
    hostile.check(text, patch.name)
    return text


def from_branch(repository: Path, span: str) -> Incoming:
    """The commits of a range as patches.

    Args:
        repository: a git repository; only read.
        span: A..B, from which A is left out.

    Raises:
        UserError: there is no such range, it is empty or not a line of commits, or a patch is refused.
    """
    if not repository.is_dir():
        raise UserError(f"{repository} is no directory")
    first, dots, last = span.partition("..")
    if not dots or not first or not last or last.startswith("."):
        raise UserError(f"{span!r} is no range of commits", "say A..B; A itself is left out")
    ends = [
        _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{end}^{{commit}}")
        for end in (first, last)
    ]
    for end, found in zip((first, last), ends, strict=True):
        if found.code:
            raise UserError(f"{repository} has no commit {end}: {found.err.strip() or 'git does not know it'}")
    commits = f"{ends[0].out.strip()}..{ends[1].out.strip()}"
    listed = _git(repository, "rev-list", "--parents", commits)
    lines = listed.out.split("\n")[:-1]
    if listed.code or not lines:
        raise UserError(f"the range {span} holds no commits: {listed.err.strip() or 'it is empty'}")
    merges = [line.split()[0][:12] for line in lines if len(line.split()) > 2]
    if merges:
        raise UserError(f"the range {span} holds merges ({', '.join(merges[:5])}): a series is a line of commits")
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


def refresh(found: Incoming, file: Path = series.FILE) -> list[str]:
    """Make the patches of our own series those of a developer's branch, and pin them.

    The directory is replaced as a whole; a run that was killed in between is repaired by the next, which does not ask
    what stood there.

    Args:
        file: series.yaml with the series `kit`.

    Returns:
        What changed: one line a patch.

    Raises:
        UserError: series.yaml has no place for the hashes.
        InfraError: the disk is full or read-only.
    """
    text = file.read_text()
    head, mark, rest = text.partition("\n  kit:\n")
    pins = "".join(f'      {patch.name}: "{patch.sha256}"\n' for patch in found.patches)
    block, count = _PINS.subn(lambda _: f"    sha256:  # written by ./invoke patches.refresh\n{pins}", rest, count=1)
    if not mark or not count:
        raise UserError(f"{file}: the series kit has no key sha256 to write to")
    folder = file.parent / "linux"
    old = {path.name: path.read_bytes() for path in sorted(folder.glob("*.patch"))} if folder.is_dir() else {}
    new = {patch.name: patch.data for patch in found.patches}
    beside, aside = folder.with_name(".linux.new"), folder.with_name(".linux.old")
    with store.disk_errors(folder):
        store.remove_tree(beside)
        beside.mkdir()
        for name, data in new.items():
            (beside / name).write_bytes(data)
        if folder.exists():
            store.remove_tree(aside)
            folder.rename(aside)
        beside.rename(folder)
        store.write_text(file, f"{head}{mark}{block}")
        store.remove_tree(aside)
    words = {name: "is new" if name not in old else "differs" for name, data in new.items() if old.get(name) != data}
    return [
        *(f"{name} {word}" for name, word in words.items()),
        *(f"{name} is gone" for name in old if name not in new),
    ]
