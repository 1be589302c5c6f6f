"""Read the file of the agent's channel: frames from a guest that is not trusted.

Takes a file of any bytes: the kernel under test may write anything, stop in the middle, or write data twice. Gives all
data that can be read, and a sentence for each defect. Never raises because of the content of a file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from core import outside

MAGIC = b"KDFFRAME"
# The head of a frame, little endian: magic, type, workload, length of the payload.
_HEAD = struct.Struct("<8sIIQ")
_INFO = struct.Struct("<IIQ")
_END = struct.Struct("<i")
_WORD = struct.Struct("<Q")

NO_WORKLOAD = 0xFFFFFFFF
MAX_WORKLOADS = 4096
# The largest buffer of the device (16777216 words), and the largest text and output that the agent sends.
MAX_PAYLOAD = (1 << 24) * 8
MAX_TEXT = 1 << 20
MAX_OUTPUT = 1 << 24
MAX_PROBLEMS = 50
MAX_SENTENCE = 500
# The agent sends at most three buffers of a workload, and the sections of a few modules.
MAX_PARTS = 64
MAX_MODULES = 4096


class Type(IntEnum):
    """The type of a frame; `enum frame` of agent/agent.h has the same table."""

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
    """The device's answer to KCOV_DF_INFO about a recording."""

    version: int
    flags: int
    dropped: int


@dataclass(frozen=True)
class Part:
    """One buffer of a workload, as it was at one moment.

    Attributes:
        name: `main`, or the workload's name for it.
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
        """Return word 0, the number of record words that follow; 0 if the frame has no words."""
        return int(_WORD.unpack_from(self.words)[0]) if len(self.words) >= _WORD.size else 0


@dataclass(frozen=True)
class Ran:
    """The result of one workload.

    Attributes:
        end: 0 if it ran to its end, a positive errno of the agent if not, None if the guest died during it.
        output: the output of the user's program.
    """

    index: int
    name: str
    facts: Mapping[str, str]
    parts: tuple[Part, ...]
    end: int | None
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Channel:
    """Everything that a guest sent.

    Attributes:
        hello: the agent's facts about its kernel; empty if it never sent them.
        modules: (module, section) -> address.
        ran: workloads, in the order in which they began.
        token: None if it never came.
        trouble: the agent's own sentences about failures.
        problems: defects of the file, at most 50 sentences.
    """

    hello: Mapping[str, str]
    modules: Mapping[tuple[str, str], int]
    ran: tuple[Ran, ...]
    token: str | None
    trouble: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def device(self) -> bool | None:
        """Return whether the kernel has the recording device; None if the agent did not report it."""
        return {"yes": True, "no": False}.get(self.hello.get("device", ""))


@dataclass(frozen=True)
class Frame:
    """One frame: `kind` is None for a type that this version does not know."""

    kind: Type | None
    number: int
    workload: int
    payload: bytes


def read(path: Path) -> Channel:
    """Read a guest's channel file; a missing or empty file means that the guest sent nothing."""
    try:
        with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse(data)
    except (FileNotFoundError, ValueError):  # ValueError: mmap of an empty file
        return parse(b"")


def frames(data: bytes | mmap.mmap, problems: list[str]) -> Iterator[Frame]:
    """Yield the frames in some bytes; skip garbage between them and add a sentence about it to `problems`."""
    at, size = 0, len(data)
    while at < size:
        if data[at : at + len(MAGIC)] != MAGIC:
            next_magic = data.find(MAGIC, at + 1)
            end = next_magic if next_magic >= 0 else size
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
            # A damaged length hides the frames that follow, so look for frames after this head.
            at = start
            continue
        if kind is None:
            _note(problems, f"a frame at offset {at} has the unknown type {number}")
        yield Frame(kind, number, workload, bytes(data[start : start + length]))
        at = start + length


class Stream:
    """Frames of a channel that is still being written.

    Skips garbage without reporting it: the verdict reads the whole file again at the end, with `read`.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, data: bytes) -> Iterator[Frame]:
        """Add bytes and yield the frames that are complete now."""
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
    """Return the keys and values of `key=value` lines; skip other lines; the first of two equal keys counts."""
    values: dict[str, str] = {}
    for line in payload.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key, value)
    return values


@dataclass
class _Open:
    """A workload whose frames are still being read."""

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
    """Combines frames; has one method for each type."""

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
            self.token = outside.shortened(frame.payload.decode("utf-8", "replace"))
        elif frame.kind is Type.MODULES:
            self.take_modules(frame.payload)
        elif frame.kind is Type.TROUBLE:
            if len(self.trouble) < MAX_PROBLEMS:
                self.trouble.append(outside.shortened(frame.payload.decode("utf-8", "replace"), MAX_SENTENCE))
        elif frame.kind is Type.BEGIN:
            self.begin(frame)
        else:
            self.of_workload(frame)

    def take_modules(self, payload: bytes) -> None:
        for line in payload.decode("utf-8", "replace").splitlines():
            words = line.split(" ")
            address = outside.hexadecimal(words[2]) if len(words) == 3 else None
            if address is None or len(self.modules) >= MAX_MODULES:
                self.note(f"not a section of a module: {line[:80]!r}")
            else:
                self.modules[words[0], words[1]] = address

    def begin(self, frame: Frame) -> None:
        if frame.workload in self.works:
            self.note(f"workload {frame.workload} begins twice")
        elif frame.workload >= MAX_WORKLOADS:
            self.note(f"there is no workload {frame.workload}")
        else:
            name = outside.shortened(frame.payload.decode("utf-8", "replace"))
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
        capacity = outside.number(part.get("capacity", ""), high=MAX_PAYLOAD // _WORD.size) or 0
        if len(payload) % _WORD.size or not payload:
            self.note(f"the words of workload {work.index} are {len(payload)} bytes, no whole number of words")
            payload = payload[: len(payload) // _WORD.size * _WORD.size]
        complete = Part(outside.shortened(part.get("name", "")), capacity, payload)
        if len(payload) // _WORD.size > capacity or complete.counted >= max(capacity, 1):
            self.note(f"workload {work.index} counts {complete.counted} words in a buffer of {capacity}")
        elif complete.counted + 1 != len(payload) // _WORD.size:
            self.note(
                f"workload {work.index} counts {complete.counted} words and sends {len(payload) // _WORD.size - 1}"
            )
        if len(work.parts) >= MAX_PARTS:
            self.note(f"workload {work.index} sends more than {MAX_PARTS} parts")
            return
        if any(p.name == complete.name for p in work.parts):
            self.note(f"workload {work.index} sends its part {complete.name} twice")
            return
        work.parts.append(complete)

    def info(self, work: _Open, payload: bytes) -> None:
        if len(payload) != _INFO.size or not work.parts or work.parts[-1].info is not None:
            self.note(f"an info frame of workload {work.index} that belongs to no words or has {len(payload)} bytes")
            return
        last = work.parts[-1]
        work.parts[-1] = Part(last.name, last.capacity, last.words, Info(*_INFO.unpack(payload)))


def parse(data: bytes | mmap.mmap) -> Channel:
    """Read everything that can be read from some bytes; never raise."""
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
