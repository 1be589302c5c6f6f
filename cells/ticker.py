"""Live: tell of tests while the guest still runs them.

What comes in are the channel's and the console's files while QEMU writes them; what goes out is one line for each test
that finished. Nobody judges by it: the verdict reads the files again when the guest has ended, and nothing that goes
wrong here may reach it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import printable
from guest import channel, console, ktap
from guest.channel import Frame, Type
from guest.guests import CHANNEL, CONSOLE

_POLL_SECONDS = 0.3
_CHUNK = 1 << 20
# A line of a program that never ends its lines; bytes.
_LONGEST = 1 << 16


@dataclass
class _Program:
    """A program that runs: its results so far, and the line that is not complete."""

    name: str
    parser: ktap.Parser = field(default_factory=ktap.Parser)
    rest: bytes = b""
    told: int = 0
    facts: dict[str, str] = field(default_factory=dict)


class Feed:
    """Reads a channel's bytes as they come.

    Args:
        names: of the programs, in the order of the plan: the guest calls them all `test`.
        told: gets a line for each test that finished.
    """

    def __init__(self, names: Sequence[str], told: Callable[[str], None]) -> None:
        self._names = names
        self._told = told
        self._stream = channel.Stream()
        self._programs: dict[int, _Program] = {}

    def add(self, data: bytes) -> None:
        """Take what came."""
        for frame in self._stream.add(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Type.BEGIN:
            if frame.workload < len(self._names):
                self._programs[frame.workload] = _Program(self._names[frame.workload])
            return
        one = self._programs.get(frame.workload)
        if one is None:
            return
        if frame.kind is Type.OUTPUT:
            *lines, one.rest = (one.rest + frame.payload).split(b"\n")
            one.rest = one.rest[-_LONGEST:]
            for line in lines:
                self._line(one, line)
        elif frame.kind is Type.FACTS:
            one.facts |= channel.key_values(frame.payload)
        elif frame.kind is Type.END:
            self._line(one, one.rest)
            del self._programs[frame.workload]
            how = one.facts.get("ended") or ", ".join(
                f"{name} {one.facts[name]}" for name in ("exit", "signal") if name in one.facts
            )
            results = f", {one.told} results" if one.told else ""
            self._told(printable(f"ended    {one.name}: {how or 'nothing said'}{results}"))

    def _line(self, one: _Program, line: bytes) -> None:
        for test in one.parser.feed(line.decode("utf-8", "replace")):
            one.told += 1
            self._told(_finished(one.name, test))


class Console:
    """Reads a console as it comes, for KUnit's results, which the kernel prints while it boots.

    Args:
        told: gets a line for each test that finished.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._parser: ktap.Parser | None = None
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take what came."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LONGEST:]
        for line in lines:
            for message in (said for text in console.clean(line) for said in console.messages(text)):
                if self._parser is None and message.startswith(("KTAP version", "TAP version")):
                    self._parser = ktap.Parser()
                for test in self._parser.feed(message) if self._parser else ():
                    self._told(_finished("kunit", test))


def _finished(where: str, test: ktap.Test) -> str:
    reason = f" ({test.reason})" if test.reason else ""
    return printable(f"{test.status:8} {where}: {test.name}{reason}")


@contextlib.contextmanager
def watching(
    folder: Path, names: Sequence[str], told: Callable[[str], None] | None, *, kunit: bool = False
) -> Iterator[None]:
    """Tell of tests while the block runs.

    Args:
        folder: of the run.
        names: of the programs, in the order of the plan.
        told: gets a line for each test that finished, in a thread of its own; None for no telling at all.
        kunit: whether the console has results, too.
    """
    if told is None:
        yield
        return
    over = threading.Event()
    readers: list[tuple[Path, Feed | Console]] = [(folder / CHANNEL, Feed(names, told))]
    if kunit:
        readers.append((folder / CONSOLE, Console(told)))
    thread = threading.Thread(target=_follow, args=(readers, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


def _follow(readers: list[tuple[Path, Feed | Console]], over: threading.Event) -> None:
    places = dict.fromkeys((path for path, _ in readers), 0)
    while True:
        # What was written before the end is told, too.
        last = over.wait(_POLL_SECONDS)
        for path, reader in readers:
            # The file is not there before QEMU; the terminal that is told may be gone.
            with contextlib.suppress(OSError, ValueError), path.open("rb") as source:
                source.seek(places[path])
                while data := source.read(_CHUNK):
                    places[path] += len(data)
                    reader.add(data)
        if last:
            return
