"""Describe the layouts: how each kernel series lays out the words of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARE = 0xC  # two operands of a comparison; layouts K3 to K5
ENTRY = 0xE
RETURN = 0xF
HEADER_WORDS = 3  # header, pc, and index/size/pointer; the same in all known layouts
UNREADABLE = 0xBADADD85  # the kernel stores this for a value that it could not read
CLAMP = 255  # the largest index and size that a record can contain
SEQUENCE_BITS = 24
POINTER_BITS = 48


@dataclass(frozen=True)
class Bits:
    """A run of bits in a word: the number of its lowest bit, and how many bits."""

    shift: int
    width: int

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1

    def of(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the number in these bits of each word."""
        import numpy as np

        return (words >> np.uint64(self.shift)) & np.uint64(self.mask)


@dataclass(frozen=True)
class Layout:
    """The layout of a record.

    Attributes:
        count, kind, sequence: their bits in the header word; `count` has width 0 if records do not contain it.
        index, size: their bits; in word 2 if `packed`, else in the header.
        packed: word 2 holds index, size and the low 48 bits of the pointer; if not, word 2 holds only the pointer.
        info_version: version of this layout in KCOV_DF_INFO; None if the device does not have this call.
        leaks: values are not clamped. A size of 256 or more overflows into the index, a count of 16 or more into the
            type.
        kinds: the possible types of a header.
        link_time: the kernel subtracts its KASLR offset from the pc.
        inside: the pc is within the call of the callback, not at the function's start.
    """

    name: str
    count: Bits
    index: Bits = Bits(56, 8)
    size: Bits = Bits(48, 8)
    packed: bool = True
    kind: Bits = Bits(28, 4)
    sequence: Bits = Bits(0, SEQUENCE_BITS)
    info_version: int | None = None
    leaks: bool = False
    kinds: tuple[int, ...] = (ENTRY, RETURN)
    link_time: bool = False
    inside: bool = False

    @property
    def reserved(self) -> int:
        """Return the mask of the unused header bits, which are always zero."""
        used = [self.count, self.kind, self.sequence]
        if not self.packed:
            used += [self.index, self.size]
        taken = 0
        for bits in used:
            taken |= bits.mask << bits.shift
        return ~taken & (1 << 64) - 1


_TRACED = (COMPARE, ENTRY, RETURN)
# First the layouts of our own series (docs/architecture.md, "The kernel ABI of series kit"). Then those of the RFC on
# LKML: the posting of 3 June 2026, the posting of 11 June 2026, and the branches after it.
LAYOUTS: Mapping[str, Layout] = {
    form.name: form
    for form in (
        Layout("kit-1", Bits(32, 16), info_version=1),
        Layout("kit-2", Bits(32, 16), info_version=2, inside=True),
        Layout("K1", Bits(0, 0), leaks=True),
        Layout("K2", Bits(24, 4), leaks=True),
        Layout("K3", Bits(24, 4), leaks=True, kinds=_TRACED),
        Layout("K4", Bits(32, 16), packed=False, kinds=_TRACED, link_time=True),
        Layout("K5", Bits(32, 16), packed=False, kinds=_TRACED, link_time=True, inside=True),
    )
}


def layout(name: str) -> Layout:
    """Return a layout by its name.

    Raises:
        UserError: it is not known.
    """
    if name not in LAYOUTS:
        raise UserError(
            f"the record layout {name or '(none)'} is not known{nearest(name, LAYOUTS)}",
            "use the layout of the series that the capture's kernel was built with",
        )
    return LAYOUTS[name]
