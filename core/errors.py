"""Define the three kinds of failure, and print them.

Every module raises one of these. Only `tasks.py` turns them into the exit code of the process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KitError(Exception):
    """A failure that a user can act on.

    Args:
        message: what happened, in one sentence.
        hint: what to do, in one sentence; may be empty.
        log: the file with the details, if there is one.
    """

    exit_code = 3
    advice = "fix that, then run the same command again: finished work is kept"

    def __init__(self, message: str, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log


class UnderTest(KitError):  # noqa: N818  (the name is the thing that failed)
    """What is under test failed: a patch, a config, a compile, a boot, the records."""

    exit_code = 1
    advice = 'see docs/guide-trouble.md, "Exit code 1"'


class UserError(KitError):
    """The request itself is wrong: an unknown name, a malformed file."""

    exit_code = 2
    advice = "./invoke --help TASK explains the options of a task"


class InfraError(KitError):
    """The machine failed: no engine, no network, no disk, a killed process."""

    exit_code = 3


# An error message lists at most this many names.
_LISTED = 20


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that a wrong one may have meant.

    Returns:
        `" (did you mean X?)"`; the list of known names if no name is near; empty if no name is known.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]}?)"
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f" (known: {', '.join(names[:_LISTED])}{more})"
    return ""


def printable(text: str) -> str:
    """Return a text without characters that control a terminal (cursor, colour, direction); lines and tabs stay.

    Many messages quote text from outside: patches, mails, consoles of guests.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def one_line(text: str) -> str:
    """Return a text from outside as a part of one line: nothing in it begins another one or controls a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def describe(error: KitError, advice: str = "") -> str:
    """Return the lines that a user sees: what happened, what to do, where the log is.

    Args:
        advice: what to do if the error has neither hint nor log; the advice of its kind if empty.
    """
    # A list may follow the sentence; its lines have a mark, since they may quote what others wrote.
    first, *more = error.message.split("\n")
    lines = [f"error: {one_line(first)}", *(f"  | {one_line(line.strip())}" for line in more)]
    lines.append(f"  do: {one_line(error.hint or ('read the log' if error.log else advice or error.advice))}")
    if error.log is not None:
        lines.append(f"  log: {one_line(str(error.log))}")
    return "\n".join(lines)
