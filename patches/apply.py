"""Check whether a series applies to a source, and make the patched tree.

Takes an unpacked source and a series. Gives one report per patch, or a product of kind `tree` whose `path/linux` is the
patched source. Never writes to the source itself.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import process, store
from core.errors import InfraError, UnderTest, UserError
from core.store import Product
from patches import git, hostile
from patches.parse import FileChange
from patches.series import PatchFile, Series

APPLIED, OFFSET, THERE, CONFLICTS = "applied", "applied with offset", "already there", "conflicts"
# Part of a tree's key: raise it when the same source and patches would give another tree.
_MAKER = 1


@dataclass(frozen=True)
class HunkReport:
    """The result of one hunk.

    Attributes:
        line: line of the old file that the hunk names.
        offset: number of lines by which git moved it.
        applied: whether it applies.
        missing: lines of its context that the file does not have at all.
    """

    line: int
    header: str
    offset: int
    applied: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileReport:
    """The result of one file; `error` is git's own message if it was not patched."""

    path: str
    kind: str
    added: int
    removed: int
    hunks: tuple[HunkReport, ...]
    error: str = ""


@dataclass(frozen=True)
class PatchReport:
    """The result of one patch.

    Attributes:
        status: `applied`, `applied with offset`, `already there` or `conflicts`.
        reason: file, line and git's reason if it does not apply; empty otherwise.
    """

    patch: str
    status: str
    files: tuple[FileReport, ...]
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status in (APPLIED, OFFSET)

    def as_json(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        return asdict(self)

    def as_row(self) -> dict[str, object]:
        """Return the report as a row of a table."""
        hunks = [hunk for file in self.files for hunk in file.hunks]
        moved, bad = sum(bool(h.offset) for h in hunks), sum(not h.applied for h in hunks)
        notes = [f"{count} {word}" for count, word in ((moved, "moved"), (bad, "rejected")) if count]
        text = f"{len(hunks)} ({', '.join(notes)})" if notes else str(len(hunks))
        return {
            "patch": self.patch,
            "status": self.status,
            "files": len(self.files),
            "hunks": text,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class _Checked:
    """A patch that passed `patches.hostile`, with the bytes that were checked."""

    name: str
    data: bytes
    changes: tuple[FileChange, ...]


def source_directory(source: Product | Path) -> Path:
    """Return the directory of an unpacked source.

    Raises:
        UserError: it is not a directory.
    """
    path = source if isinstance(source, Path) else source.path / "src"
    if not path.is_dir():
        raise UserError(f"{path} is not a directory: there is no source to patch")
    return path.resolve()


def check(source: Product | Path, series: Series) -> list[PatchReport]:
    """Try a series patch by patch on a copy of the files that it touches.

    If some hunks of a patch do not apply, the others stay applied, so that later patches are judged as well.

    Raises:
        UserError: a patch is malformed or hostile.
    """
    with _tried(source_directory(source), series.patches) as (reports, _copy):
        return reports


def changed_files(source: Path, patches: Sequence[PatchFile], name: str) -> dict[str, bytes | None]:
    """Return path -> content of each file that the patches touch, as they leave it; None for a removed file.

    Args:
        name: of the source, for the error about a patch that does not apply.

    Raises:
        UserError: a patch is malformed or hostile.
        UnderTest: a patch does not apply.
    """
    with _tried(source_directory(source), patches) as (reports, copy):
        require(reports, name)
        paths = {file.path for report in reports for file in report.files}
        return {path: (copy / path).read_bytes() if (copy / path).is_file() else None for path in sorted(paths)}


def added_files(patch: PatchFile) -> list[str]:
    """Return the files that a patch creates.

    Raises:
        UserError: it is malformed or hostile.
    """
    changes = hostile.check(hostile.read(patch.path), patch.name)
    return [change.path for change in changes if change.kind == "create"]


@contextlib.contextmanager
def _tried(tree: Path, patches: Sequence[PatchFile]) -> Iterator[tuple[list[PatchReport], Path]]:
    """Apply patches to a copy of the files that they touch; give one report per patch, and the copy."""
    with tempfile.TemporaryDirectory(prefix="kdf-patch-") as scratch:
        copy = Path(scratch) / "tree"
        copy.mkdir()
        checked = [_read(patch, tree, copy) for patch in patches]
        for path in dict.fromkeys(p for patch in checked for change in patch.changes for p in change.paths):
            _copy_file(tree / path, copy / path)
        yield [_try(patch, copy, Path(scratch) / "patch") for patch in checked], copy


def _read(patch: PatchFile, tree: Path, copy: Path) -> _Checked:
    """Read and check a patch; git must find the same files in it as we do.

    Raises:
        UserError: it is malformed or hostile.
    """
    text = hostile.read(patch.path)
    changes = hostile.check(text, patch.name)
    hostile.check_tree(changes, tree, patch.name)
    data = text.encode("utf-8", "surrogateescape")
    file = copy.parent / "patch"
    file.write_bytes(data)
    git.agree(copy, file, (change.path for change in changes), patch.name)
    return _Checked(patch.name, data, tuple(changes))


def _copy_file(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _try(patch: _Checked, copy: Path, file: Path) -> PatchReport:
    """Apply one patch in a directory and report the result."""
    file.write_bytes(patch.data)
    done = git.apply(copy, file, "--verbose")
    if done.code == 0:
        files = _file_reports(patch.changes, git.answers(done.err))
        moved = any(hunk.offset for report in files for hunk in report.hunks)
        return PatchReport(patch.name, OFFSET if moved else APPLIED, files)
    if git.apply(copy, file, "--check", "--reverse").code == 0:
        files = _file_reports(patch.changes, {})
        return PatchReport(patch.name, THERE, files, "the tree has it already")
    before = {path: _lines(copy / path) for change in patch.changes for path in change.paths}
    partly = git.apply(copy, file, "--verbose", "--reject")
    files = _file_reports(patch.changes, git.answers(partly.err), before)
    reasons = [text for text in map(_reason, files) if text]
    more = f" (and {len(reasons) - 1} more files)" if len(reasons) > 1 else ""
    return PatchReport(patch.name, CONFLICTS, files, reasons[0] + more if reasons else _git_error(done))


def _lines(path: Path) -> frozenset[str]:
    return frozenset(path.read_text(errors="replace").splitlines()) if path.is_file() else frozenset()


def _git_error(done: process.Captured) -> str:
    return "git: " + "; ".join(line for line in done.err.splitlines() if line.startswith(("error:", "fatal:")))


def _reason(report: FileReport) -> str:
    """Return why a file was not patched: file, line and git's message."""
    bad = next((hunk for hunk in report.hunks if not hunk.applied), None)
    if bad is None:
        return f"{report.path}: git: {report.error}" if report.error else ""
    lost = f"; the file has no line {bad.missing[0].strip()!r}" if bad.missing else ""
    return f"{report.path}: hunk at line {bad.line} ({bad.header}): git: {report.error or 'does not apply'}{lost}"


def _file_reports(
    changes: Sequence[FileChange],
    answers: dict[str, git.Answer],
    before: dict[str, frozenset[str]] | None = None,
) -> tuple[FileReport, ...]:
    """Join the changes of a patch with git's answers."""
    return tuple(_file_report(change, answers.get(change.path, git.Answer()), before or {}) for change in changes)


def _file_report(change: FileChange, answer: git.Answer, before: dict[str, frozenset[str]]) -> FileReport:
    hunks: list[HunkReport] = []
    lines_there = before.get(change.old or change.new, frozenset())
    # If git cannot read a file at all, it rejects no single hunk: none of them applies.
    whole = bool(answer.errors) and not answer.rejected
    for number, hunk in enumerate(change.hunks, 1):
        bad = whole or number in answer.rejected
        searched = answer.searched.get(hunk.old_start, []) if bad else []
        missing = tuple(line for line in searched if line not in lines_there)
        hunks.append(HunkReport(hunk.old_start, hunk.header, answer.offsets.get(number, 0), not bad, missing))
    added, removed = sum(h.added for h in change.hunks), sum(h.removed for h in change.hunks)
    error = "; ".join(dict.fromkeys(answer.errors[:1])) if (whole or answer.rejected) else ""
    return FileReport(change.path, change.kind, added, removed, tuple(hunks), error)


def require(reports: Iterable[PatchReport], source: str) -> None:
    """Raise if a patch does not apply.

    Args:
        source: the source as a user names it, such as `Linux 7.1.8`.

    Raises:
        UnderTest: a patch does not apply; the error names patch, file, hunk and git's reason.
    """
    bad = [report for report in reports if not report.ok]
    if not bad:
        return
    lines = [f"{report.patch}: {report.reason}" for report in bad]
    head = "a patch does" if len(bad) == 1 else f"{len(bad)} patches do"
    hint = "use --series none: the tree is patched already" if all(r.status == THERE for r in bad) else ""
    raise UnderTest("\n  ".join([f"{head} not apply to {source}:", *lines]), hint)


def tree(source: Product, series: Series) -> Product:
    """Return the source with a series applied; make it if the store does not have it.

    Args:
        source: an unpacked source: `path/src`.

    Returns:
        A product of kind `tree`: `path/linux`, read-only.

    Raises:
        UserError: a patch is malformed or hostile.
        UnderTest: a patch does not apply.
        InfraError: the tree cannot be copied.
    """
    inputs = {"source": source.key, "patches": [patch.sha256 for patch in series.patches], "maker": _MAKER}

    def work(tmp: Path) -> dict[str, Any]:
        reports = check(source, series)
        require(reports, f"Linux {stated_version(source_directory(source))}")
        linux = tmp / "linux"
        copy_tree(source_directory(source), linux)
        for patch, report in zip(series.patches, reports, strict=True):
            done = git.apply(linux, patch.path)
            if done.code != 0:
                raise UnderTest(f"{report.patch} applied to the copy but not to the tree: {_git_error(done)}")
        make_read_only(linux)
        return {
            "series": series.name,
            "generation": series.generation,
            "layout": series.layout,
            "patches": [report.as_row() for report in reports],
        }

    return store.make("tree", inputs, work)


def stated_version(tree: Path) -> str:
    """Return the version in a tree's Makefile, or the directory if it has none."""
    makefile = tree / "Makefile"
    head = makefile.read_text(errors="replace")[:4000] if makefile.is_file() else ""
    parts = [re.search(rf"^{word} *= *(\d+)", head, re.MULTILINE) for word in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(part[1] for part in parts if part) or str(tree)


def copy_tree(source: Path, target: Path) -> None:
    """Copy an unpacked source into a directory of ours.

    A source in the store never changes, so its files become hard links. That takes one second instead of twenty, and
    no disk. git replaces the files that it patches; it does not write into them. Any other source is copied.

    Raises:
        InfraError: the copy failed.
    """
    in_store = source.is_relative_to((store.home() / "store").resolve())
    for options in (["-al"], ["-a", "--reflink=auto"]) if in_store else (["-a", "--reflink=auto"],):
        done = process.run(["cp", *options, "--", str(source), str(target)])
        if done.ok:
            break
        store.remove_tree(target)
    else:
        if any("No space left on device" in line for line in done.tail):
            raise InfraError(
                f"the disk is full: copying {source} failed",
                "free some space or point KDF_HOME at a larger disk, then run the same command again",
            )
        raise InfraError(f"copying {source} to {target} failed: {(done.tail or ('',))[-1]}")
    # The directories are copies, and a copy of a read-only directory is read-only.
    process.run(["find", str(target), "-type", "d", "-exec", "chmod", "u+rwx", "{}", "+"])
    repository = target / ".git"
    if repository.is_dir() and not repository.is_symlink():
        store.remove_tree(repository)
    else:
        repository.unlink(missing_ok=True)


def make_read_only(path: Path) -> None:
    """Remove write permission, so that a build that writes into its source fails."""
    process.run(["chmod", "-R", "a-w", str(path)])
