"""Report each test as soon as it has finished, while the guest runs.

Takes the channel's and the console's files while QEMU writes them. Gives one line for each finished test. Decides
nothing: the verdict reads both files again at the end, and an error here never changes it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import one_line
from guest import channel, console, ktap
from guest.channel import Frame, Type
from guest.guests import CHANNEL, CONSOLE

_POLL_SECONDS = 0.3
_CHUNK = 1 << 20
# The longest line that is kept, bytes: a program may never end its line.
_LONGEST = 1 << 16


@dataclass
class _Program:
    """A running program: its results so far, and the part of a line that has arrived."""

    name: str
    parser: ktap.Parser = field(default_factory=ktap.Parser)
    rest: bytes = b""
    results: int = 0
    facts: dict[str, str] = field(default_factory=dict)


class Feed:
    """Reads the channel's bytes as they arrive.

    Args:
        names: names of the programs in the order of the plan; in the guest all of them have the name `test`.
        told: called with a line for each finished test.
    """

    def __init__(self, names: Sequence[str], told: Callable[[str], None]) -> None:
        self._names = names
        self._told = told
        self._stream = channel.Stream()
        self._programs: dict[int, _Program] = {}

    def add(self, data: bytes) -> None:
        """Read more bytes."""
        for frame in self._stream.add(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Type.BEGIN:
            if frame.workload < len(self._names):
                self._programs[frame.workload] = _Program(self._names[frame.workload])
            return
        program = self._programs.get(frame.workload)
        if program is None:
            return
        if frame.kind is Type.OUTPUT:
            *lines, program.rest = (program.rest + frame.payload).split(b"\n")
            program.rest = program.rest[-_LONGEST:]
            for line in lines:
                self._line(program, line)
        elif frame.kind is Type.FACTS:
            program.facts |= channel.key_values(frame.payload)
        elif frame.kind is Type.END:
            self._line(program, program.rest)
            del self._programs[frame.workload]
            how = program.facts.get("ended") or ", ".join(
                f"{name} {program.facts[name]}" for name in ("exit", "signal") if name in program.facts
            )
            results = f", {program.results} results" if program.results else ""
            self._told(one_line(f"ended    {program.name}: {how or 'no status'}{results}"))

    def _line(self, program: _Program, line: bytes) -> None:
        for test in program.parser.feed(line.decode("utf-8", "replace")):
            program.results += 1
            self._told(_finished(program.name, test))


class Console:
    """Reads the console as it grows, for KUnit's results, which the kernel prints while it boots.

    Args:
        told: called with a line for each finished test.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._parser: ktap.Parser | None = None
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Read more bytes."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LONGEST:]
        for line in lines:
            for message in (part for text in console.lines(line) for part in console.messages(text)):
                if self._parser is None and message.startswith(("KTAP version", "TAP version")):
                    self._parser = ktap.Parser()
                for test in self._parser.feed(message) if self._parser else ():
                    self._told(_finished("kunit", test))


def _finished(suite: str, test: ktap.Test) -> str:
    reason = f" ({test.reason})" if test.reason else ""
    return one_line(f"{test.status:8} {suite}: {test.name}{reason}")


@contextlib.contextmanager
def watching(
    folder: Path, names: Sequence[str], told: Callable[[str], None] | None, *, kunit: bool = False
) -> Iterator[None]:
    """Report finished tests while the block runs.

    Args:
        folder: of the run.
        names: names of the programs, in the order of the plan.
        told: called with a line for each finished test, in a separate thread; None to report nothing.
        kunit: whether the console has results too.
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
    offsets = dict.fromkeys((path for path, _ in readers), 0)
    while True:
        # The last pass also reports what was written just before the end.
        last = over.wait(_POLL_SECONDS)
        for path, reader in readers:
            # The file does not exist before QEMU starts, and the terminal may be gone.
            with contextlib.suppress(OSError, ValueError), path.open("rb") as source:
                source.seek(offsets[path])
                while data := source.read(_CHUNK):
                    offsets[path] += len(data)
                    reader.add(data)
        if last:
            return
