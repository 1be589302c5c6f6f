"""Pack the guest's files into newc cpio archives, with the same bytes for the same input.

Gives two archives, which follow one another in the file that QEMU loads. The first has the agent and is the same for
all runs. The second has the run's plan, the user's program and modules. The kernel unpacks both in order.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.errors import UserError

PLAN_PATH = "kdf.plan"
PROGRAM_PATH = "kdf.exec"
MODULES_PATH = "kdf/modules"

# The format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst): magic, 13 numbers of 8 hexadecimal
# digits each, name, data.
_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_ALIGN = 4


@dataclass(frozen=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: its path without a leading slash.
        mode: type and permissions, as in stat(2).
        data: its content.
        device: major and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def regular(name: str, data: bytes, *, executable: bool = False) -> Entry:
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def characters(name: str, major: int, minor: int) -> Entry:
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, major and minor of the file system and of the node, size of the name,
    # checksum
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = _MAGIC + b"".join(b"%08x" % number for number in numbers)
    return _pad(head + name) + _pad(entry.data)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return one archive, without times and owners, with inodes counted from 1.

    Raises:
        ValueError: a name is absolute, empty, contains NUL, or comes twice.
    """
    parts: list[bytes] = []
    seen: set[str] = set()
    for inode, entry in enumerate(entries, start=1):
        if not entry.name or entry.name.startswith("/") or "\0" in entry.name or entry.name in seen:
            raise ValueError(f"not a name for an archive: {entry.name!r}")
        seen.add(entry.name)
        parts.append(_record(inode, entry))
    parts.append(_record(0, Entry(_TRAILER, 0)))
    return b"".join(parts)


def base(agent: bytes) -> bytes:
    """Return the archive that every guest has: the agent as init, and the mount points.

    The kernel opens `/dev/console` before init runs (init/main.c, console_on_rootfs), so the archive has this node.
    Major and minor numbers are those of Documentation/admin-guide/devices.txt.
    """
    return archive(
        [
            directory("dev"),
            characters("dev/console", 5, 1),
            characters("dev/null", 1, 3),
            directory("proc"),
            directory("sys"),
            directory("tmp"),
            directory("kdf"),
            regular("init", agent, executable=True),
        ]
    )


def run_files(
    plan: str, program: Path | None = None, modules: Sequence[Path] = (), extra: Sequence[Entry] = ()
) -> bytes:
    """Return the archive of one run.

    Args:
        plan: the plan's lines.
        program: the user's static program, or None.
        modules: kernel modules; each keeps its file name.
        extra: further files.

    Raises:
        UserError: a file cannot be read.
    """
    entries = [regular(PLAN_PATH, plan.encode())]
    if program is not None:
        entries.append(regular(PROGRAM_PATH, _read(program), executable=True))
    if modules:
        entries.append(directory(MODULES_PATH))
    entries += [regular(f"{MODULES_PATH}/{module.name}", _read(module)) for module in modules]
    given = {entry.name for entry in entries} | {"kdf"}
    for entry in extra:
        for parent in reversed(PurePosixPath(entry.name).parents):
            if str(parent) != "." and str(parent) not in given:
                given.add(str(parent))
                entries.append(directory(str(parent)))
        given.add(entry.name)
        entries.append(entry)
    return archive(entries)


def lacking(program: Path) -> str:
    """Return why a program cannot run in a guest, as the end of a sentence; empty if it is a static ELF program."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with program.open("rb") as source:
            dynamic = any(segment["p_type"] == "PT_INTERP" for segment in ELFFile(source).iter_segments())
    except ELFError:
        return "is not an ELF program"
    return "needs a dynamic linker, and the guest has none" if dynamic else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
