"""invoke kernel.*: build a kernel, and take it all the way to verified records."""

from __future__ import annotations

from typing import Any

from commands.common import announce, cell_help, human_size, make_cell, print_json
from core.program import command


@command(positional=[], help=cell_help("no_install", "no_guard", "json"), iterable=["set", "fragment"])
def build(
    _c: Any,
    profile: str = "",
    base: str = "defconfig",
    arch: str = "",
    linux: str = "7.1.8",
    series: str = "kit",
    toolchain: str = "",
    runtime: str = "auto",
    instrument: str = "",
    set: Any = None,  # noqa: A002  (Invoke's flag name)
    fragment: Any = None,
    no_install: bool = False,
    no_guard: bool = False,
    json: bool = False,
) -> None:
    """Build a kernel. Example: ./invoke kernel.build --profile dataflow --base tiny --instrument fs/open.o"""
    from core.runtime import choose
    from kernel import build as kernels

    cell = make_cell(profile, base, arch, linux, series, toolchain, instrument, set, fragment)
    where = choose(runtime)
    announce(cell, where, json=json)
    made = kernels.build(cell, where, install=not no_install, guard=not no_guard)
    if json:
        print_json({"path": str(made.path), **made.metadata})
        return
    facts = made.metadata
    cache = facts["ccache"]
    total = cache["hits"] + cache["misses"]
    rate = f"{100 * cache['hits'] / total:.0f}% of {total} compilations" if total else "nothing compiled"
    print(
        f"Linux {facts['release']}: image {human_size(facts['files']['image']['size'])}, "
        f"make {facts['make_seconds']} s with {facts['jobs']} jobs, ccache hits {rate}, {facts['warnings']} warnings"
    )
    print(made.path)


@command(
    positional=[],
    help=cell_help("no_install", "no_guard", "json", seed="repeat the draws of an earlier run"),
    iterable=["set", "fragment"],
)
def run(
    _c: Any,
    profile: str = "",
    base: str = "defconfig",
    arch: str = "",
    linux: str = "7.1.8",
    series: str = "kit",
    toolchain: str = "",
    runtime: str = "auto",
    instrument: str = "",
    set: Any = None,  # noqa: A002  (Invoke's flag name)
    fragment: Any = None,
    seed: str = "",
    no_install: bool = False,
    no_guard: bool = False,
    json: bool = False,
) -> None:
    """Build, boot, capture and verify, in one command. Example: ./invoke kernel.run --profile all --base tiny"""
    from ci import run as cells
    from core.runtime import choose

    cell = make_cell(profile, base, arch, linux, series, toolchain, instrument, set, fragment)
    where = choose(runtime)
    announce(cell, where, json=json)
    result = cells.run(cell, where, seed=seed, install=not no_install, guard=not no_guard)
    if json:
        print_json(result.as_json())
    else:
        print(result.as_text())
    result.require()
