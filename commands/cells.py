"""Tasks about a cell: the options that name one, given to every such task by one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commands.common import CELL_HELP, announce, cell_names
from commands.task import command

if TYPE_CHECKING:
    from core.runtime import Runtime
    from kernel.cell import Cell

# The options of a cell and their defaults; those that repeat are lists.
_OPTIONS: dict[str, Any] = {
    "profile": "",
    "base": "defconfig",
    "arch": "",
    "linux": "7.1.8",
    "series": "kit",
    "toolchain": "",
    "runtime": "auto",
    "instrument": "",
    "set": None,
    "fragment": None,
    "no_install": False,
    "no_guard": False,
    "json": False,
}
_REPEATED = ["set", "fragment"]
# Of tasks that boot.
SMP_HELP = "processors of the guest, 1 by default"
MEMORY_HELP = "memory of the guest in MB, 1024 by default"


@dataclass(frozen=True)
class Asked:
    """A cell as a user named it, and how to work on it.

    Attributes:
        runtime: where to work, and whether missing host packages may be installed.
        guard: whether compiler and series must speak one callback generation.
        json: whether the result is printed as JSON.
    """

    cell: Cell
    runtime: Runtime
    guard: bool
    json: bool


def cell_command(
    *, positional: list[str] | None = None, defaults: dict[str, Any] | None = None, **more: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task of a function that takes a context, an `Asked`, and options of its own.

    Args:
        positional: options that may be given by position.
        defaults: other defaults for options of a cell.
        more: help texts of the function's own options.
    """
    options = {**_OPTIONS, **(defaults or {})}
    words = positional or []

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(body).parameters.values())[2:]

        def task(context: Any, **given: Any) -> None:
            from kernel.cell import resolve
            from kernel.placement import place

            named = {name: given.pop(name) for name in options}
            names = cell_names(
                named["profile"],
                named["base"],
                named["arch"],
                named["linux"],
                named["series"],
                named["toolchain"],
                named["instrument"],
                named["set"],
                named["fragment"],
            )
            runtime, names, reason = place(names, named["runtime"], install=not named["no_install"])
            cell = resolve(names)
            announce(cell, runtime, reason, json=named["json"])
            asked = Asked(cell, runtime, not named["no_guard"], named["json"])
            body(context, asked, **given)

        kind = inspect.Parameter.KEYWORD_ONLY
        task.__name__, task.__doc__, task.__module__ = body.__name__, body.__doc__, body.__module__
        # Invoke reads a task's options from its signature.
        task.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                *(
                    inspect.Parameter(name, kind, default=inspect.Parameter.empty if name in words else value)
                    for name, value in options.items()
                ),
                *(p.replace(kind=kind) for p in own),
            ]
        )
        help_texts = {**{name: CELL_HELP[name] for name in options}, **more}
        return command(positional=words, iterable=_REPEATED, help=help_texts)(task)

    return decorate
