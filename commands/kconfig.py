"""Tasks kconfig.*: list, compose, check and compare configurations."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command, cell_names
from commands.tables import print_json, print_table
from commands.task import command
from core.errors import one_line

# Warnings of Kconfig that are printed.
WARNINGS = 10


@command(name="list")
def list_(_c: Any, json: bool = False) -> None:
    """List profiles and bases. Example: ./invoke kconfig.list"""
    from kconfig import profiles

    rows = profiles.rows()
    if json:
        print_json(rows)
    else:
        print_table(rows, ("kind", "name", "cost", "fragments", "about"))


@command(
    positional=["profile"],
    help={"linux": "version of Linux, for fragments that depend on it; the default source if it is not given"},
    iterable=["set", "fragment"],
)
def show(
    _c: Any,
    profile: str,
    base: str = "defconfig",
    arch: str = "",
    linux: str = "",
    set: Any = None,  # noqa: A002  (Invoke's flag name)
    fragment: Any = None,
    json: bool = False,
) -> None:
    """Show a composed profile, each line with its origin. Example: ./invoke kconfig.show all --base tiny"""
    from core.arch import check_arch, host_arch
    from kconfig import profiles
    from sources import catalogue

    version = linux or catalogue.default_linux()
    named = check_arch(arch) if arch else host_arch()
    request = profiles.compose(profile, base, named, version, extra_fragments=fragment or (), sets=set or ())
    rows = [a.as_row() for a in request.asked]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("symbol", "value", "origin", "reason"))


@cell_command(positional=["profile"], without=("no_guard",))
def check(_c: Any, asked: Asked) -> None:
    """Configure only, and check that every symbol survives. Example: ./invoke kconfig.check all --base tiny"""
    from kernel import kernels

    # Without the guard: this task must also show which symbols a compiler without the pass loses.
    result = kernels.check_config(asked.cell, asked.runtime, guard=False)
    rows = [lost.as_row() for lost in result.lost]
    if asked.json:
        reasons = [reason.as_json() for reason in result.reasons]
        print_json({"asked": result.asked, "lost": rows, "reasons": reasons, "warnings": list(result.warnings),
                    "config": str(result.config)})  # fmt: skip
    elif rows:
        print_table(rows, ("symbol", "asked", "got", "origin"))
    for warning in () if asked.json else result.warnings[:WARNINGS]:
        print(f"Kconfig: {one_line(warning)}")
    if len(result.warnings) > WARNINGS and not asked.json:
        print(f"Kconfig: {len(result.warnings) - WARNINGS} more warnings, --json lists them")
    result.require()
    if not asked.json:
        print(f"all {result.asked} symbols survive: {result.config}")


@command(
    positional=["one", "other"],
    help={
        "one": "profile",
        "other": "profile to compare it with",
        "final": "compare the final configurations instead of the requests",
    },
)
def diff(
    _c: Any,
    one: str,
    other: str,
    base: str = "defconfig",
    arch: str = "",
    linux: str = "",
    toolchain: str = "",
    runtime: str = "auto",
    final: bool = False,
    json: bool = False,
) -> None:
    """Compare two profiles, symbol by symbol. Example: ./invoke kconfig.diff none all --base tiny --final"""
    from core.arch import check_arch, host_arch
    from kconfig import differences, profiles, survival
    from kernel import kernels
    from kernel.cell import resolve
    from kernel.placement import place
    from sources import catalogue

    if final:
        configs = []
        for name in (one, other):
            options = {"profile": name, "base": base, "arch": arch, "linux": linux, "toolchain": toolchain}
            names = cell_names(options)
            chosen, names, _reason = place(names, runtime)
            configs.append(
                survival.values(kernels.check_config(resolve(names), chosen, guard=False).config.read_text())
            )
        changes = differences.configurations(configs[0], configs[1])
    else:
        named = check_arch(arch) if arch else host_arch()
        version = linux or catalogue.default_linux()
        first, second = (profiles.compose(name, base, named, version) for name in (one, other))
        changes = differences.requests(first, second)
    rows = [difference.as_row(one, other) for difference in changes]
    if json:
        print_json(rows)
    elif rows:
        print_table(rows, tuple(rows[0]))
    else:
        print("no difference")
