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
UNREADABLE = 0xBADADD85  # what the kernel stores for a value that it could not read
CLAMP = 255  # the largest index and size that a record can state
SEQUENCE_BITS = 24
POINTER_BITS = 48


@dataclass(frozen=True)
class Bits:
    """A run of bits in a word: its lowest one, and how many."""

    shift: int
    width: int

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1

    def of(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The number in these bits, of each word."""
        import numpy as np

        return (words >> np.uint64(self.shift)) & np.uint64(self.mask)


@dataclass(frozen=True)
class Layout:
    """How a kernel lays out a record.

    Attributes:
        count, kind, sequence: where in the header word these are; `count` is of no width if no record states it.
        index, size: where they are, in the header if `packed` is false, else in word 2.
        packed: word 2 holds index, size and the low 48 bits of the pointer; else it is all pointer.
        info_version: what KCOV_DF_INFO calls this layout; None where there is no such call.
        leaks: nothing is clamped: a size of 256 or more runs into the index, a count of 16 or more into the type.
        kinds: the types that its headers have.
        link_time: the kernel has taken its KASLR offset out of the pc.
        inside: the pc is within the call of the callback, not the function's start.
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
        """The header bits that nothing uses: always zero."""
        used = [self.count, self.kind, self.sequence]
        if not self.packed:
            used += [self.index, self.size]
        taken = 0
        for bits in used:
            taken |= bits.mask << bits.shift
        return ~taken & (1 << 64) - 1


_TRACED = (COMPARE, ENTRY, RETURN)
# Our own series (docs/architecture.md, "The kernel ABI of series kit"), then those of the RFC: the posting of 3 June
# 2026, that of 11 June, and the branches after it.
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
    """A layout by name.

    Raises:
        UserError: it is not known, so nothing can be said of the words.
    """
    if name not in LAYOUTS:
        raise UserError(
            f"the record layout {name or '(none)'} is not known{nearest(name, LAYOUTS)}",
            "a capture's layout comes from the series that its kernel was built with",
        )
    return LAYOUTS[name]
