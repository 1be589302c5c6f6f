"""Share job slots between several builds, so that all cores work and not too many compilers run.

Takes a number of slots. Gives a named pipe that contains one byte for each slot, as GNU make's job server (make manual,
"POSIX Jobserver Interaction"; named pipes since make 4.4). A program takes one slot for each make or guest that it
runs. A make takes further slots for its recipes. Each of them puts its slots back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import InfraError

# Names the pool for the processes of a matrix.
VARIABLE = "KDF_JOB_POOL"
_PIPE = "slots"
_SLOT = b"+"


@dataclass(frozen=True)
class Pool:
    """The place and the number of the slots.

    Attributes:
        folder: contains the pipe; it is mounted into containers.
        slots: their total number.
    """

    folder: Path
    slots: int

    @property
    def pipe(self) -> Path:
        """Return the named pipe."""
        return self.folder / _PIPE

    def variables(self) -> dict[str, str]:
        """Return the environment variables that name this pool for a program of the kit."""
        return {VARIABLE: f"{self.slots}:{self.folder}"}


def current() -> Pool | None:
    """Return the pool in which this process was started, or None.

    Raises:
        InfraError: the environment variable does not name a pool.
    """
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    slots, colon, folder = value.partition(":")
    pool = Pool(Path(folder), int(slots) if slots.isdigit() else 0)
    if not colon or not pool.slots or not pool.pipe.is_fifo():
        raise InfraError(
            f"{VARIABLE}={value} does not name a job pool", f"unset {VARIABLE}: only ./invoke ci.run sets it"
        )
    return pool


@contextlib.contextmanager
def opened(folder: Path, slots: int) -> Iterator[Pool]:
    """Give a pool that exists during the block.

    Args:
        folder: an existing directory.
    """
    pool = Pool(folder, slots)
    os.mkfifo(pool.pipe)
    # While it is open for reading and writing here, it keeps its bytes even if no other process has it open.
    end = os.open(pool.pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(end, _SLOT * slots)
        yield pool
    finally:
        os.close(end)
        pool.pipe.unlink()


def refill(pool: Pool) -> int:
    """Put back the slots that killed makes did not put back; call it only while nobody holds a slot.

    Returns:
        The number of slots that were missing.
    """
    end = os.open(pool.pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        left = 0
        with contextlib.suppress(BlockingIOError):
            left = len(os.read(end, 1 << 16))
        os.write(end, _SLOT * pool.slots)
        return pool.slots - left
    finally:
        os.close(end)


@contextlib.contextmanager
def slot() -> Iterator[None]:
    """Hold one slot of the current pool during the block; wait until one is free. Does nothing without a pool."""
    pool = current()
    if pool is None:
        yield
        return
    end = os.open(pool.pipe, os.O_RDWR)
    try:
        taken = os.read(end, 1)
        try:
            yield
        finally:
            os.write(end, taken)
    finally:
        os.close(end)
