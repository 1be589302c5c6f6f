"""Find callbacks in code that must not call out.

What comes in is a kernel's build directory; what goes out says which objects have callbacks in the sections of noinstr
code. The objects are looked at, not the linked kernel: on x86 objtool turns such calls into nops, which hides the
mistake. It leaves their relocations behind with type NONE, so that objects can be scanned before and after it.
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
    """What a directory of objects holds.

    Attributes:
        objects: ELF relocatable objects.
        instrumented: those that refer to a callback at all.
        protected: those that have one of the sections.
        offences: callbacks where none may be.
    """

    objects: int
    instrumented: int
    protected: int
    offences: tuple[Offence, ...]


def scan_object(path: Path) -> tuple[bool, bool, list[Offence]] | None:
    """Whether an object refers to callbacks, whether it has protected sections, and what is wrong in it.

    Returns:
        None if it is no relocatable ELF object (kbuild also leaves LLVM bitcode and scripts named .o).
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
            wanted = {i for i, s in enumerate(symbols.iter_symbols()) if s.name in CALLBACKS} if symbols else set()
            called = any(symbols.get_symbol(i)["st_shndx"] == "SHN_UNDEF" for i in wanted)
            names = [section.name for section in elf.iter_sections()]
            protected = any(name.startswith(SECTIONS) for name in names)
            offences = list(_offences(path, elf, wanted)) if wanted and protected else []
        except ELFError as error:
            raise UserError(f"{path}: not a readable object: {error}") from None
    return called, protected, offences


def _offences(path: Path, elf: Any, wanted: set[int]) -> Iterator[Offence]:
    for section in elf.iter_sections():
        if section["sh_type"] not in ("SHT_RELA", "SHT_REL"):
            continue
        of = elf.get_section(section["sh_info"]).name
        if of.startswith(SECTIONS):
            count = sum(relocation["r_info_sym"] in wanted for relocation in section.iter_relocations())
            if count:
                yield Offence(path, of, count)


def scan(build: Path) -> Scan:
    """Scan all objects below a directory.

    Raises:
        UserError: there are none.
    """
    objects = instrumented = protected = 0
    offences: list[Offence] = []
    for path in sorted(build.rglob("*.o")):
        # These are other objects linked together.
        if not path.is_file() or path.name in ("vmlinux.o", "built-in.o"):
            continue
        found = scan_object(path)
        if found is None:
            continue
        objects += 1
        instrumented += found[0]
        protected += found[1]
        offences += found[2]
    if not objects:
        raise UserError(f"there are no objects below {build}")
    return Scan(objects, instrumented, protected, tuple(offences))


def check(build: Path) -> Scan:
    """Scan, and fail if there is a callback where none may be.

    Raises:
        UnderTest: there is one.
        UserError: there are no objects.
    """
    found = scan(build)
    if found.offences:
        worst = max(found.offences, key=lambda o: o.callbacks)
        total = sum(o.callbacks for o in found.offences)
        raise UnderTest(
            f"{total} callbacks in noinstr code of {len(found.offences)} objects, "
            f"{worst.callbacks} of them in {worst.section} of {worst.path}"
        )
    return found
