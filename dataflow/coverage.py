"""Count the functions of a kernel that report, and their operands.

Takes a built kernel. Gives numbers that can be compared with those of another kernel of the same configuration. Counts
an operand once for a function, even if the function has several returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UnderTest

if TYPE_CHECKING:
    from dataflow.sites import Kernel

_AT_ONCE = 500


@dataclass(frozen=True)
class Coverage:
    """Numbers of functions and operands that report.

    Attributes:
        functions: functions that report anything.
        arguments, returns: operands that these functions report.
        unknown: functions whose calls could not be read; they are counted in `functions`, without operands.
    """

    functions: int = 0
    arguments: int = 0
    returns: int = 0
    unknown: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.functions + other.functions,
            self.arguments + other.arguments,
            self.returns + other.returns,
            self.unknown + other.unknown,
        )


def of(folder: Path, *, by_value: bool = False, workers: int = 1) -> Coverage:
    """Count the functions and operands that report in the vmlinux of a folder.

    Args:
        by_value: see `sites.load`.
        workers: number of processes that decode code at the same time.

    Raises:
        UserError: it does not exist, or is not a kernel of a known architecture.
    """
    functions = _kernel(folder, by_value).instrumented().tolist()
    parts = [functions[i : i + _AT_ONCE] for i in range(0, len(functions), _AT_ONCE)]
    with ProcessPoolExecutor(workers) as pool:
        counts = (
            list(pool.map(_count, *zip(*((folder, by_value, part) for part in parts), strict=True))) if parts else []
        )
    return sum(counts, Coverage())


@lru_cache(maxsize=1)
def _kernel(folder: Path, by_value: bool) -> Kernel:
    from dataflow import sites, symbols

    return sites.load(folder / "vmlinux", symbols.read(folder / "System.map"), by_value=by_value)


def _count(folder: Path, by_value: bool, functions: Sequence[int]) -> Coverage:
    from dataflow.layouts import ENTRY

    kernel = _kernel(folder, by_value)
    whole = Coverage()
    for function in functions:
        try:
            # The cold part of a function names the function itself.
            operands = {(site.pc, site.kind, site.index) for site in kernel.sites(function)}
        except UnderTest:
            whole += Coverage(functions=1, unknown=1)
            continue
        arguments = sum(kind == ENTRY for _pc, kind, _index in operands)
        whole += Coverage(1, arguments, len(operands) - arguments)
    return whole
