"""Tasks: what makes a function a task of `./invoke`, and the one place that decides exit codes."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from core.errors import InfraError, KitError, describe


def exit_for(error: BaseException) -> Exit | None:
    """The exit that an error leads to: the one place that decides codes; None for an error that is our bug."""
    if isinstance(error, KitError):
        return Exit(describe(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        stopped = InfraError("interrupted", "run the same command again: what was finished is kept")
        return Exit(describe(stopped), stopped.exit_code)
    if isinstance(error, OSError):
        from core.store import disk_errors, home

        try:
            with disk_errors(home()):
                raise error
        except KitError as named:
            return exit_for(named)
        except OSError:
            return None
    return None


def command(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like Invoke's `task`, with errors turned into exit codes; the task is what the module attribute becomes.

    Raises:
        Exit: a KitError or Ctrl-C ended the task.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def guarded(*values: Any, **named: Any) -> None:
            signal.signal(signal.SIGTERM, _stop)
            try:
                body(*values, **named)
            except (KitError, KeyboardInterrupt, OSError) as error:
                ended = exit_for(error)
                if ended is None:
                    raise
                raise ended from error

        made: Callable[..., None] = task(guarded, **options)
        return made

    return decorate


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
