"""What the tasks share: the options of a cell, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.arch import ARCHES, check_arch, host_arch
from core.errors import printable

if TYPE_CHECKING:
    from core.runtime import Runtime
    from kernel.cell import Cell, CellNames

RUNTIME_HELP = "docker, host, or auto (the first that works)"

CELL_HELP = {
    "profile": "a profile: none, dataflow, all, kasan-all, or another one of kconfig.list",
    "base": "starting configuration: tiny, defconfig, or path:FILE",
    "arch": f"{' or '.join(ARCHES)}; the host's by default",
    "linux": "a version of sources.yaml, path:DIR, or git:REPOSITORY@COMMIT",
    "series": "kit, none, or another one of patches.list",
    "toolchain": "a toolchain of toolchain/toolchains.yaml",
    "runtime": "docker, host, or auto: where the kernel or its toolchain is in the store, else the first that works",
    "instrument": "objects and directories to opt in: fs/open.o,net/",
    "set": "a further SYMBOL=value; may be given several times",
    "fragment": "a further fragment file; may be given several times",
    "no_install": "print the line that installs missing host packages instead of running it",
    "no_guard": "build even if compiler and series speak different callback generations",
    "json": "print the result as JSON",
}


def cell_names(
    profile: str,
    base: str,
    arch: str,
    linux: str,
    series: str,
    toolchain: str,
    instrument: str,
    sets: Sequence[str] | None,
    fragments: Sequence[str] | None,
) -> CellNames:
    """Return the names of a cell from the options of a task, empty ones replaced by their defaults.

    The toolchain stays empty if none is named: the runtime decides it (kernel.placement.place).
    """
    from core.errors import UserError, nearest
    from kconfig import profiles
    from kernel.cell import CellNames

    if not profile:
        raise UserError(f"name a profile with --profile{nearest('', profiles.load()[1])}")
    return CellNames(
        toolchain=toolchain,
        series=series or "kit",
        profile=profile,
        base=base or "defconfig",
        arch=check_arch(arch) if arch else host_arch(),
        linux=linux or "7.1.8",
        instrument=tuple(part for part in instrument.split(",") if part),
        fragments=tuple(fragments or ()),
        sets=tuple(sets or ()),
    )


def announce(cell: Cell, runtime: Runtime, reason: str = "", *, json: bool) -> None:
    """Print the first line: what will be done, in which runtime, and why there.

    It goes to standard error if the result is JSON.
    """
    line = f"{cell.names}, runtime {runtime.name}{reason and f': {reason}'}"
    print(line, file=sys.stderr if json else sys.stdout, flush=True)


def print_json(value: Any) -> None:
    """A value as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, sort_keys=True, default=str)
    print()


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Rows as a plain table with the given columns; nothing is cut, so that it can be read by programs as well."""
    texts = [[printable(str(row.get(column, ""))) for column in columns] for row in rows]
    widths = [max([len(column), *(len(line[i]) for line in texts)]) for i, column in enumerate(columns)]
    for line in [list(columns), *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def human_size(count: int) -> str:
    """Bytes as a person reads them."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
