"""Make tasks about a cell: one decorator gives each of them the options that name one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from commands.task import command
from core.arch import check_arch, host_arch
from kernel import axes

if TYPE_CHECKING:
    from core.runtime import Runtime
    from kernel.cell import Cell, CellNames

# Options of tasks that boot a kernel.
SMP_HELP = "number of processors of the guest; 1 if it is not given"
MEMORY_HELP = "memory of the guest in MB; 1024 if it is not given"


@dataclass(frozen=True)
class Asked:
    """A cell as the user named it, and how to work on it.

    Attributes:
        runtime: where to work, and whether missing host packages may be installed.
        guard: whether compiler and series must use the same callback generation.
        json: whether to print the result as JSON.
    """

    cell: Cell
    runtime: Runtime
    guard: bool
    json: bool


def cell_names(options: Mapping[str, Any]) -> CellNames:
    """Return the names of a cell from the options of a task.

    The toolchain stays empty if the user names none: the runtime decides it (`kernel.placement.place`).

    Args:
        options: name of an axis -> value; a missing or empty one gets its default.

    Raises:
        UserError: no profile is named, or there is no such architecture.
    """
    from core.errors import UserError, nearest
    from kconfig import profiles
    from kernel.cell import CellNames
    from sources import catalogue

    def value(name: str) -> str:
        return str(options.get(name) or axes.BY_NAME[name].default)

    if not value("profile"):
        raise UserError(f"name a profile with --profile{nearest('', profiles.load()[1])}")
    return CellNames(
        toolchain=value("toolchain"),
        series=value("series"),
        profile=value("profile"),
        base=value("base"),
        arch=check_arch(value("arch")) if value("arch") else host_arch(),
        linux=value("linux") or catalogue.default_linux(),
        instrument=tuple(part for part in value("instrument").split(",") if part),
        fragments=tuple(options.get("fragment") or ()),
        sets=tuple(options.get("set") or ()),
    )


def announce(cell: Cell, runtime: Runtime, reason: str = "", *, json: bool) -> None:
    """Print the first line: what will be done, in which runtime, and why there.

    It goes to standard error if the result is JSON.
    """
    line = f"{cell.names}, runtime {runtime.name}{reason and f': {reason}'}"
    print(line, file=sys.stderr if json else sys.stdout, flush=True)


ALLOW_HELP = "allow splats whose kind and title match: 'REGEXP # REASON'; may be given several times"
ALLOW_FILE_HELP = "file with one rule of --allow in each line"


def cell_command(
    *,
    positional: Sequence[str] = (),
    defaults: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    boots: bool = False,
    **helps: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task of a function that takes a context, an `Asked`, and options of its own.

    Args:
        positional: options that may be given by position.
        defaults: name of an axis -> a default other than the usual one.
        without: axes that the task does not offer, because it has no use for them.
        boots: whether it boots a guest, so that --allow and --allow-file are of use.
        helps: help texts of the function's own options.
    """
    offered = {axis.name: axis for axis in axes.AXES if axis.name not in without}
    usual = defaults or {}

    def default(axis: axes.Axis) -> Any:
        if axis.name in positional:
            return inspect.Parameter.empty
        return None if axis.repeats else usual.get(axis.name, axis.default)

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(body).parameters.values())[2:]
        rules_of: list[tuple[str, Any]] = [("allow", None), ("allow_file", "")] if boots else []

        def task(context: Any, **given: Any) -> None:
            from guest import allow
            from kernel.cell import resolve
            from kernel.placement import place

            rules = allow.read(given.pop("allow") or (), given.pop("allow_file")) if boots else ()
            options = {**usual, **{name: given.pop(name) for name in offered}}
            json = bool(options.get("json"))
            names, wanted = cell_names(options), options.get("runtime", "auto")
            runtime, names, reason = place(names, wanted, install=not options.get("no_install"))
            cell = replace(resolve(names), allow=rules)
            announce(cell, runtime, reason, json=json)
            body(context, Asked(cell, runtime, not options.get("no_guard"), json), **given)

        kind = inspect.Parameter.KEYWORD_ONLY
        task.__name__, task.__doc__, task.__module__ = body.__name__, body.__doc__, body.__module__
        # Invoke reads the options of a task from its signature.
        task.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                *(inspect.Parameter(name, kind, default=default(axis)) for name, axis in offered.items()),
                *(parameter.replace(kind=kind) for parameter in own),
                *(inspect.Parameter(name, kind, default=missing) for name, missing in rules_of),
            ]
        )
        made = command(
            positional=list(positional),
            iterable=[*(name for name, axis in offered.items() if axis.repeats), *(["allow"] if boots else [])],
            help={**helps, **({"allow": ALLOW_HELP, "allow_file": ALLOW_FILE_HELP} if boots else {})},
        )(task)
        made.cell_body = body  # type: ignore[attr-defined]
        return made

    return decorate
