"""Save the memory of a guest that ran out of time, and end its QEMU, over QMP.

Takes the socket that QEMU made, and a time limit. Gives a file in the format of the kernel's kdump, or the reason why
there is none. Never kills a QEMU that does not answer: its caller does.
"""

# The commands are in QEMU's QMP reference manual: qmp_capabilities, dump-guest-memory, quit.

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import data

SOCKET = "qmp.sock"
DUMP = "guest.dump"
LIMITS = Path(__file__).parent / "dump.yaml"
_CONNECT_SECONDS = 5.0
_PATH_BYTES = 108
# Largest line that is read; QEMU's answers to our commands have a few hundred bytes.
_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits for saving the memory of a guest: wall seconds, size of the file, and disk space that stays free."""

    seconds: int
    largest_mb: int
    free_mb: int


@dataclass
class Ending:
    """The end of a guest that was watched.

    Attributes:
        out_of_time: set when its time is over.
        dump: file with its memory, or None.
        note: why there is no such file.
    """

    out_of_time: threading.Event = field(default_factory=threading.Event)
    dump: Path | None = None
    note: str = ""


class _RefusedError(Exception):
    """QEMU refused a command, or gave no valid answer."""


def limits(file: Path = LIMITS) -> Limits:
    """Read the limits from the table.

    Raises:
        UserError: the table is wrong.
    """
    return data.load(file, Limits)


@contextlib.contextmanager
def watching(folder: Path, seconds: float, inside: str, memory_mb: int) -> Iterator[Ending]:
    """End the QEMU that has its socket in a folder when its time is over.

    Args:
        folder: of the run; the guest's memory is saved there.
        seconds: wall time, from now on.
        inside: path of the folder for QEMU.
        memory_mb: of the guest.

    Yields:
        The end of the guest; read it after QEMU has ended.
    """
    ending, allowed = Ending(), limits()
    _remove(folder)

    def over() -> None:
        ending.out_of_time.set()
        try:
            ending.note = _end(folder, inside, memory_mb, allowed)
        except (OSError, ValueError, _RefusedError) as error:
            ending.note = f"QEMU kept no memory of the guest: {error or type(error).__name__}"

    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    try:
        yield ending
    finally:
        timer.cancel()
        if ending.out_of_time.is_set():
            timer.join(allowed.seconds)
        (folder / SOCKET).unlink(missing_ok=True)
        ending.dump = _kept(folder, ending, allowed)


def fits(path: str) -> str:
    """Return a path if it is short enough for a socket (108 bytes with NUL, sun_path of unix(7)), else an empty one."""
    return path if len(os.fsencode(path)) < _PATH_BYTES else ""


def end(folder: Path) -> None:
    """End the QEMU that has its socket in a folder, if there is one that answers."""
    with contextlib.suppress(OSError, ValueError, _RefusedError), _connected(folder / SOCKET) as connection:
        _ask(connection, "qmp_capabilities")
        _ask(connection, "quit")


def _remove(folder: Path) -> None:
    for name in (SOCKET, DUMP):
        (folder / name).unlink(missing_ok=True)


def _kept(folder: Path, ending: Ending, allowed: Limits) -> Path | None:
    """Return the file with the memory if it is complete and not too large; else remove it."""
    file = folder / DUMP
    if not file.exists():
        return None
    if ending.note or file.stat().st_size > allowed.largest_mb << 20:
        ending.note = ending.note or f"the guest's memory took more than {allowed.largest_mb} MB and was not kept"
        file.unlink()
        return None
    return file


def _end(folder: Path, inside: str, memory_mb: int, allowed: Limits) -> str:
    """Save the guest's memory and end QEMU; return why the memory was not saved, or an empty string."""
    with _connected(folder / SOCKET) as connection:
        _ask(connection, "qmp_capabilities")
        note = ""
        try:
            if shutil.disk_usage(folder).free >> 20 < memory_mb + allowed.free_mb:
                note = "there is no room for the guest's memory"
            else:
                connection.settimeout(allowed.seconds)
                # With paging, QEMU would follow page tables that a broken kernel may have damaged.
                words = {"paging": False, "protocol": f"file:{inside}/{DUMP}", "format": "kdump-zlib"}
                _ask(connection, "dump-guest-memory", **words)
        except _RefusedError as error:
            note = f"QEMU kept no memory of the guest: {error}"
        with contextlib.suppress(OSError, _RefusedError):  # QEMU may exit before it answers
            _ask(connection, "quit")
        return note


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """Connect to a socket; its path may be longer than the 108 bytes of an address (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            if "QMP" not in _read(connection):
                raise _RefusedError("it did not greet")
            yield connection
    finally:
        os.close(folder)


def _ask(connection: socket.socket, name: str, **arguments: Any) -> Any:
    """Send a command and return QEMU's answer; skip events.

    Raises:
        _RefusedError: QEMU refuses the command.
    """
    command = {"execute": name, **({"arguments": arguments} if arguments else {})}
    connection.sendall(json.dumps(command).encode() + b"\n")
    while True:
        answer = _read(connection)
        if "error" in answer:
            raise _RefusedError(str(answer["error"].get("desc", answer["error"])))
        if "return" in answer:
            return answer["return"]


def _read(connection: socket.socket) -> dict[str, Any]:
    """Read one message: a line with a JSON object."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise _RefusedError("it closed the connection")
        line += byte
        if len(line) > _LINE_BYTES:
            raise _RefusedError("its answer is too long")
    message = json.loads(line)
    if not isinstance(message, dict):
        raise _RefusedError("its answer is not a JSON object")
    return message
