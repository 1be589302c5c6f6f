"""Attach gdb to a guest that waits for it, or open the memory of a guest that hung with crash.

Takes a directory with a kernel, and a run's folder. Gives the output of gdb or crash, on the user's terminal or line by
line. Never judges the guest. The programs come from the image `debug`, or from the host.
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
# The folders of the sources in a kernel's debug information (kernel.build).
TREE, BUILD = "/kdf/tree", "/kdf/build"
_SCRIPTS = "vmlinux-gdb.py"
_SOCKET_SECONDS = 30.0
_END_SECONDS = 20.0
# A person may think for a while.
_SESSION_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Kernel:
    """The kernel that a debugger works on.

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
        """Return the mounts of the debugger's session."""
        mounts = guests.mounts(self.path, folder)
        mounts += [Mount(self.tree, TREE)] if self.tree else []
        return mounts + ([Mount(self.build, BUILD)] if self.build else [])


def gdb_words(kernel: Kernel, session: Session, folder: Path, commands: Sequence[str]) -> list[str]:
    """Return gdb's command line for a guest that waits.

    Args:
        commands: of gdb, which exits after the last one; empty for a person at a terminal.
    """
    scripts = f"{session.path(kernel.build)}/{_SCRIPTS}" if kernel.build else ""
    first = [f"target remote {session.path(folder / SOCKET)}"] + ([f"source {scripts}"] if scripts else [])
    return [
        "gdb",
        "-q",
        "-nx",
        *(["-batch"] if commands else []),
        session.path(kernel.path / _VMLINUX),
        *(word for command in [*first, *commands] for word in ("-ex", command)),
    ]


def crash_words(kernel: Path, session: Session, folder: Path, script: Path | None) -> list[str]:
    """Return crash's command line for the memory of a guest that hung.

    Args:
        script: file with its commands, or None for a person at a terminal.
    """
    # crash does not know the slab allocator of new kernels. Without it, everything else works (seen with 7.1.8).
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
    show_line: Callable[[str], None],
) -> int:
    """Start a guest that waits before its first instruction, and a debugger on it; both end together.

    Args:
        todo: the plan of the guest, once it continues.
        guest, debugger: sessions for QEMU and for gdb; both see the folder.
        commands: of gdb; empty for a person at a terminal.
        show_line: is called with each line of gdb if there are commands.

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
        except BaseException as error:  # the main thread raises it (_wait_for)
            failed.append(error)

    machine = threading.Thread(target=boot, daemon=True)
    machine.start()
    try:
        _wait_for(folder / SOCKET, machine, failed)
        words = gdb_words(kernel, debugger, folder, commands)
        if not commands:
            return foreground(debugger, words)
        return debugger.run(words, log=folder / "gdb.log", on_line=show_line).code
    finally:
        qmp.end(folder)
        machine.join(_END_SECONDS)


def _wait_for(socket: Path, machine: threading.Thread, failed: list[BaseException]) -> None:
    """Wait until QEMU has made its socket.

    Raises:
        InfraError: QEMU ended before, or took too long.
    """
    until = time.monotonic() + _SOCKET_SECONDS
    while not socket.exists():
        if failed:
            raise failed[0]
        if not machine.is_alive() or time.monotonic() > until:
            raise InfraError("QEMU did not make a socket for the debugger", "read its log", socket.parent / "qemu.log")
        time.sleep(0.1)


def crash(
    kernel: Path, session: Session, folder: Path, commands: Sequence[str], show_line: Callable[[str], None]
) -> int:
    """Open the memory of a guest that hung.

    Args:
        kernel: directory with its `vmlinux`.
        folder: of the run.
        commands: of crash; empty for a person at a terminal.
        show_line: is called with each line of crash if there are commands.

    Returns:
        crash's exit status.

    Raises:
        UserError: the run did not save the memory of a guest.
        InfraError: crash is not installed, or there is no terminal.
    """
    if not (folder / qmp.DUMP).is_file():
        raise UserError(
            f"{folder} has no {qmp.DUMP}", "choose a run whose guest ran out of time: only such a run has one"
        )
    if not commands:
        return foreground(session, crash_words(kernel, session, folder, None))
    script = folder / "crash.txt"
    store.write_text(script, "\n".join([*commands, "quit"]) + "\n")
    return session.run(crash_words(kernel, session, folder, script), log=folder / "crash.log", on_line=show_line).code
