"""The channel's file: frames from a guest that nobody trusts.

The kernel under test may write anything into it, stop in the middle, or write things twice. What comes in is a file of
any bytes; what goes out is what can be read of it as plain data, and a sentence for each thing that is wrong with it.
This module never raises for the content of a file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

MAGIC = b"KDFFRAME"
# Little endian: magic, type, workload, length of the payload.
_HEAD = struct.Struct("<8sIIQ")
_INFO = struct.Struct("<IIQ")
_END = struct.Struct("<i")
_WORD = struct.Struct("<Q")

NO_WORKLOAD = 0xFFFFFFFF
MAX_WORKLOADS = 4096
# The largest buffer of the device (16777216 words), and what the agent sends of text at most.
MAX_PAYLOAD = (1 << 24) * 8
MAX_TEXT = 1 << 20
MAX_OUTPUT = 1 << 24
MAX_PROBLEMS = 50


class Type(IntEnum):
    """What a frame is; `enum frame` of agent/agent.h has the same table."""

    HELLO = 1
    BEGIN = 2
    FACTS = 3
    WORDS = 4
    INFO = 5
    END = 6
    TOKEN = 7
    MODULES = 8
    PART = 9
    TROUBLE = 10
    OUTPUT = 11


_LIMITS = {Type.WORDS: MAX_PAYLOAD, Type.INFO: _INFO.size, Type.END: _END.size}


@dataclass(frozen=True)
class Info:
    """What the device says of a recording: KCOV_DF_INFO."""

    version: int
    flags: int
    dropped: int


@dataclass(frozen=True)
class Part:
    """One buffer of a workload, as it stood at one moment.

    Attributes:
        name: `main`, or what the workload calls it.
        capacity: words of the buffer, word 0 included.
        words: raw little-endian u64, word 0 included, cut after the last counted word.
        info: None if the device has no KCOV_DF_INFO.
    """

    name: str
    capacity: int
    words: bytes = field(repr=False)
    info: Info | None = None

    @property
    def counted(self) -> int:
        """Word 0: how many record words follow; 0 if the frame held no word at all."""
        return int(_WORD.unpack_from(self.words)[0]) if len(self.words) >= _WORD.size else 0


@dataclass(frozen=True)
class Ran:
    """What came of one workload.

    Attributes:
        end: 0 if it ran to its end, a positive errno of the agent's if not, None if the guest died on it.
        output: what the user's program printed.
    """

    index: int
    name: str
    facts: Mapping[str, str]
    parts: tuple[Part, ...]
    end: int | None
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Channel:
    """All that a guest said.

    Attributes:
        hello: what the agent knows of its kernel; empty if it never spoke.
        modules: (module, section) -> address.
        ran: workloads in the order in which they began.
        token: None if it never came.
        trouble: the agent's own sentences.
        problems: what is wrong with the file, at most 50 sentences.
    """

    hello: Mapping[str, str]
    modules: Mapping[tuple[str, str], int]
    ran: tuple[Ran, ...]
    token: str | None
    trouble: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def device(self) -> bool | None:
        """Whether the kernel has the recording device; None if the agent never said."""
        return {"yes": True, "no": False}.get(self.hello.get("device", ""))


@dataclass(frozen=True)
class Frame:
    """One frame: `kind` is None for a type that this version does not know."""

    kind: Type | None
    number: int
    workload: int
    payload: bytes


def read(path: Path) -> Channel:
    """What a guest left in its channel's file; a missing or empty file is a guest that said nothing."""
    try:
        with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse(data)
    except (FileNotFoundError, ValueError):  # ValueError: mmap of an empty file
        return parse(b"")


def frames(data: bytes | mmap.mmap, problems: list[str]) -> Iterator[Frame]:
    """The frames of some bytes; garbage between them is skipped and named."""
    at, size = 0, len(data)
    while at < size:
        if data[at : at + len(MAGIC)] != MAGIC:
            found = data.find(MAGIC, at + 1)
            end = found if found >= 0 else size
            _note(problems, f"{end - at} bytes at offset {at} are no frame")
            at = end
            continue
        if at + _HEAD.size > size:
            _note(problems, f"the file ends within the head of a frame at offset {at}")
            return
        _magic, number, workload, length = _HEAD.unpack(data[at : at + _HEAD.size])
        kind = Type(number) if number in Type._value2member_map_ else None
        limit = _LIMITS.get(kind, MAX_TEXT) if kind else MAX_PAYLOAD
        start = at + _HEAD.size
        if length > limit:
            _note(problems, f"a frame at offset {at} claims {length} bytes, more than its type {number} can have")
            at = start
            continue
        if start + length > size:
            _note(problems, f"the file ends within a frame at offset {at}: {size - start} of {length} bytes")
            # A damaged length hides what follows, so look for frames behind this head.
            at = start
            continue
        if kind is None:
            _note(problems, f"a frame at offset {at} has the unknown type {number}")
        yield Frame(kind, number, workload, bytes(data[start : start + length]))
        at = start + length


class Stream:
    """Frames of a channel that is still being written.

    Garbage is skipped without a word: who judges reads the whole file again, with `read`.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes."""
        self._held += data
        while True:
            at = self._held.find(MAGIC)
            # The last bytes may be the beginning of a frame's mark.
            del self._held[: at if at >= 0 else max(0, len(self._held) - len(MAGIC) + 1)]
            if at < 0 or len(self._held) < _HEAD.size:
                return
            _magic, number, workload, length = _HEAD.unpack_from(self._held)
            kind = Type(number) if number in Type._value2member_map_ else None
            if length > (_LIMITS.get(kind, MAX_TEXT) if kind else MAX_PAYLOAD):
                del self._held[: len(MAGIC)]
                continue
            if len(self._held) < _HEAD.size + length:
                return
            yield Frame(kind, number, workload, bytes(self._held[_HEAD.size : _HEAD.size + length]))
            del self._held[: _HEAD.size + length]


def _note(problems: list[str], sentence: str) -> None:
    if len(problems) < MAX_PROBLEMS:
        problems.append(sentence)


def key_values(payload: bytes) -> dict[str, str]:
    """`key=value` lines; lines without `=` are left out, the first of two equal keys counts."""
    found: dict[str, str] = {}
    for line in payload.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, value)
    return found


@dataclass
class _Open:
    """A workload while its frames come in."""

    index: int
    name: str
    facts: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    part: dict[str, str] | None = None
    end: int | None = None
    output: bytearray = field(default_factory=bytearray)

    def closed(self) -> Ran:
        return Ran(self.index, self.name, self.facts, tuple(self.parts), self.end, bytes(self.output))


class _Reader:
    """Puts frames together; one method for each type."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.hello: dict[str, str] = {}
        self.modules: dict[tuple[str, str], int] = {}
        self.works: dict[int, _Open] = {}
        self.token: str | None = None
        self.trouble: list[str] = []
        self.seen: set[Type] = set()

    def note(self, sentence: str) -> None:
        _note(self.problems, sentence)

    def take(self, frame: Frame) -> None:
        if frame.kind is None:
            return
        if self.token is not None and frame.kind is not Type.TROUBLE:
            self.note(f"a {frame.kind.name.lower()} frame comes after the token")
        if frame.kind in (Type.HELLO, Type.TOKEN, Type.MODULES):
            if frame.kind in self.seen:
                self.note(f"a second {frame.kind.name.lower()} frame")
                return
            self.seen.add(frame.kind)
        if frame.kind is Type.HELLO:
            self.hello = key_values(frame.payload)
        elif frame.kind is Type.TOKEN:
            self.token = frame.payload.decode("utf-8", "replace")
        elif frame.kind is Type.MODULES:
            self.take_modules(frame.payload)
        elif frame.kind is Type.TROUBLE:
            if len(self.trouble) < MAX_PROBLEMS:
                self.trouble.append(frame.payload.decode("utf-8", "replace"))
        elif frame.kind is Type.BEGIN:
            self.begin(frame)
        else:
            self.of_workload(frame)

    def take_modules(self, payload: bytes) -> None:
        for line in payload.decode("utf-8", "replace").splitlines():
            words = line.split(" ")
            try:
                module, section, address = words
                self.modules[module, section] = int(address, 16)
            except ValueError:
                self.note(f"not a section of a module: {line[:80]!r}")

    def begin(self, frame: Frame) -> None:
        if frame.workload in self.works:
            self.note(f"workload {frame.workload} begins twice")
        elif frame.workload >= MAX_WORKLOADS:
            self.note(f"there is no workload {frame.workload}")
        else:
            name = frame.payload.decode("utf-8", "replace")
            self.works[frame.workload] = _Open(frame.workload, name)

    def of_workload(self, frame: Frame) -> None:
        work = self.works.get(frame.workload)
        if work is None or frame.kind is None:
            self.note(f"a frame of type {frame.number} for workload {frame.workload}, which never began")
            return
        if work.end is not None:
            self.note(f"a {frame.kind.name.lower()} frame comes after the end of workload {work.index}")
            return
        if frame.kind is Type.FACTS:
            for key, value in key_values(frame.payload).items():
                work.facts.setdefault(key, value)
        elif frame.kind is Type.OUTPUT:
            work.output += frame.payload[: MAX_OUTPUT - len(work.output)]
        elif frame.kind is Type.PART:
            work.part = key_values(frame.payload)
        elif frame.kind is Type.WORDS:
            self.words(work, frame.payload)
        elif frame.kind is Type.INFO:
            self.info(work, frame.payload)
        elif frame.kind is Type.END:
            if len(frame.payload) != _END.size:
                self.note(f"the end frame of workload {work.index} has {len(frame.payload)} bytes")
                return
            work.end = _END.unpack(frame.payload)[0]

    def words(self, work: _Open, payload: bytes) -> None:
        part, work.part = work.part, None
        if part is None:
            self.note(f"words of workload {work.index} without a part before them")
            return
        capacity = int(part["capacity"]) if part.get("capacity", "").isdecimal() else 0
        if len(payload) % _WORD.size or not payload:
            self.note(f"the words of workload {work.index} are {len(payload)} bytes, no whole number of words")
            payload = payload[: len(payload) // _WORD.size * _WORD.size]
        made = Part(part.get("name", ""), capacity, payload)
        if len(payload) // _WORD.size > capacity or made.counted >= max(capacity, 1):
            self.note(f"workload {work.index} counts {made.counted} words in a buffer of {capacity}")
        elif made.counted + 1 != len(payload) // _WORD.size:
            self.note(f"workload {work.index} counts {made.counted} words and sends {len(payload) // _WORD.size - 1}")
        if any(p.name == made.name for p in work.parts):
            self.note(f"workload {work.index} sends its part {made.name} twice")
            return
        work.parts.append(made)

    def info(self, work: _Open, payload: bytes) -> None:
        if len(payload) != _INFO.size or not work.parts or work.parts[-1].info is not None:
            self.note(f"an info frame of workload {work.index} that belongs to no words or has {len(payload)} bytes")
            return
        last = work.parts[-1]
        work.parts[-1] = Part(last.name, last.capacity, last.words, Info(*_INFO.unpack(payload)))


def parse(data: bytes | mmap.mmap) -> Channel:
    """What can be read of some bytes; never raises."""
    problems: list[str] = []
    reader = _Reader(problems)
    for frame in frames(data, problems):
        reader.take(frame)
    return Channel(
        hello=reader.hello,
        modules=reader.modules,
        ran=tuple(work.closed() for work in reader.works.values()),
        token=reader.token,
        trouble=tuple(reader.trouble),
        problems=tuple(problems),
    )
