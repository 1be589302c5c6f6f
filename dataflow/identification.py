"""Identify the layout of a capture: check the one that its metadata states, or find it.

The words of the capture and the code of the kernel that wrote it must allow exactly one layout. If they allow several,
the capture is refused: a layout is never guessed.
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

# Opens the kernel's code; whether its callbacks take values (generation L3) depends on the layout.
Open = Callable[[bool], "Kernel"]


@dataclass(frozen=True)
class Identified:
    """A capture whose layout is sure.

    Attributes:
        capture: with its layout.
        places: link-time address of each record's pc, u64.
        functions: link-time start of the function that it is in, u64.
    """

    capture: Capture
    form: Layout
    table: Records
    kernel: Kernel
    places: NDArray[np.uint64]
    functions: NDArray[np.uint64]


def read(one: Capture, mapped: Symbols, open_kernel: Open, *, whole: bool = True) -> Identified:
    """The records of a capture.

    Args:
        mapped: symbols of the kernel's System.map.
        whole: demand that the sequence has no gap and that the addresses are where the layout has them.

    Raises:
        UserError: no layout is stated and several are possible; or the stated one is not known.
        UnderTest: the words are not what the layout allows.
    """
    if one.layout:
        return _read(one, mapped, open_kernel, whole)
    found: list[Identified] = []
    for name in LAYOUTS:
        try:
            read_so = _read(replace(one, layout=name), mapped, open_kernel, whole=True)
        except (UnderTest, UserError):
            continue
        found.append(read_so)
    possible = ", ".join(each.form.name for each in found)
    if len(found) != 1:
        said = f"its words may be of any of the layouts {possible}" if found else "its words are of no known layout"
        raise UserError(
            f"the capture {one.name} does not state its layout, and {said}",
            f"write it into {one.name}.json: the layout that the kernel's series writes",
        )
    return found[0]


def _read(one: Capture, mapped: Symbols, open_kernel: Open, whole: bool) -> Identified:
    form = layout(one.layout)
    kernel = open_kernel(form.inside)
    code = counts.of(kernel, mapped, one.stext) if form.leaks else None
    table = one.records(whole=whole, code=code)
    places = table.pc if form.link_time else symbols.link_time(table.pc, mapped, one.stext)
    if whole:
        _check(one, form, table, places, kernel)
    functions = kernel.symbols.starts(places) if form.inside else places
    if form.inside or not (table.kind == COMPARE).any():
        return Identified(one, form, table, kernel, places, functions)
    import numpy as np

    functions = np.where(table.kind == COMPARE, kernel.symbols.starts(places), places)
    return Identified(one, form, table, kernel, places, functions)


def _check(one: Capture, form: Layout, table: Records, places: NDArray[np.uint64], kernel: Kernel) -> None:
    """Whether the addresses are what the layout says: starts of functions, or within them.

    Raises:
        UnderTest: one is not.
    """
    import numpy as np

    traced = table.kind != COMPARE
    known = (places >= np.uint64(kernel.symbols.stext)) & (places < np.uint64(kernel.symbols.etext))
    starts = kernel.symbols.is_start(places)
    wrong = np.flatnonzero(traced & known & (starts if form.inside else ~starts))
    if len(wrong):
        row = int(wrong[0])
        what = "the start of a function" if form.inside else "no function's start"
        raise UnderTest(
            f"capture {one.name}: record {row} names {int(table.pc[row]):#x}, which is {what}: "
            f"this is not layout {form.name}, or not the kernel that wrote it",
            "the layout comes from the series of the kernel",
        )
