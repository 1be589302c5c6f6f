"""Debug: a debugger on a guest that waits for it, and a look into the memory of one that hung.

What comes in is a directory with a kernel, and a run's folder; what goes out is what gdb or crash said, to the user's
terminal or line by line. Nothing is judged. The programs are those of the image `debug`, or the host's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import store
from core.errors import InfraError, UserError
from core.runtime import Mount, Session, foreground
from guest import guests, qmp
from guest.guests import Start
from guest.plan import Plan
from guest.qemu import Size

SOCKET = "gdb.sock"
_VMLINUX = "vmlinux"
# Where a kernel's debug information says that its sources are (kernel.build).
TREE, BUILD = "/kdf/tree", "/kdf/build"
_SCRIPTS = "vmlinux-gdb.py"
_SOCKET_SECONDS = 30.0
_END_SECONDS = 20.0
# A person may think for a while.
_SESSION_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Kernel:
    """What a debugger looks at.

    Attributes:
        path: directory with `image` and `vmlinux`.
        tree: its source, or None.
        build: its build directory with the kernel's own scripts for gdb, or None.
    """

    path: Path
    arch: str
    tree: Path | None = None
    build: Path | None = None

    def mounts(self, folder: Path) -> list[Mount]:
        """What the debugger's session sees."""
        found = guests.mounts(self.path, folder)
        found += [Mount(self.tree, TREE)] if self.tree else []
        return found + ([Mount(self.build, BUILD)] if self.build else [])


def gdb_words(kernel: Kernel, session: Session, folder: Path, commands: Sequence[str]) -> list[str]:
    """gdb's command line for a guest that waits.

    Args:
        commands: of gdb; after the last it ends. None for a person at a terminal.
    """
    scripts = f"{session.path(kernel.build)}/{_SCRIPTS}" if kernel.build else ""
    first = [f"target remote {session.path(folder / SOCKET)}"] + ([f"source {scripts}"] if scripts else [])
    return [
        "gdb",
        "-q",
        "-nx",
        *(["-batch"] if commands else []),
        session.path(kernel.path / _VMLINUX),
        *(word for one in [*first, *commands] for word in ("-ex", one)),
    ]


def crash_words(kernel: Path, session: Session, folder: Path, script: Path | None) -> list[str]:
    """crash's command line for the memory of a guest that hung.

    Args:
        script: file with its commands, or None for a person at a terminal.
    """
    # Its knowledge of the slab allocator ends with older kernels, and without it the rest works (seen with 7.1.8).
    words = ["crash", "-s", "--no_kmem_cache", *(["-i", session.path(script)] if script else [])]
    return [*words, session.path(kernel / _VMLINUX), session.path(folder / qmp.DUMP)]


def gdb(
    kernel: Kernel,
    todo: Plan,
    guest: Session,
    debugger: Session,
    folder: Path,
    commands: Sequence[str],
    size: Size,
    told: Callable[[str], None],
) -> int:
    """Start a guest that waits before its first instruction, and a debugger on it; both end together.

    Args:
        todo: what the guest does once it goes on.
        guest, debugger: sessions for QEMU and for gdb; both see the folder.
        commands: of gdb; none for a person at a terminal.
        told: gets each line of gdb's if there are commands.

    Returns:
        gdb's exit status.

    Raises:
        InfraError: QEMU or gdb did not start, or there is no terminal.
    """
    (folder / SOCKET).unlink(missing_ok=True)
    failed: list[BaseException] = []
    start = Start(kernel.path, kernel.arch, todo, append=("nokaslr",), size=size, timeout=_SESSION_SECONDS, gdb=SOCKET)

    def boot() -> None:
        try:
            guests.boot(start, guest, folder)
        except BaseException as error:  # it is raised where somebody hears it
            failed.append(error)

    machine = threading.Thread(target=boot, daemon=True)
    machine.start()
    try:
        _wait_for(folder / SOCKET, machine, failed)
        words = gdb_words(kernel, debugger, folder, commands)
        if not commands:
            return foreground(debugger, words)
        return debugger.run(words, log=folder / "gdb.log", on_line=told).code
    finally:
        qmp.end(folder)
        machine.join(_END_SECONDS)


def _wait_for(socket: Path, machine: threading.Thread, failed: list[BaseException]) -> None:
    """Wait until QEMU has made its socket.

    Raises:
        InfraError: it ended before.
    """
    until = time.monotonic() + _SOCKET_SECONDS
    while not socket.exists():
        if failed:
            raise failed[0]
        if not machine.is_alive() or time.monotonic() > until:
            raise InfraError("QEMU made no socket for the debugger", "read its log", socket.parent / "qemu.log")
        time.sleep(0.1)


def crash(kernel: Path, session: Session, folder: Path, commands: Sequence[str], told: Callable[[str], None]) -> int:
    """Look into the memory of a guest that hung.

    Args:
        kernel: directory with its `vmlinux`.
        folder: of the run.
        commands: of crash; none for a person at a terminal.
        told: gets each line of crash's if there are commands.

    Returns:
        crash's exit status.

    Raises:
        UserError: the run kept no memory.
        InfraError: there is no crash, or no terminal.
    """
    if not (folder / qmp.DUMP).is_file():
        raise UserError(f"{folder} has no {qmp.DUMP}", "only a guest whose time was over leaves one")
    if not commands:
        return foreground(session, crash_words(kernel, session, folder, None))
    script = folder / "crash.txt"
    store.write_text(script, "\n".join([*commands, "quit"]) + "\n")
    return session.run(crash_words(kernel, session, folder, script), log=folder / "crash.log", on_line=told).code
