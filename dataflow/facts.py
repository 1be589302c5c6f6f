"""Hold the facts that a run is asked for, and the recorded run that they are asked of.

Which facts there are is in `dataflow.checks`.
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
    """One thing that was asked of a run."""

    name: str
    ok: bool
    asked: str
    got: str


@dataclass(frozen=True)
class Recorded:
    """Everything that the checks look at; `addresses` are link-time addresses of the functions of the records.

    Where the layout names the calls of the callbacks, `places` are their addresses, and `inlined` says what is inlined
    there: such a record is none of the function itself. `rearms_late`: interrupts leave it to the way back to the task
    to set the next timer (CONFIG_HRTIMER_REARM_DEFERRED of Linux 7.1, include/linux/hrtimer_rearm.h), where nothing
    tells an interrupt from the task any more.
    """

    captures: Mapping[str, Capture]
    tables: Mapping[str, Records]
    addresses: Mapping[str, NDArray[np.uint64]]
    kernel: Kernel
    places: Mapping[str, NDArray[np.uint64]] | None = None
    inlined: Callable[[int], tuple[str, ...]] = lambda _place: ()
    rearms_late: bool = False

    def rows(self, name: str, function: str, kind: int) -> list[int]:
        """The records of a function in a capture, in order."""
        place = self.kernel.symbols.address(function)
        if place is None:
            return []
        found = (self.addresses[name] == place) & (self.tables[name].kind == kind)
        rows = [row for row, there in enumerate(found.tolist()) if there]
        if self.places is None:
            return rows
        places = self.places[name]
        return [row for row in rows if not self.inlined(int(places[row]))]

    def sites(self, pc: int, place: int, kind: int, index: int) -> tuple[Site, ...]:
        """What the code passes where a record comes from."""
        code = self.kernel.code(pc)
        if self.places is None:
            return code.of(kind, index)
        return tuple(s for s in code.inside(place) if (s.kind, s.recorded_index) == (kind, index))

    def returned(self, name: str, function: str) -> list[int]:
        """All values that a function returned in a capture: as many bits as it returns, as signed numbers."""
        table = self.tables[name]
        return [signed(table.values(row)[0], int(table.size[row])) for row in self.rows(name, function, RETURN)]


def signed(value: int, size: int) -> int:
    """A recorded number of so many bytes as a signed one."""
    bits = 8 * min(size, 8)
    return value - (1 << bits) if bits and value >> (bits - 1) else value


def number(text: str) -> int:
    """A number as plans and facts write it: decimal, 0x hexadecimal, or with a leading 0 octal."""
    return int(text, 8) if len(text) > 1 and text[0] == "0" and text[1] not in "xX" else int(text, 0)


def equal(name: str, asked: object, got: object) -> Fact:
    """What was got is what was asked."""
    return Fact(name, asked == got, str(asked), str(got))


def among(name: str, asked: int, got: Sequence[int], show: Callable[[int], str] = str) -> Fact:
    """Exactly one value was recorded, and it is the one asked."""
    return Fact(name, list(got) == [asked], show(asked), ", ".join(show(v) for v in got[:5]) or "no record")
