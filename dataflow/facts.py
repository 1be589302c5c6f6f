"""Hold the facts of a run, and the recorded run that they are checked on.

`dataflow.checks` has the list of facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow.capture import Capture
from dataflow.layouts import RETURN
from dataflow.records import Records
from dataflow.sites import Kernel, Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fact:
    """One check of a run: its name, whether it holds, the expected value and the recorded value."""

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class Recorded:
    """The data that the checks read.

    Attributes:
        addresses: link-time address of each record's function.
        places: address of the callback's call for each record, if the layout has it. If a function is inlined there,
            the record is not one of the outer function.
        inlined: the functions that are inlined at a place.
        rearms_late: the kernel sets the next timer after an interrupt, on the way back to the task
            (CONFIG_HRTIMER_REARM_DEFERRED of Linux 7.1, include/linux/hrtimer_rearm.h). Records from there look like
            records of the task.
    """

    captures: Mapping[str, Capture]
    tables: Mapping[str, Records]
    addresses: Mapping[str, NDArray[np.uint64]]
    kernel: Kernel
    places: Mapping[str, NDArray[np.uint64]] | None = None
    inlined: Callable[[int], tuple[str, ...]] = lambda _place: ()
    rearms_late: bool = False

    def rows(self, name: str, function: str, kind: int) -> list[int]:
        """Return the rows of a function in a capture, in order."""
        address = self.kernel.symbols.address(function)
        if address is None:
            return []
        mask = (self.addresses[name] == address) & (self.tables[name].kind == kind)
        rows = [row for row, matches in enumerate(mask.tolist()) if matches]
        if self.places is None:
            return rows
        places = self.places[name]
        return [row for row in rows if not self.inlined(int(places[row]))]

    def sites(self, pc: int, place: int, kind: int, index: int) -> tuple[Site, ...]:
        """Return the sites that a record may come from."""
        code = self.kernel.code(pc)
        if self.places is None:
            return code.of(kind, index)
        return tuple(s for s in code.inside(place) if (s.kind, s.recorded_index) == (kind, index))

    def returned(self, name: str, function: str) -> list[int]:
        """Return all values that a function returned in a capture, as signed numbers of the recorded size."""
        table = self.tables[name]
        return [signed(table.values(row)[0], int(table.size[row])) for row in self.rows(name, function, RETURN)]


def signed(value: int, size: int) -> int:
    """Return a recorded number of `size` bytes as a signed number."""
    bits = 8 * min(size, 8)
    return value - (1 << bits) if bits and value >> (bits - 1) else value


def number(text: str) -> int:
    """Read a number of a plan or of facts: decimal, hexadecimal with 0x, or octal with a leading 0."""
    return int(text, 8) if len(text) > 1 and text[0] == "0" and text[1] not in "xX" else int(text, 0)


def equal(name: str, asked: object, got: object) -> Fact:
    """Check whether the recorded value equals the expected one."""
    return Fact(name, asked == got, str(asked), str(got))


def among(name: str, asked: int, got: Sequence[int], show: Callable[[int], str] = str) -> Fact:
    """Check whether exactly one value was recorded, and whether it is the expected one."""
    return Fact(name, list(got) == [asked], show(asked), ", ".join(show(v) for v in got[:5]) or "no record")
