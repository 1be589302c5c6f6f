"""Identify the layout of a capture: check the one in its metadata, or find it.

Takes a capture and the kernel that wrote it. Gives its records if the words and the kernel's code allow exactly one
layout. Never guesses: if they allow several layouts, it refuses the capture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.errors import UnderTest, UserError
from dataflow import counts, symbols
from dataflow.capture import Capture
from dataflow.layouts import COMPARE, LAYOUTS, Layout, layout
from dataflow.records import Records

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dataflow.sites import Kernel
    from dataflow.symbols import Symbols

# Opens the kernel's code. The argument is true if its callbacks take values (generation L3), which the layout decides.
Open = Callable[[bool], "Kernel"]


@dataclass(frozen=True)
class Identified:
    """A capture whose layout is certain.

    Attributes:
        capture: the capture, with its layout.
        places: link-time address of each record's pc, u64.
        functions: link-time start of the function that each record is in, u64.
    """

    capture: Capture
    form: Layout
    table: Records
    kernel: Kernel
    places: NDArray[np.uint64]
    functions: NDArray[np.uint64]


def read(capture: Capture, mapped: Symbols, open_kernel: Open, *, whole: bool = True) -> Identified:
    """Read the records of a capture.

    Args:
        mapped: symbols of the kernel's System.map.
        whole: also raise if the sequence has a gap, or if the layout does not allow an address.

    Raises:
        UserError: the capture states no layout and not exactly one is possible; or the stated layout is not known.
        UnderTest: the layout does not allow the words.
    """
    if capture.layout:
        return _read(capture, mapped, open_kernel, whole)
    candidates: list[Identified] = []
    for name in LAYOUTS:
        try:
            identified = _read(replace(capture, layout=name), mapped, open_kernel, whole=True)
        except (UnderTest, UserError):
            continue
        candidates.append(identified)
    possible = ", ".join(candidate.form.name for candidate in candidates)
    if len(candidates) != 1:
        reason = (
            f"its words may be of any of the layouts {possible}" if candidates else "its words are of no known layout"
        )
        raise UserError(
            f"the capture {capture.name} does not state its layout, and {reason}",
            f"write the layout of the kernel's series into {capture.name}.json",
        )
    return candidates[0]


def _read(capture: Capture, mapped: Symbols, open_kernel: Open, whole: bool) -> Identified:
    form = layout(capture.layout)
    kernel = open_kernel(form.inside)
    code = counts.of(kernel, mapped, capture.stext) if form.leaks else None
    table = capture.records(whole=whole, code=code)
    places = table.pc if form.link_time else symbols.link_time(table.pc, mapped, capture.stext)
    if whole:
        _check(capture, form, table, places, kernel)
    functions = kernel.symbols.starts(places) if form.inside else places
    if form.inside or not (table.kind == COMPARE).any():
        return Identified(capture, form, table, kernel, places, functions)
    import numpy as np

    functions = np.where(table.kind == COMPARE, kernel.symbols.starts(places), places)
    return Identified(capture, form, table, kernel, places, functions)


def _check(capture: Capture, form: Layout, table: Records, places: NDArray[np.uint64], kernel: Kernel) -> None:
    """Check whether the addresses are where the layout has them: at starts of functions, or within functions.

    Raises:
        UnderTest: an address is not.
    """
    import numpy as np

    traced = table.kind != COMPARE
    known = (places >= np.uint64(kernel.symbols.stext)) & (places < np.uint64(kernel.symbols.etext))
    starts = kernel.symbols.is_start(places)
    wrong = np.flatnonzero(traced & known & (starts if form.inside else ~starts))
    if len(wrong):
        row = int(wrong[0])
        what = "the start of a function" if form.inside else "not the start of a function"
        raise UnderTest(
            f"capture {capture.name}: record {row} names {int(table.pc[row]):#x}, which is {what}: "
            f"this is not layout {form.name}, or not the kernel that wrote it",
            "check the kernel and the layout in the capture's metadata: the kernel's series decides the layout",
        )
