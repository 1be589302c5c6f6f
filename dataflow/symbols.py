"""Look up the names of a kernel's functions by address.

Takes a System.map, and the modules that were loaded. Gives all names of each link-time address. Looks up by address,
since names repeat: static functions share names, and debug information names system calls differently. `shift` gives
the distance from link-time to run-time addresses (KASLR).
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
# Prefixes of symbols that are not functions: kCFI, call padding, and the mapping symbols of arm64 ($x, $d).
_NO_FUNCTION = ("__cfi_", "__pfx_", "$")
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Symbols:
    """Text symbols of a kernel and its modules, by link-time address.

    Attributes:
        addresses: sorted, without repeats, u64.
        names: one tuple per address: global names first.
        sizes: address -> bytes, if the symbol table of an ELF file has a size.
        modules: address -> name of the module, for functions of modules.
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
        """Return the names of the function that starts exactly at an address; empty if none does."""
        index = self._index(address)
        return () if index is None else self.names[index]

    def _index(self, address: int) -> int | None:
        import numpy as np

        if not 0 <= address <= _MASK:
            return None
        index = int(np.searchsorted(self.addresses, np.uint64(address)))
        return index if index < len(self.addresses) and int(self.addresses[index]) == address else None

    def is_start(self, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return for each address whether a symbol starts exactly there."""
        import numpy as np

        return np.isin(addresses, self.addresses)

    def places(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return for each address the number of the symbol that contains it; -1 if it is before the first one."""
        import numpy as np

        return np.searchsorted(self.addresses, addresses, side="right").astype(np.int64) - 1

    def starts(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return for each address the start of the symbol that contains it; itself if it is before the first one."""
        import numpy as np

        indexes = self.places(addresses)
        return np.where(indexes >= 0, self.addresses[np.maximum(indexes, 0)], addresses)

    def labels(self, addresses: NDArray[np.uint64]) -> NDArray[np.object_]:
        """Return for each address the first name of the symbol that starts there; the address itself if none does."""
        import numpy as np

        known, which = np.unique(addresses, return_inverse=True)
        texts = np.empty(len(known), dtype=object)
        texts[:] = [self.label(address) for address in known.tolist()]
        chosen: NDArray[np.object_] = texts[which]
        return chosen

    def end(self, address: int) -> int:
        """Return the end of the function that starts at an address: by its size, or the next symbol."""
        import numpy as np

        if size := self.sizes.get(address):
            return address + size
        index = int(np.searchsorted(self.addresses, np.uint64(address), side="right"))
        return int(self.addresses[index]) if index < len(self.addresses) else self.etext

    def address(self, name: str) -> int | None:
        """Return the address of a name; None if no function or several functions have it."""
        addresses = [int(self.addresses[i]) for i, names in enumerate(self.names) if name in names]
        return addresses[0] if len(addresses) == 1 else None

    def label(self, address: int) -> str:
        """Return a name for people: the first name, with the module if it has one, or the address."""
        names = self.at(address)
        if not names:
            return f"{address:#x}"
        shown = demangle(names[0])
        return f"{shown} [{self.modules[address]}]" if address in self.modules else shown

    def joined(self, images: Iterable[Image]) -> Symbols:
        """Return these symbols and those of images; a vmlinux adds sizes, a module adds its functions."""
        names_at = {int(a): dict.fromkeys(n) for a, n in zip(self.addresses, self.names, strict=True)}
        sizes, modules = dict(self.sizes), dict(self.modules)
        for loaded in images:
            for address, size, name in loaded.functions:
                if name.startswith(_NO_FUNCTION):
                    continue
                names_at.setdefault(address, {})[name] = None
                sizes[address] = max(size, sizes.get(address, 0))
                if loaded.name != "vmlinux":
                    modules[address] = loaded.name
        return _made(names_at, sizes, modules, self.stext, self.etext)


def _made(
    names_at: Mapping[int, Iterable[str]], sizes: Mapping[int, int], modules: Mapping[int, str], stext: int, etext: int
) -> Symbols:
    import numpy as np

    addresses = sorted(names_at)
    names = tuple(tuple(names_at[a]) for a in addresses)
    return Symbols(np.array(addresses, dtype=np.uint64), names, sizes, modules, stext, etext)


def read(system_map: Path) -> Symbols:
    """Read a System.map.

    Raises:
        UserError: it does not exist, or is not a System.map.
    """
    functions: dict[int, list[tuple[bool, str]]] = {}
    marks: dict[str, int] = {}
    try:
        lines = system_map.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"there is no {system_map}") from None
    except UnicodeDecodeError:
        raise UserError(f"{system_map} is not a System.map: it is not text") from None
    for line in lines:
        try:
            address, kind, name = line.split(" ")
            start = int(address, 16)
        except ValueError:
            raise UserError(f"{system_map} is not a System.map: {line[:60]!r}") from None
        if name in ("_stext", "_etext"):
            marks[name] = start
        elif kind in _TEXT and not name.startswith(_NO_FUNCTION):
            functions.setdefault(start, []).append((kind in "tw", name))
    if "_stext" not in marks:
        raise UserError(f"{system_map} has no _stext")
    names = {address: [name for _local, name in sorted(same)] for address, same in functions.items()}
    return _made(names, {}, {}, marks["_stext"], marks.get("_etext", max(functions, default=0) + 1))


def module_files(
    folder: Path, loaded: Mapping[str, Mapping[str, int]], kernel: Symbols, stext: int | None
) -> dict[Path, dict[str, int]]:
    """Return file of each loaded module -> section -> link-time address; modules without a file are left out.

    Args:
        folder: contains NAME.ko, at any depth.
        loaded: module -> section -> run-time address, from the capture.
        kernel: the kernel's own symbols.
        stext: run-time address of `_stext`.
    """
    files = {path.stem.replace("-", "_"): path for path in sorted(folder.rglob("*.ko"))} if folder.is_dir() else {}
    known = {name: sections for name, sections in loaded.items() if name in files}
    away = shift(kernel, stext) if known else 0
    # The kernel frees a module's .init sections after loading, but still lists them: another module may use the memory.
    return {
        files[n]: {s: (a - away) & _MASK for s, a in sections.items() if a and not s.startswith(".init")}
        for n, sections in known.items()
    }


def modules(
    folder: Path, loaded: Mapping[str, Mapping[str, int]], kernel: Symbols, stext: int | None
) -> tuple[Image, ...]:
    """Read the modules that were loaded and have a file; see `module_files`.

    Raises:
        UserError: a file is not a module.
    """
    placed = module_files(folder, loaded, kernel, stext)
    known: dict[str, int] = {}
    if placed:
        known = {name: int(a) for a, names in zip(kernel.addresses, kernel.names, strict=True) for name in names}
    return tuple(image.module(path, sections, known.get) for path, sections in placed.items())


def shift(symbols: Symbols, stext: int | None) -> int:
    """Return the number to subtract from a run-time address to get the link-time address (KASLR).

    Raises:
        UserError: the capture does not have the kernel's address.
    """
    if not stext:
        raise UserError(
            "the capture does not have the address of _stext, so its other addresses cannot be used",
            "build the kernel with KALLSYMS: the agent reads the address from /proc/kallsyms",
        )
    return stext - symbols.stext


def link_time(pcs: NDArray[np.uint64], symbols: Symbols, stext: int | None) -> NDArray[Any]:
    """Convert run-time addresses to link-time addresses, u64."""
    import numpy as np

    return pcs - np.uint64(shift(symbols, stext) & _MASK)
