"""QMP: QEMU's own connection, for a guest whose time is over: its memory is kept for a look, and QEMU ends by itself.

What comes in is the socket that QEMU made and a time; what goes out is a file in the format of the kernel's kdump, or
a sentence that says why there is none. A QEMU that does not answer is left to whoever started it, to be killed.
Source of the commands: QEMU's QMP reference manual (qmp_capabilities, dump-guest-memory, quit).
"""

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
# One line of QEMU's: an answer to our commands has some hundred bytes.
_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What keeping the memory of a guest may take."""

    seconds: int
    largest_mb: int
    free_mb: int


@dataclass
class Ending:
    """What became of a guest that was watched.

    Attributes:
        out_of_time: set when its time was over.
        dump: its memory, or None.
        note: why there is none.
    """

    out_of_time: threading.Event = field(default_factory=threading.Event)
    dump: Path | None = None
    note: str = ""


class _RefusedError(Exception):
    """QEMU said no, or nothing."""


def limits(file: Path = LIMITS) -> Limits:
    """The limits of the table.

    Raises:
        UserError: the table is wrong.
    """
    return data.load(file, Limits)


@contextlib.contextmanager
def watching(folder: Path, seconds: float, inside: str, memory_mb: int) -> Iterator[Ending]:
    """End the QEMU that has its socket in a folder when its time is over.

    Args:
        folder: of the run; gets the guest's memory.
        seconds: of wall time, from now on.
        inside: the folder as QEMU sees it.
        memory_mb: of the guest.

    Yields:
        What became of it; to be read when QEMU has ended.
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
    """A path if QEMU can make a socket of it (sun_path of unix(7) has 108 bytes, one of them NUL), else nothing."""
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
    """The file, if it is whole and not too large."""
    file = folder / DUMP
    if not file.exists():
        return None
    if ending.note or file.stat().st_size > allowed.largest_mb << 20:
        ending.note = ending.note or f"the guest's memory took more than {allowed.largest_mb} MB and was not kept"
        file.unlink()
        return None
    return file


def _end(folder: Path, inside: str, memory_mb: int, allowed: Limits) -> str:
    """Keep the guest's memory and end QEMU; returns why there is none, or nothing."""
    with _connected(folder / SOCKET) as connection:
        _ask(connection, "qmp_capabilities")
        note = ""
        try:
            if shutil.disk_usage(folder).free >> 20 < memory_mb + allowed.free_mb:
                note = "there is no room for the guest's memory"
            else:
                connection.settimeout(allowed.seconds)
                # Paging would make QEMU follow page tables that a broken kernel may have broken.
                words = {"paging": False, "protocol": f"file:{inside}/{DUMP}", "format": "kdump-zlib"}
                _ask(connection, "dump-guest-memory", **words)
        except _RefusedError as error:
            note = f"QEMU kept no memory of the guest: {error}"
        with contextlib.suppress(OSError, _RefusedError):  # it may be gone before its answer is
            _ask(connection, "quit")
        return note


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """A connection to a socket, whose path may be longer than the 108 bytes that an address has (unix(7))."""
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
    """What QEMU returns for a command; events in between are not for us.

    Raises:
        _RefusedError: it says no.
    """
    told = {"execute": name, **({"arguments": arguments} if arguments else {})}
    connection.sendall(json.dumps(told).encode() + b"\n")
    while True:
        said = _read(connection)
        if "error" in said:
            raise _RefusedError(str(said["error"].get("desc", said["error"])))
        if "return" in said:
            return said["return"]


def _read(connection: socket.socket) -> dict[str, Any]:
    """One message: a line with a JSON object."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise _RefusedError("it closed the connection")
        line += byte
        if len(line) > _LINE_BYTES:
            raise _RefusedError("it says more than an answer")
    said = json.loads(line)
    if not isinstance(said, dict):
        raise _RefusedError("it says no object")
    return said
