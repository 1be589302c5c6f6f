"""Coverage: how many functions of a kernel report, and how many operands.

What comes in is a built kernel; what goes out are three numbers beside which another kernel's of the same configuration
can be put. An operand counts once for a function, however many returns it has.
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
    """What reports.

    Attributes:
        functions: that report anything.
        arguments, returns: operands of theirs.
        unknown: functions whose calls could not be read; they count as reporting, without operands.
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
    """Count what the vmlinux of a kernel's folder reports.

    Args:
        by_value: see `sites.load`.
        workers: processes that decode code at the same time.

    Raises:
        UserError: it is not there, or is no kernel of a known architecture.
    """
    functions = _kernel(folder, by_value).instrumented().tolist()
    parts = [functions[i : i + _AT_ONCE] for i in range(0, len(functions), _AT_ONCE)]
    with ProcessPoolExecutor(workers) as pool:
        found = (
            list(pool.map(_count, *zip(*((folder, by_value, part) for part in parts), strict=True))) if parts else []
        )
    return sum(found, Coverage())


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
            # A function's cold part reports for the function itself.
            operands = {(one.pc, one.kind, one.index) for one in kernel.sites(function)}
        except UnderTest:
            whole += Coverage(functions=1, unknown=1)
            continue
        arguments = sum(kind == ENTRY for _pc, kind, _index in operands)
        whole += Coverage(1, arguments, len(operands) - arguments)
    return whole
