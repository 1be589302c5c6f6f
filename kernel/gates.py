"""Gates: what a kernel's gates are made of.

What comes in is a kernel that has just been linked; what goes out is the text of one gate, which the series gave to the
compiler and left in the image (patches/linux-g1). A kernel without gates has none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_SYMBOL = "__kcov_df_gate_text"
_LONGEST = 4096


def text(vmlinux: Path, system_map: Path) -> bytes | None:
    """The text of a gate, as it stands in the image without its final zero; None if it has no gates.

    Args:
        system_map: of the same link; it has local symbols too.
    """
    from elftools.elf.elffile import ELFFile

    for line in system_map.read_text().splitlines():
        address, _kind, name = line.split()
        if name == _SYMBOL:
            break
    else:
        return None
    place = int(address, 16)
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_addr"] <= place < section["sh_addr"] + section["sh_size"]:
                file.seek(section["sh_offset"] + place - section["sh_addr"])
                return file.read(_LONGEST).partition(b"\0")[0]
    return None


def text_hash(vmlinux: Path, system_map: Path) -> str | None:
    """sha256 of that text, which changes with the architecture's static branch; None if there are no gates."""
    found = text(vmlinux, system_map)
    return None if found is None else hashlib.sha256(found).hexdigest()
