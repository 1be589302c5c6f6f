"""Read the text of a kernel's gates from its image.

Takes a kernel that has just been linked. Gives the assembler text of one gate. The series patches/linux-g1 passes this
text to the compiler and keeps a copy in the image. Other kernels do not have gates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_SYMBOL = "__kcov_df_gate_text"
_LONGEST = 4096


def text(vmlinux: Path, system_map: Path) -> bytes | None:
    """Return the text of a gate from the image, without the final zero byte; None if there are no gates.

    Args:
        system_map: of the same link; it also contains local symbols.
    """
    from elftools.elf.elffile import ELFFile

    for line in system_map.read_text().splitlines():
        address, _kind, name = line.split()
        if name == _SYMBOL:
            break
    else:
        return None
    start = int(address, 16)
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_addr"] <= start < section["sh_addr"] + section["sh_size"]:
                file.seek(section["sh_offset"] + start - section["sh_addr"])
                return file.read(_LONGEST).partition(b"\0")[0]
    return None


def text_hash(vmlinux: Path, system_map: Path) -> str | None:
    """Return the sha256 of a gate's text; None if there are no gates. Each architecture has its own text."""
    gate = text(vmlinux, system_map)
    return None if gate is None else hashlib.sha256(gate).hexdigest()
