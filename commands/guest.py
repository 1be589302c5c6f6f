"""invoke guest.*: boot kernels."""

from __future__ import annotations

from typing import Any

from commands.common import announce, cell_help, make_cell, print_json
from core.program import command


@command(positional=[], help=cell_help("no_install", "no_guard", "json"), iterable=["set", "fragment"])
def boot(
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
    """Build a kernel, boot it, and say whether it came up. Example: ./invoke guest.boot --profile none --base tiny"""
    from ci import run as cells
    from core.runtime import choose
    from guest import plan
    from kernel import build as kernels

    cell = make_cell(profile, base, arch, linux, series, toolchain, instrument, set, fragment)
    where = choose(runtime)
    announce(cell, where, json=json)
    kernel = kernels.build(cell, where, install=not no_install, guard=not no_guard)
    folder = cells.new_folder(f"boot-{profile}-{base}-{cell.arch}")
    booted = cells.boot(cell, kernel, where, plan.draw([]), folder, install=not no_install)
    verdict = booted.verdict
    if json:
        print_json(
            {
                "status": str(verdict.status),
                "reasons": list(verdict.reasons),
                "release": booted.outcome.said.hello.get("release", ""),
                "seconds": round(booted.outcome.ended.seconds, 2),
                "accelerator": booted.accelerator,
                "device": booted.outcome.said.device,
                "folder": str(folder),
            }
        )
    verdict.require(booted.outcome.console)
    if not json:
        print(booted.accelerator)
        release = booted.outcome.said.hello.get("release", "")
        print(f"{verdict.status}: {release} in {booted.outcome.ended.seconds:.1f} s\n{booted.outcome.console}")
