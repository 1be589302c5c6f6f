"""Make functions tasks of `./invoke`, and decide every exit code in one place."""

from __future__ import annotations

import contextlib
import functools
import inspect
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from commands import bugs
from core.errors import InfraError, KitError, describe
from kernel import axes


def exit_for(error: BaseException) -> Exit | None:
    """Return the exit for an error; None for an error that is our bug. No other place decides an exit code."""
    if isinstance(error, KitError):
        return Exit(describe(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        stopped = InfraError("interrupted", "run the same command again: what was finished is kept")
        return Exit(describe(stopped), stopped.exit_code)
    if isinstance(error, OSError) and (named := bugs.of_system(error)):
        return exit_for(named)
    return None


def report(error: KitError) -> int:
    """Print an error that ended the program, and return its exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(describe(error), file=sys.stderr, flush=True)
    return error.exit_code


class _Task(Task[Callable[..., None]]):
    """A task with the short options that it declares, and without those that Invoke makes up from first letters."""

    short: Mapping[str, str]
    texts: Mapping[str, str]

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        opts: dict[str, Any] = super().arg_opts(name, default, taken_names)
        # Invoke forgets a help text once it was read; options are read more than once here.
        if text := self.texts.get(name) or self.texts.get(name.strip("_")):
            opts["help"] = text
        if name in self.short:
            opts["names"] = [*opts["names"], self.short[name]]
        return opts


def command(
    *, short: Mapping[str, str] | None = None, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like Invoke's `task`, with errors turned into exit codes; the module attribute becomes the task.

    Args:
        short: name of an option -> its one-letter form. Without an entry an option has none.
        options: of Invoke's `task`.

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

        # The options of a cell are explained once, whichever task has them.
        parameters = inspect.signature(body).parameters
        helps = axes.helps(*(name for name in parameters if name in axes.BY_NAME)) | dict(options.get("help", {}))
        made: Any = task(guarded, klass=_Task, auto_shortflags=False, **{**options, "help": helps})
        made.short, made.texts = short or {}, dict(helps)
        finished: Callable[..., None] = made
        return finished

    return decorate


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
