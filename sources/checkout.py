"""Source that a user has: git repositories and trees. Nothing here writes to them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from core import process, store
from core.errors import InfraError, UserError
from core.progress import Progress
from sources.origins import without_user


def _git(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> process.Captured:
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", **(env or {})}
    return process.capture(["git", *words], cwd=cwd, env=quiet, timeout=600)


def git_commit(place: str, revision: str) -> tuple[Path | None, str]:
    """The repository on this machine (None if it is elsewhere) and the full commit of a revision.

    Raises:
        UserError: there is no such revision.
        InfraError: the repository cannot be asked.
    """
    local = Path(place).expanduser()
    if local.is_dir():
        found = _git("rev-parse", "--absolute-git-dir", cwd=local)
        if found.code:
            raise UserError(f"{place} is not a git repository: {found.err.strip()}")
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=local)
        if commit.code:
            raise UserError(f"the repository {place} has no commit {revision}")
        return Path(found.out.strip()), commit.out.strip()
    if ":" not in place:  # neither an address nor HOST:PATH
        raise UserError(f"there is no repository {place}")
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return None, revision
    listed = _git("ls-remote", "--", place, revision, f"{revision}^{{}}")
    if listed.code:
        why = listed.err.strip().partition("\n")[0]
        raise InfraError(f"the repository {without_user(place)} cannot be asked: {why}", "check address and network")
    if not listed.out.strip():
        raise UserError(f"{without_user(place)} has no branch or tag {revision}", "name it or give all 40 digits")
    return None, listed.out.split("\n")[-2].split()[0]  # a tag's own commit stands last, as NAME^{}


def git_export(place: str, git_dir: Path | None, commit: str, target: Path) -> None:
    """Write the files of a commit below `target`; a repository elsewhere is fetched without history.

    Raises:
        UserError: it holds other repositories.
        InfraError: it cannot be fetched.
    """
    log = store.home() / "logs" / f"git-{commit[:12]}.log"
    if git_dir is None:
        git_dir = store.home() / "git" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.git"
        with store.lock(git_dir.name), Progress(f"fetching {commit[:12]}"):
            _run_git(["init", "--quiet", "--bare", str(git_dir)], log)
            slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
            fetch = ["fetch", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", place, commit]
            _run_git([*slow, f"--git-dir={git_dir}", *fetch], log)
    links = _git(f"--git-dir={git_dir}", "ls-tree", "-r", commit).out
    inner = [line.partition("\t")[2] for line in links.splitlines() if line.startswith("160000 ")]
    if inner:
        raise UserError(f"commit {commit} holds other repositories ({inner[0]}, ...)", "check it out and say path:DIR")
    target.mkdir(parents=True)
    index = {"GIT_INDEX_FILE": str(target.parent / ".index")}
    plain = ["-c", "core.bare=false", "-c", "core.sparseCheckout=false"]
    where = [f"--git-dir={git_dir}", f"--work-tree={target}", *plain]
    _run_git([*where, "read-tree", commit], log, index)
    _run_git([*where, "checkout-index", "--all", "--quiet"], log, index, target)
    (target.parent / ".index").unlink()


def _run_git(words: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    done = process.run(["git", *words], cwd=cwd, env={"GIT_TERMINAL_PROMPT": "0", **(env or {})}, log=log, timeout=7200)
    if not done.ok:
        raise InfraError(f"git failed: {done.tail[-1] if done.tail else 'no output'}", "read the log", log)


def git_between(place: str, good: str, bad: str) -> list[str]:
    """The commits of a repository on this machine from one to another, oldest first, both ends among them.

    Of a merge only the first parent is followed: the commits of two branches are in no order, so that one of them is
    bad says nothing about the next. What a branch broke is found as its merge.

    Raises:
        UserError: there is no such repository or revision, or the first is no ancestor of the second.
    """
    if not Path(place).expanduser().is_dir():
        raise UserError(f"{place} is no repository on this machine", "clone it first: many of its commits will be read")
    first, last = (git_commit(place, revision)[1] for revision in (good, bad))
    here = Path(place).expanduser()
    listed = _git("rev-list", "--reverse", "--first-parent", f"{first}..{last}", cwd=here)
    way = listed.out.split()
    if listed.code or not way or _git("merge-base", "--is-ancestor", first, last, cwd=here).code:
        raise UserError(f"{good} is no ancestor of {bad} in {place}", "choose other ends")
    return [first, *way]


def tree_files(root: Path) -> tuple[str, list[str]]:
    """What identifies the present state of a user's tree, and the files that belong to it.

    A git work tree is known by HEAD and what differs from it, and its ignored files do not belong to it; any other
    directory by names, sizes and times.
    """
    digest = hashlib.sha256()
    top = _git("rev-parse", "--show-toplevel", cwd=root) if shutil.which("git") else None
    if top is not None and top.code == 0 and Path(top.out.strip()) == root.resolve():
        listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root).out.split("\0")
        files = sorted({name for name in listed if name and os.path.lexists(root / name)})
        changed = _git("diff", "--name-only", "-z", "--no-renames", "HEAD", cwd=root).out.split("\0")
        new = _git("ls-files", "-z", "--others", "--exclude-standard", cwd=root).out.split("\0")
        digest.update(_git("rev-parse", "HEAD", cwd=root).out.encode())
        for name in sorted({*filter(None, changed), *filter(None, new)}):
            digest.update(f"{name}\0{_content(root / name)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest(), files
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        at = os.path.relpath(folder, root)
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        files += [os.path.normpath(os.path.join(at, name)) for name in sorted([*names, *linked])]  # noqa: PTH118
    for name in files:
        facts = (root / name).lstat()
        line = f"{name}\0{facts.st_mode:o}\0{facts.st_size}\0{facts.st_mtime_ns}\0{_target(root / name)}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest(), files


def _target(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else ""


def _content(path: Path) -> str:
    """What a file of a work tree holds, in one word; `gone` if it is not there."""
    if path.is_symlink() or not path.is_file():
        return _target(path) or "gone"
    return f"{path.stat().st_mode & 0o100:o} {store.hash_file(path)}"


def copy_tree(root: Path, files: list[str], target: Path) -> None:
    """Copy the files of a user's tree; devices and sockets are left out.

    Raises:
        UserError: another repository is part of it.
    """
    with Progress(f"copying {root}", len(files), "files") as progress:
        for name in files:
            source, place = root / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            facts = source.lstat()
            if stat.S_ISLNK(facts.st_mode):
                place.symlink_to(source.readlink())
            elif stat.S_ISREG(facts.st_mode):
                shutil.copyfile(source, place)
                place.chmod(0o755 if facts.st_mode & 0o100 else 0o644)
                os.utime(place, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
            elif stat.S_ISDIR(facts.st_mode):
                raise UserError(f"{root} holds another repository in {name}", "say path: of a tree without submodules")
            progress.step()
