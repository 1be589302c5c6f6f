"""Read git repositories and source trees of the user.

Takes a repository and a revision, or a directory. Gives full commits, lists of files, and copies of the files. Never
writes to the repository or the directory of the user.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from core import outside, process, store
from core.errors import InfraError, UserError
from core.progress import Progress
from sources.origins import without_user


def _git(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> process.Captured:
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", **(env or {})}
    return process.capture(["git", *words], cwd=cwd, env=quiet, timeout=600)


def git_commit(repository: str, revision: str) -> tuple[Path | None, str]:
    """Return the git directory (None if it is not on this machine) and the full commit of a revision.

    Raises:
        UserError: there is no such revision.
        InfraError: the repository cannot be reached.
    """
    local = outside.path(repository)
    if local.is_dir():
        git_dir = _git("rev-parse", "--absolute-git-dir", cwd=local)
        if git_dir.code:
            raise UserError(f"{repository} is not a git repository: {git_dir.err.strip()}")
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=local)
        if commit.code:
            raise UserError(f"the repository {repository} has no commit {revision}")
        return Path(git_dir.out.strip()), commit.out.strip()
    if ":" not in repository:  # not an address, and not HOST:PATH
        raise UserError(f"there is no repository {repository}")
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return None, revision
    remote = _git("ls-remote", "--", repository, revision, f"{revision}^{{}}")
    if remote.code:
        why = remote.err.strip().partition("\n")[0]
        raise InfraError(
            f"the repository {without_user(repository)} cannot be read: {why}", "check the address and the network"
        )
    if not remote.out.strip():
        raise UserError(
            f"{without_user(repository)} has no branch or tag {revision}",
            "give a branch, a tag or all 40 digits",
        )
    return None, remote.out.split("\n")[-2].split()[0]  # the commit of a tag is the last line, NAME^{}


def git_export(repository: str, git_dir: Path | None, commit: str, target: Path) -> None:
    """Write the files of a commit below `target`; a repository on another machine is fetched without history.

    Raises:
        UserError: the commit contains submodules.
        InfraError: it cannot be fetched.
    """
    log = store.home() / "logs" / f"git-{commit[:12]}.log"
    if git_dir is None:
        git_dir = store.home() / "git" / f"{hashlib.sha256(repository.encode()).hexdigest()[:16]}.git"
        with store.lock(git_dir.name), Progress(f"fetching {commit[:12]}"):
            _run_git(["init", "--quiet", "--bare", str(git_dir)], log)
            slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
            fetch = ["fetch", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", repository, commit]
            _run_git([*slow, f"--git-dir={git_dir}", *fetch], log)
    links = _git(f"--git-dir={git_dir}", "ls-tree", "-r", commit).out
    submodules = [line.partition("\t")[2] for line in links.splitlines() if line.startswith("160000 ")]
    if submodules:
        raise UserError(f"commit {commit} contains submodules ({submodules[0]}, ...)", "check it out, and use path:DIR")
    target.mkdir(parents=True)
    index = {"GIT_INDEX_FILE": str(target.parent / ".index")}
    settings = ["-c", "core.bare=false", "-c", "core.sparseCheckout=false"]
    options = [f"--git-dir={git_dir}", f"--work-tree={target}", *settings]
    _run_git([*options, "read-tree", commit], log, index)
    _run_git([*options, "checkout-index", "--all", "--quiet"], log, index, target)
    (target.parent / ".index").unlink()


def _run_git(words: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    done = process.run(["git", *words], cwd=cwd, env={"GIT_TERMINAL_PROMPT": "0", **(env or {})}, log=log, timeout=7200)
    if not done.ok:
        raise InfraError(f"git failed: {done.tail[-1] if done.tail else 'no output'}", "read the log", log)


def git_between(repository: str, good: str, bad: str) -> list[str]:
    """List the commits between two commits of a repository on this machine, oldest first, including both.

    Only the first parent of a merge is followed. The commits of two branches have no order, so a bad commit of one
    branch does not mean that the next commit in the list is bad. If a branch broke something, its merge is found.

    Raises:
        UserError: there is no such repository or revision, or the first is not an ancestor of the second.
    """
    if not outside.path(repository).is_dir():
        raise UserError(f"{repository} is not a repository on this machine", "clone it first: many commits are read")
    first, last = (git_commit(repository, revision)[1] for revision in (good, bad))
    folder = outside.path(repository)
    listed = _git("rev-list", "--reverse", "--first-parent", f"{first}..{last}", cwd=folder)
    commits = listed.out.split()
    if listed.code or not commits or _git("merge-base", "--is-ancestor", first, last, cwd=folder).code:
        raise UserError(f"{good} is not an ancestor of {bad} in {repository}", "choose other commits")
    return [first, *commits]


def tree_files(root: Path) -> tuple[str, list[str]]:
    """Return a hash of the present state of a user's tree, and its files.

    For a git work tree the hash covers HEAD and the files that differ from it; ignored files are left out. For any
    other directory it covers names, modes, sizes and times of all files, and targets of links.
    """
    digest = hashlib.sha256()
    toplevel = _git("rev-parse", "--show-toplevel", cwd=root) if shutil.which("git") else None
    if toplevel is not None and toplevel.code == 0 and Path(toplevel.out.strip()) == root.resolve():
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
        relative = os.path.relpath(folder, root)
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        files += [os.path.normpath(os.path.join(relative, name)) for name in sorted([*names, *linked])]  # noqa: PTH118
    for name in files:
        facts = (root / name).lstat()
        line = f"{name}\0{facts.st_mode:o}\0{facts.st_size}\0{facts.st_mtime_ns}\0{_target(root / name)}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest(), files


def _target(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else ""


def _content(path: Path) -> str:
    """Return mode and hash of a file, or the target of a link; `gone` if it does not exist."""
    if path.is_symlink() or not path.is_file():
        return _target(path) or "gone"
    return f"{path.stat().st_mode & 0o100:o} {store.hash_file(path)}"


def copy_tree(root: Path, files: list[str], target: Path) -> None:
    """Copy the files of a user's tree, without devices and sockets.

    Raises:
        UserError: the tree contains another repository.
    """
    with Progress(f"copying {root}", len(files), "files") as progress:
        for name in files:
            source, copy = root / name, target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            facts = source.lstat()
            if stat.S_ISLNK(facts.st_mode):
                copy.symlink_to(source.readlink())
            elif stat.S_ISREG(facts.st_mode):
                shutil.copyfile(source, copy)
                copy.chmod(0o755 if facts.st_mode & 0o100 else 0o644)
                os.utime(copy, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
            elif stat.S_ISDIR(facts.st_mode):
                raise UserError(f"{root} contains another repository in {name}", "give path: a tree without submodules")
            progress.step()
