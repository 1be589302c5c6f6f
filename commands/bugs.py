"""Name errors that no room foresaw: of the operating system, and our own bugs.

Takes an exception that reached the end of the program. Gives the error that the user sees. A traceback goes to a file.
"""

from __future__ import annotations

import errno
import os
import platform
import tempfile
import time
import traceback
from contextvars import ContextVar
from pathlib import Path

from core import outside
from core.errors import InfraError, KitError, UserError
from core.version import VERSION

# The words of the command line.
asked: ContextVar[tuple[str, ...]] = ContextVar("asked", default=())

# What is wrong with a path itself: if the user named it, the request is wrong.
_OF_PATHS = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST,
    errno.EINVAL, errno.ENXIO, errno.ENOTEMPTY,
)  # fmt: skip
_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EROFS)


def of_system(error: OSError) -> KitError | None:
    """Return the error that a user sees for one of the operating system; None if nobody can name it.

    A path that stands in the command line is the user's.
    """
    if isinstance(error, BrokenPipeError):
        return None
    reason = error.strerror or str(error)
    path = os.fsdecode(error.filename2 or error.filename or "") if not isinstance(error.filename, int) else ""
    shown = outside.shortened(path, 120)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if not path:
            return None
        return InfraError(
            f"the disk is full: writing {shown} failed", "free some space, then run the same command again"
        )
    if error.errno in _OF_PATHS and path:
        if any(_names(word, path) for word in asked.get()):
            return UserError(f"cannot use {shown}: {reason}", "name another path, or change its permissions")
        return InfraError(f"cannot use {shown}: {reason}", "check that path; KDF_HOME names the folder of the store")
    if error.errno in (*_OF_PATHS, *_LIMITS):
        return InfraError(f"the system refuses to go on: {reason}{f' ({shown})' if path else ''}", "check its limits")
    return None


def _names(word: str, path: str) -> bool:
    """Check whether a word of the command line names a path, or a folder of it."""
    value = word.partition("=")[2] or word
    value = value.removeprefix("path:").removeprefix("git:").removeprefix("~")
    return len(value) > 1 and (value in path or path in value)


def unforeseen(error: BaseException) -> KitError:
    """Write the traceback of an exception to a file; return the error that a user sees for our bug."""
    if isinstance(error, OSError) and (named := of_system(error)):
        return named
    if isinstance(error, MemoryError):
        return InfraError("this machine has no memory left", "end other programs, or use a larger machine")
    text = "".join(traceback.format_exception(error))
    about = f"kcov-dataflow-kit {VERSION}, Python {platform.python_version()}, {platform.platform()}"
    log = _keep(f"{about}\nwords: {' '.join(asked.get())}\n\n{text}")
    what = outside.shortened(f"{type(error).__name__}: {error}", 160)
    return InfraError(
        f"this is our bug: {what}",
        "report it to the maintainers with the command line and the log" if log else f"report it: {_last_line(text)}",
        log,
    )


def _last_line(text: str) -> str:
    places = [line.strip() for line in text.splitlines() if line.startswith("  File ")]
    return outside.shortened(places[-1] if places else "no place is known", 160)


def _keep(text: str) -> Path | None:
    """Write a report below the home, else below the temporary directory; None if neither can be written."""
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        from core import store

        folders = [store.home() / "logs"]
    except (KitError, OSError, RuntimeError, ValueError):
        folders = []
    for folder in (*folders, Path(tempfile.gettempdir()) if _has_temporary() else None):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, errors="backslashreplace")
                return folder / name
        except (OSError, ValueError):
            continue
    return None


def _has_temporary() -> bool:
    try:
        tempfile.gettempdir()
    except OSError:
        return False
    return True
