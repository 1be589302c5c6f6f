"""Symbols: from addresses to names, all names that an address has.

Lookups are by address because names repeat: static functions of one name, and a system call that the symbol table and
the debug information name differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TEXT = "tTwW"


@dataclass(frozen=True)
class Symbols:
    """Text symbols of a kernel, by link-time address.

    Attributes:
        addresses: sorted, without repeats, u64.
        names: one tuple per address: global names first.
        stext: link-time address of `_stext`.
        etext: link-time address of the end of the kernel's text.
    """

    addresses: NDArray[np.uint64]
    names: tuple[tuple[str, ...], ...]
    stext: int
    etext: int

    def at(self, address: int) -> tuple[str, ...]:
        """The names of a function that starts exactly there; none if there is none."""
        import numpy as np

        place = int(np.searchsorted(self.addresses, np.uint64(address)))
        if place < len(self.addresses) and int(self.addresses[place]) == address:
            return self.names[place]
        return ()

    def starts(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """For each address the start of the symbol that it lies in."""
        import numpy as np

        places = np.searchsorted(self.addresses, addresses, side="right") - 1
        return self.addresses[np.maximum(places, 0)]

    def end(self, address: int) -> int:
        """Where the symbol that starts there ends: at the next one."""
        import numpy as np

        place = int(np.searchsorted(self.addresses, np.uint64(address), side="right"))
        return int(self.addresses[place]) if place < len(self.addresses) else self.etext

    def address(self, name: str) -> int | None:
        """The address of a name; None if no or several functions have it."""
        found = [int(self.addresses[i]) for i, names in enumerate(self.names) if name in names]
        return found[0] if len(found) == 1 else None

    def label(self, address: int) -> str:
        """A name for people: the first one, or the address."""
        names = self.at(address)
        return names[0] if names else f"{address:#x}"


def read(system_map: Path) -> Symbols:
    """Read a System.map.

    Raises:
        UserError: it is not there, or is none.
    """
    import numpy as np

    found: dict[int, list[tuple[bool, str]]] = {}
    marks: dict[str, int] = {}
    try:
        lines = system_map.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"there is no {system_map}") from None
    for line in lines:
        try:
            address, kind, name = line.split(" ")
            place = int(address, 16)
        except ValueError:
            raise UserError(f"{system_map} is no System.map: {line[:60]!r}") from None
        if name in ("_stext", "_etext"):
            marks[name] = place
        elif kind in _TEXT and not name.startswith(("__cfi_", "__pfx_", "$")):
            found.setdefault(place, []).append((kind in "tw", name))
    if "_stext" not in marks:
        raise UserError(f"{system_map} has no _stext")
    addresses = sorted(found)
    return Symbols(
        addresses=np.array(addresses, dtype=np.uint64),
        names=tuple(tuple(name for _local, name in sorted(found[a])) for a in addresses),
        stext=marks["_stext"],
        etext=marks.get("_etext", addresses[-1] + 1 if addresses else 0),
    )


def shift(symbols: Symbols, stext: int | None) -> int:
    """What to subtract from a run-time address to get the link-time one (KASLR).

    Raises:
        UserError: the capture does not say where the kernel was.
    """
    if stext is None:
        raise UserError("the capture does not say where _stext was, so its addresses mean nothing")
    return stext - symbols.stext


def link_time(pcs: NDArray[np.uint64], symbols: Symbols, stext: int | None) -> NDArray[np.uint64]:
    """Run-time addresses as link-time ones."""
    import numpy as np

    return pcs - np.uint64(shift(symbols, stext) & (1 << 64) - 1)
