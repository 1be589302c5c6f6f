"""Judge a long step, such as a build, by how its program ended and what it printed.

Takes a `process.Finished` and its log. Raises the error that names the cause and whose fault it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core import diagnostics
from core.errors import InfraError, UnderTest
from core.process import Finished


class MissingProgramError(InfraError):
    """A shell reported that a program does not exist."""


def require(done: Finished, what: str, log: Path | None, errors: Sequence[str] = ()) -> None:
    """Raise if a long step, such as a build, failed.

    Args:
        done: how the step ended.
        what: name of the step, as the begin of a sentence.
        log: file with its output.
        errors: sentences of the caller about the cause; else `core.diagnostics` finds it in the output.

    Raises:
        InfraError: the step was killed, ran out of time or disk, or a program is missing (MissingProgramError); another
            try may help.
        UnderTest: the step itself failed; the message contains the first error.
    """
    if done.ok:
        return
    if done.timed_out:
        raise InfraError(f"{what} did not end within {done.seconds:.0f} s", "check the load of this machine", log)
    seen = diagnostics.read(_output(done, log))
    if done.code < 0 or seen.killed:
        raise InfraError(
            f"{what} was killed" + (f" by signal {-done.code}" if done.code < 0 else ""),
            "check the memory of this machine (./invoke doctor), then run the same command again: it continues",
            log,
        )
    if seen.full:
        raise InfraError(
            f"the disk is full: {what} could not write: {seen.full}",
            "free some space or point KDF_HOME at a larger disk, then run the same command again",
            log,
        )
    if seen.missing:
        raise MissingProgramError(
            f"{what} lacks a program: {seen.missing}", "run ./invoke doctor: it names the package", log
        )
    cause = next(iter(errors), "") or seen.cause or f"it ended with {done.code}"
    raise UnderTest(f"{what} failed: {cause.strip()}", "read the log", log)


def _output(done: Finished, log: Path | None) -> Iterator[str]:
    """Yield the lines of a program from its log, or the last ones if there is no log."""
    if log is None or done.start < 0:
        yield from done.tail
        return
    with log.open("rb") as stream:
        stream.seek(done.start)
        rest = b""
        while piece := stream.read(1 << 16):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
            rest = rest[-(1 << 16) :]
        yield rest.decode("utf-8", "replace")
