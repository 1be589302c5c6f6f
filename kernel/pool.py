"""Pool: job slots that several builds share, so that neither cores idle nor too many compilers run.

What comes in is a number of slots; what goes out is a pipe with a name that holds one byte for each, as GNU make's job
server (make manual, "POSIX Jobserver Interaction"; pipes with names since make 4.4). Whoever runs a make or a guest
takes a slot for it; the makes take further ones for their recipes, and all put back what they took.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import InfraError

# Tells the processes of a matrix where their pool is.
VARIABLE = "KDF_JOB_POOL"
_PIPE = "slots"
_SLOT = b"+"


@dataclass(frozen=True)
class Pool:
    """Where the slots are.

    Attributes:
        folder: holds the pipe; containers see the folder.
        slots: how many there are in all.
    """

    folder: Path
    slots: int

    @property
    def pipe(self) -> Path:
        return self.folder / _PIPE

    def variables(self) -> dict[str, str]:
        """What tells a program of ours of this pool."""
        return {VARIABLE: f"{self.slots}:{self.folder}"}


def current() -> Pool | None:
    """The pool that this process was started in, or None.

    Raises:
        InfraError: what should tell of it does not.
    """
    said = os.environ.get(VARIABLE, "")
    if not said:
        return None
    slots, colon, folder = said.partition(":")
    pool = Pool(Path(folder), int(slots) if slots.isdigit() else 0)
    if not colon or not pool.slots or not pool.pipe.is_fifo():
        raise InfraError(f"{VARIABLE}={said} names no job pool", f"unset {VARIABLE}: it is for ./invoke ci.run alone")
    return pool


@contextlib.contextmanager
def opened(folder: Path, slots: int) -> Iterator[Pool]:
    """A pool that is there as long as the block.

    Args:
        folder: an existing directory.
    """
    pool = Pool(folder, slots)
    os.mkfifo(pool.pipe)
    # Open for both, it keeps what is in it while nobody else has it open.
    end = os.open(pool.pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(end, _SLOT * slots)
        yield pool
    finally:
        os.close(end)
        pool.pipe.unlink()


def refill(pool: Pool) -> int:
    """Put back the slots that killed makes took with them; only while nobody has any. Returns how many those were."""
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
    """One slot of the current pool, for what runs in the block; waits for it. Nothing without a pool."""
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
