"""Read the code, the constants and the function symbols of a vmlinux or of a loaded module.

Takes an ELF file, and for a module the addresses of its sections. Gives its bytes at their link-time addresses; those
of a module are its run-time addresses minus the shift of the kernel (KASLR). Never reads debug information.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.arch import of_elf
from core.errors import UnderTest, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
_ALLOC, _EXECUTE = 2, 4  # SHF_ALLOC, SHF_EXECINSTR (ELF gABI)
_STT_FUNC = 2
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00
_SECTIONS = (".text", ".data", ".rodata")


@dataclass(frozen=True)
class Section:
    """Bytes at an address; `code` is true if they are instructions."""

    name: str
    address: int
    data: NDArray[np.uint8]
    code: bool

    def holds(self, address: int, size: int = 1) -> bool:
        return self.address <= address and address + size <= self.address + len(self.data)


@dataclass(frozen=True)
class Image:
    """The memory contents of a file.

    Attributes:
        name: `vmlinux`, or the module's name.
        arch: a name of `core.arch`.
        functions: (address, bytes, name) of each function symbol.
    """

    name: str
    arch: str
    sections: tuple[Section, ...]
    functions: tuple[tuple[int, int, str], ...]

    def section(self, address: int, size: int = 1) -> Section | None:
        """Return the section that contains `size` bytes at an address; None if there is none."""
        return next((s for s in self.sections if s.holds(address, size)), None)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the image.

        Raises:
            UnderTest: the image does not have all of them.
        """
        section = self.section(address, size)
        if section is None:
            raise UnderTest(f"{self.name} has no {size} bytes at {address:#x}")
        start = address - section.address
        return section.data[start : start + size].tobytes()


def vmlinux(path: Path) -> Image:
    """Read a linked kernel.

    Raises:
        UserError: it does not exist, or is not a kernel of a known architecture.
    """
    return _opened(path, _linked)


def extent(path: Path) -> tuple[int, int]:
    """Return the range of link-time addresses of a linked kernel: its lowest, and the one after its highest.

    Raises:
        UserError: it does not exist, or is not a kernel of a known architecture.
    """

    def of(elf: Any) -> tuple[int, int]:
        loads = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        if not loads:
            raise UserError(f"{path} is not a linked kernel: it has nothing to load")
        return min(s["p_vaddr"] for s in loads), max(s["p_vaddr"] + s["p_memsz"] for s in loads)

    return _opened(path, of)


def section_sizes(path: Path) -> dict[str, int]:
    """Return the size in bytes of each section that takes memory.

    Raises:
        UserError: the file does not exist, or is not for a known architecture.
    """
    return _opened(path, lambda elf: {s.name: int(s["sh_size"]) for s in elf.iter_sections() if s["sh_flags"] & _ALLOC})


def executable_size(path: Path) -> int:
    """Return the total size in bytes of all sections with code, cold and init code included.

    Raises:
        UserError: the file does not exist, or is not for a known architecture.
    """
    code = _ALLOC | _EXECUTE
    return _opened(
        path, lambda elf: sum(int(s["sh_size"]) for s in elf.iter_sections() if s["sh_flags"] & code == code)
    )


def kernel_sizes(kernel_dir: Path) -> dict[str, int]:
    """Return the sizes of a kernel in bytes: sections by kind, all executable sections, and the boot image."""
    sections = section_sizes(kernel_dir / "vmlinux")
    return {
        **{name: sections.get(name, 0) for name in _SECTIONS},
        "executable": executable_size(kernel_dir / "vmlinux"),
        "image": (kernel_dir / "image").stat().st_size,
    }


def gates(path: Path) -> NDArray[np.uint64]:
    """Return the addresses of a vmlinux's gates, in the order of its table; gates in init text are left out.

    The table's entries are those of __jump_table (include/linux/jump_label.h): {s32 code, s32 target, s64 key}, each
    relative to its own address. The kernel does not open and close gates in init text.

    Raises:
        UserError: the file does not exist, or is not for a known architecture.
    """
    return _opened(path, _gates)


def _gates(elf: Any) -> NDArray[np.uint64]:
    import numpy as np

    own, names = _symbols(elf)
    marks = dict.fromkeys(("__start___kcov_df_table", "__stop___kcov_df_table", "__init_begin", "__init_end"), 0)
    for name, value in zip(own["name"].tolist(), own["value"].tolist(), strict=True):
        if names.startswith(b"__", name) and (text := _text(names, name)) in marks:
            marks[text] = value
    start, stop, init, end = marks.values()
    section = _linked(elf).section(start, stop - start) if start < stop else None
    if section is None:
        return np.empty(0, dtype=np.uint64)
    data = section.data[start - section.address : stop - section.address]
    entries = np.frombuffer(data.tobytes(), dtype=[("code", "<i4"), ("target", "<i4"), ("key", "<i8")])
    code = start + 16 * np.arange(len(entries), dtype=np.uint64) + entries["code"].astype(np.int64).astype(np.uint64)
    return code[(code < init) | (code >= end)]


def module(path: Path, loaded: Mapping[str, int], resolve: Callable[[str], int | None]) -> Image:
    """Read a module and relocate it to the addresses where it was loaded.

    Args:
        path: its .ko file.
        loaded: section -> link-time address.
        resolve: gives the address of a symbol of the kernel or of another module; None if it is not known.

    Raises:
        UserError: it does not exist, or is not a module of a known architecture.
    """
    return _opened(path, lambda elf: _placed(elf, path.stem.replace("-", "_"), loaded, resolve))


def _opened(path: Path, build: Callable[[Any], _T]) -> _T:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as source:
            elf = ELFFile(source)
            if not _arch(elf) or not elf.little_endian:
                raise UserError(f"{path} is for a machine that the toolkit does not know: {elf['e_machine']}")
            return build(elf)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no {path}") from None
    except (ELFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not an ELF file of a kernel: {error}") from None


def _arch(elf: Any) -> str:
    """Return the kernel's name of a file's architecture; empty if the toolkit does not know it."""
    row = of_elf(elf["e_machine"])
    return row.name if row else ""


def _linked(elf: Any) -> Image:
    import numpy as np

    sections = tuple(
        Section(s.name, int(s["sh_addr"]), np.frombuffer(s.data(), dtype=np.uint8), bool(s["sh_flags"] & _EXECUTE))
        for s in elf.iter_sections()
        if s["sh_type"] == "SHT_PROGBITS" and s["sh_flags"] & _ALLOC and s["sh_size"] and s["sh_addr"]
    )
    table, names = _symbols(elf)
    own = table[(table["info"] & 15 == _STT_FUNC) & (table["shndx"] != _SHN_UNDEF)]
    functions = tuple(
        (address, size, _text(names, name))
        for name, address, size in zip(own["name"].tolist(), own["value"].tolist(), own["size"].tolist(), strict=True)
    )
    return Image("vmlinux", _arch(elf), sections, functions)


def _symbols(elf: Any) -> tuple[Any, bytes]:
    """Return the symbol table as an array, and its names (Elf64_Sym, ELF-64 object file format)."""
    import numpy as np

    form = np.dtype(
        [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
    )
    table = elf.get_section_by_name(".symtab")
    if table is None:
        return np.empty(0, dtype=form), b""
    return np.frombuffer(table.data(), dtype=form), elf.get_section(table["sh_link"]).data()


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode()


def _placed(elf: Any, name: str, loaded: Mapping[str, int], resolve: Callable[[str], int | None]) -> Image:
    import numpy as np

    table, names = _symbols(elf)
    all_sections = list(elf.iter_sections())
    bases = {index: loaded[s.name] for index, s in enumerate(all_sections) if s.name in loaded}
    contents = {
        index: bytearray(all_sections[index].data())
        for index in bases
        if all_sections[index]["sh_type"] == "SHT_PROGBITS" and all_sections[index]["sh_flags"] & _ALLOC
    }
    where: list[int | None] = [
        (bases[shndx] + value if shndx in bases else None)
        if _SHN_UNDEF != shndx < _SHN_LORESERVE
        else resolve(_text(names, title))
        for title, shndx, value in zip(
            table["name"].tolist(), table["shndx"].tolist(), table["value"].tolist(), strict=True
        )
    ]
    for relocations in all_sections:
        target = relocations["sh_info"] if relocations["sh_type"] == "SHT_RELA" else None
        if target in contents:
            for relocation in relocations.iter_relocations():
                symbol = where[relocation["r_info_sym"]]
                if symbol is not None:
                    place = bases[target] + relocation["r_offset"]
                    _relocate(
                        contents[target],
                        relocation["r_offset"],
                        relocation["r_info_type"],
                        symbol + relocation["r_addend"],
                        place,
                    )
    sections = tuple(
        Section(
            all_sections[index].name,
            bases[index],
            np.frombuffer(bytes(data), dtype=np.uint8),
            bool(all_sections[index]["sh_flags"] & _EXECUTE),
        )
        for index, data in contents.items()
        if data
    )
    functions = tuple(
        (address, size, _text(names, title))
        for address, title, info, shndx, size in zip(
            where, table["name"].tolist(), table["info"].tolist(), table["shndx"].tolist(), table["size"].tolist(),
            strict=True,
        )
        if address is not None and info & 15 == _STT_FUNC and shndx in bases
    )  # fmt: skip
    return Image(name, _arch(elf), sections, functions)


# Relocations that code and field tables need: x86-64 psABI 4.4.1, AArch64 ELF ABI 5.7. (The two sets do not overlap.)
_PLAIN = {1: 8, 10: 4, 11: 4, 257: 8, 258: 4}  # R_X86_64_64, _32, _32S, R_AARCH64_ABS64, _ABS32: bytes
_RELATIVE = {2: 4, 4: 4, 261: 4}  # R_X86_64_PC32, _PLT32, R_AARCH64_PREL32: bytes
_PAGE, _LOW, _BRANCHES = (275, 276), 277, (282, 283)  # R_AARCH64_ADR_PREL_PG_HI21(_NC), ADD_ABS_LO12_NC, JUMP26/CALL26


def _relocate(data: bytearray, offset: int, kind: int, value: int, place: int) -> None:
    """Write one relocation; ignore a kind that is not needed. `place` is P of the ABIs: its own address."""

    def put(number: int, size: int) -> None:
        data[offset : offset + size] = (number & (1 << 8 * size) - 1).to_bytes(size, "little")

    def insert(bits: int) -> None:
        put(int.from_bytes(data[offset : offset + 4], "little") | bits, 4)

    if kind in _PLAIN:
        put(value, _PLAIN[kind])
    elif kind in _RELATIVE:
        put(value - place, _RELATIVE[kind])
    elif kind in _BRANCHES:
        insert((value - place) >> 2 & (1 << 26) - 1)
    elif kind in _PAGE:
        pages = (value >> 12) - (place >> 12)
        insert((pages & 3) << 29 | (pages >> 2 & (1 << 19) - 1) << 5)
    elif kind == _LOW:
        insert((value & 0xFFF) << 10)
