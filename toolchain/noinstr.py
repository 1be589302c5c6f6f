"""Find callbacks in code that must not be instrumented.

Takes a kernel's build directory. Gives the objects that have callbacks in the sections of noinstr code. This reads the
objects, not the linked kernel: on x86, objtool replaces such calls with nops, which hides the mistake. The relocations
stay in the object with type NONE, so objects can be scanned before and after objtool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UnderTest, UserError

# include/linux/compiler_types.h (noinstr), include/linux/cpu.h (__cpuidle), arch/*/include/asm (entry code).
SECTIONS = (".noinstr.text", ".cpuidle.text", ".entry.text")
CALLBACKS = ("__sanitizer_cov_trace_args", "__sanitizer_cov_trace_ret", "__sanitizer_cov_trace_gated")


@dataclass(frozen=True)
class Offence:
    """Callbacks in one section of one object."""

    path: Path
    section: str
    callbacks: int


@dataclass(frozen=True)
class Scan:
    """The objects of a directory.

    Attributes:
        objects: number of relocatable ELF objects.
        instrumented: number of objects that refer to a callback.
        protected: number of objects that have one of the sections.
        offences: the callbacks in these sections.
    """

    objects: int
    instrumented: int
    protected: int
    offences: tuple[Offence, ...]


def scan_object(path: Path) -> tuple[bool, bool, list[Offence]] | None:
    """Return whether an object refers to callbacks, whether it has protected sections, and its offences.

    Returns:
        None if it is not a relocatable ELF object (kbuild also names LLVM bitcode and scripts `.o`).
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return None
        try:
            elf: Any = ELFFile(stream)
            if elf["e_type"] != "ET_REL":
                return None
            symbols = elf.get_section_by_name(".symtab")
            callbacks = {i for i, s in enumerate(symbols.iter_symbols()) if s.name in CALLBACKS} if symbols else set()
            called = any(symbols.get_symbol(i)["st_shndx"] == "SHN_UNDEF" for i in callbacks)
            names = [section.name for section in elf.iter_sections()]
            protected = any(name.startswith(SECTIONS) for name in names)
            offences = list(_offences(path, elf, callbacks)) if callbacks and protected else []
        except ELFError as error:
            raise UserError(f"{path}: not a readable object: {error}") from None
    return called, protected, offences


def _offences(path: Path, elf: Any, callbacks: set[int]) -> Iterator[Offence]:
    for section in elf.iter_sections():
        if section["sh_type"] not in ("SHT_RELA", "SHT_REL"):
            continue
        target = elf.get_section(section["sh_info"]).name
        if target.startswith(SECTIONS):
            count = sum(relocation["r_info_sym"] in callbacks for relocation in section.iter_relocations())
            if count:
                yield Offence(path, target, count)


def scan(build: Path) -> Scan:
    """Scan all objects below a directory.

    Raises:
        UserError: there are no objects.
    """
    objects = instrumented = protected = 0
    offences: list[Offence] = []
    for path in sorted(build.rglob("*.o")):
        # These are links of other objects.
        if not path.is_file() or path.name in ("vmlinux.o", "built-in.o"):
            continue
        result = scan_object(path)
        if result is None:
            continue
        objects += 1
        instrumented += result[0]
        protected += result[1]
        offences += result[2]
    if not objects:
        raise UserError(f"there are no objects below {build}")
    return Scan(objects, instrumented, protected, tuple(offences))


def check(build: Path) -> Scan:
    """Scan all objects, and raise if noinstr code has a callback.

    Raises:
        UnderTest: noinstr code has a callback.
        UserError: there are no objects.
    """
    result = scan(build)
    if result.offences:
        worst = max(result.offences, key=lambda o: o.callbacks)
        total = sum(o.callbacks for o in result.offences)
        raise UnderTest(
            f"{total} callbacks in noinstr code of {len(result.offences)} objects, "
            f"{worst.callbacks} of them in {worst.section} of {worst.path}"
        )
    return result
