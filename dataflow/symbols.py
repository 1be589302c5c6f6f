"""Symbols: from addresses to names, all names that an address has.

Lookups are by address because names repeat: static functions of one name, and a system call that the symbol table and
the debug information name differently. Addresses here are link-time addresses; `shift` says how far the kernel was from
them when it ran (KASLR).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from dataflow import image
from dataflow.image import Image
from dataflow.rust_names import demangle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TEXT = "tTwW"
# No functions: prefixes of kCFI and of call padding, and the mapping symbols of arm64 ($x, $d).
_NO_FUNCTION = ("__cfi_", "__pfx_", "$")
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Symbols:
    """Text symbols of a kernel and its modules, by link-time address.

    Attributes:
        addresses: sorted, without repeats, u64.
        names: one tuple per address: global names first.
        sizes: bytes, where the symbol table of an ELF file says so.
        modules: of the addresses that are a module's: its name.
        stext: link-time address of `_stext`.
        etext: link-time address of the end of the kernel's text.
    """

    addresses: NDArray[np.uint64]
    names: tuple[tuple[str, ...], ...]
    sizes: Mapping[int, int]
    modules: Mapping[int, str]
    stext: int
    etext: int

    def at(self, address: int) -> tuple[str, ...]:
        """The names of a function that starts exactly there; none if there is none."""
        place = self._place(address)
        return () if place is None else self.names[place]

    def _place(self, address: int) -> int | None:
        import numpy as np

        if not 0 <= address <= _MASK:
            return None
        place = int(np.searchsorted(self.addresses, np.uint64(address)))
        return place if place < len(self.addresses) and int(self.addresses[place]) == address else None

    def is_start(self, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each address whether a symbol starts exactly there."""
        import numpy as np

        return np.isin(addresses, self.addresses)

    def places(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """For each address the number of the symbol that it lies in; -1 if it is before the first one."""
        import numpy as np

        return np.searchsorted(self.addresses, addresses, side="right").astype(np.int64) - 1

    def starts(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """For each address the start of the symbol that it lies in; itself if it is before the first one."""
        import numpy as np

        places = self.places(addresses)
        return np.where(places >= 0, self.addresses[np.maximum(places, 0)], addresses)

    def labels(self, addresses: NDArray[np.uint64]) -> NDArray[np.object_]:
        """For each address the first name of the symbol that starts there; the address itself where none does."""
        import numpy as np

        known, which = np.unique(addresses, return_inverse=True)
        texts = np.empty(len(known), dtype=object)
        texts[:] = [self.label(address) for address in known.tolist()]
        chosen: NDArray[np.object_] = texts[which]
        return chosen

    def end(self, address: int) -> int:
        """Where the function that starts there ends: by its size, else at the next symbol."""
        import numpy as np

        if size := self.sizes.get(address):
            return address + size
        place = int(np.searchsorted(self.addresses, np.uint64(address), side="right"))
        return int(self.addresses[place]) if place < len(self.addresses) else self.etext

    def address(self, name: str) -> int | None:
        """The address of a name; None if no or several functions have it."""
        found = [int(self.addresses[i]) for i, names in enumerate(self.names) if name in names]
        return found[0] if len(found) == 1 else None

    def label(self, address: int) -> str:
        """A name for people: the first one, with its module if it is in one, or the address."""
        names = self.at(address)
        if not names:
            return f"{address:#x}"
        shown = demangle(names[0])
        return f"{shown} [{self.modules[address]}]" if address in self.modules else shown

    def joined(self, images: Iterable[Image]) -> Symbols:
        """The same symbols with those of images; a vmlinux adds sizes, a module its functions."""
        found = {int(a): dict.fromkeys(n) for a, n in zip(self.addresses, self.names, strict=True)}
        sizes, modules = dict(self.sizes), dict(self.modules)
        for one in images:
            for address, size, name in one.functions:
                if name.startswith(_NO_FUNCTION):
                    continue
                found.setdefault(address, {})[name] = None
                sizes[address] = max(size, sizes.get(address, 0))
                if one.name != "vmlinux":
                    modules[address] = one.name
        return _made(found, sizes, modules, self.stext, self.etext)


def _made(
    found: Mapping[int, Iterable[str]], sizes: Mapping[int, int], modules: Mapping[int, str], stext: int, etext: int
) -> Symbols:
    import numpy as np

    addresses = sorted(found)
    names = tuple(tuple(found[a]) for a in addresses)
    return Symbols(np.array(addresses, dtype=np.uint64), names, sizes, modules, stext, etext)


def read(system_map: Path) -> Symbols:
    """Read a System.map.

    Raises:
        UserError: it is not there, or is none.
    """
    found: dict[int, list[tuple[bool, str]]] = {}
    marks: dict[str, int] = {}
    try:
        lines = system_map.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"there is no {system_map}") from None
    except UnicodeDecodeError:
        raise UserError(f"{system_map} is no System.map: it is no text") from None
    for line in lines:
        try:
            address, kind, name = line.split(" ")
            place = int(address, 16)
        except ValueError:
            raise UserError(f"{system_map} is no System.map: {line[:60]!r}") from None
        if name in ("_stext", "_etext"):
            marks[name] = place
        elif kind in _TEXT and not name.startswith(_NO_FUNCTION):
            found.setdefault(place, []).append((kind in "tw", name))
    if "_stext" not in marks:
        raise UserError(f"{system_map} has no _stext")
    names = {address: [name for _local, name in sorted(same)] for address, same in found.items()}
    return _made(names, {}, {}, marks["_stext"], marks.get("_etext", max(found, default=0) + 1))


def module_files(
    folder: Path, loaded: Mapping[str, Mapping[str, int]], kernel: Symbols, stext: int | None
) -> dict[Path, dict[str, int]]:
    """The files of the modules that were loaded, as far as they are there, with the link-time addresses of sections.

    Args:
        folder: holds NAME.ko, at any depth.
        loaded: module -> section -> run-time address, as captured.
        kernel: the kernel's own symbols.
        stext: run-time address of `_stext`.
    """
    files = {path.stem.replace("-", "_"): path for path in sorted(folder.rglob("*.ko"))} if folder.is_dir() else {}
    known = {name: sections for name, sections in loaded.items() if name in files}
    away = shift(kernel, stext) if known else 0
    # The kernel frees a module's .init sections when it is loaded, and still names them: another module may be there.
    return {
        files[n]: {s: (a - away) & _MASK for s, a in sections.items() if a and not s.startswith(".init")}
        for n, sections in known.items()
    }


def modules(
    folder: Path, loaded: Mapping[str, Mapping[str, int]], kernel: Symbols, stext: int | None
) -> tuple[Image, ...]:
    """The modules that were loaded, as far as their files are there; see `module_files`.

    Raises:
        UserError: a file is no module.
    """
    placed = module_files(folder, loaded, kernel, stext)
    known: dict[str, int] = {}
    if placed:
        known = {name: int(a) for a, names in zip(kernel.addresses, kernel.names, strict=True) for name in names}
    return tuple(image.module(path, sections, known.get) for path, sections in placed.items())


def shift(symbols: Symbols, stext: int | None) -> int:
    """What to subtract from a run-time address to get the link-time one (KASLR).

    Raises:
        UserError: the capture does not say where the kernel was.
    """
    if not stext:
        raise UserError(
            "the capture does not say where _stext was, so its addresses mean nothing",
            "the agent reads it from /proc/kallsyms: the kernel needs KALLSYMS",
        )
    return stext - symbols.stext


def link_time(pcs: NDArray[np.uint64], symbols: Symbols, stext: int | None) -> NDArray[Any]:
    """Run-time addresses as link-time ones, u64."""
    import numpy as np

    return pcs - np.uint64(shift(symbols, stext) & _MASK)
