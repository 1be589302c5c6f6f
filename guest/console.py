"""Read the text of a console, line by line.

Takes any bytes: several CPUs write at once, the serial port may stop in the middle, and a guest may write anything.
Gives lines of plain text of a bounded length, read in pieces, and their messages without the prefixes of printk, dmesg
and journals. Never decides what a message means (guest.splats does).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from core.errors import UnderTest

# The number of last lines that a verdict shows.
TAIL_LINES = 15
# Characters of a line that are read: printk's lines have at most 1024 (PRINTKRB_RECORD_MAX).
LINE = 2048
_PIECE = 1 << 20

# Terminal escapes: CSI, OSC up to its end, and the two-character ones (ECMA-48). The limits keep them linear.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)?|[ -/]{0,8}[0-~])")
_CONTROLS = bytes(set(range(32)) - {9, 10, 13}) + b"\x7f"
_ENDS_OF_LINES = bytes.maketrans(b"\r", b"\n")
_BREAK = re.compile(rb"\r+\n")

# What stands before printk's own prefix, each part at most once: the time of a collector, a journal's time and host, a
# raw level, dmesg -x, dmesg -T, and an extended netconsole record (Documentation/networking/netconsole.rst).
_LEAD = re.compile(
    r"(?:\[?\d{4}-\d\d-\d\d[T ][\d:.,]{5,20}(?:Z|[+-]\d\d:?\d\d)?\]?\s{1,2})?"
    r"(?:[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})? )?"
    r"(?:\S{1,64} kernel(?:\[\d{1,9}\])?: ?)?"
    r"(?:<\d{1,3}>)?"
    r"(?:[a-z]{3,8} {0,5}:[a-z]{3,6} {0,3}: ?)?"
    r"(?:\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?)?"
    r"(?:\d{1,3},\d{1,20},\d{1,20},[-c+](?:,[^;]{0,64})?;)?"
)
# printk's prefix: [    1.234567] and, with CONFIG_PRINTK_CALLER, [    T1]; <3> before it on some consoles.
_STAMP = re.compile(r"(?:<\d{1,3}>)?\[ {0,12}\d{1,10}\.\d{1,9}\](?: ?\[ {0,10}[TC]\d{1,10}[^\]\[]{0,16}\])? ?")
_BEFORE_STAMP = re.compile(r"(?=\[ {0,12}\d{1,10}\.\d{1,9}\])")
# The boot time in the RFC of June 2026 on LKML is the time stamp of this line, which free_reserved_area()
# (mm/memblock.c) prints. Its words come from the free_initmem() of x86 or of arm64.
_INITMEM = re.compile(r"^\[ *(\d{1,10})\.(\d{6})\] Freeing unused kernel (?:image \(initmem\) )?memory: ")
# Lines that name the test that runs: the agent's (agent/agent.c, mark) and KUnit's (lib/kunit/test.c).
_BEGINS = re.compile(r"kdf-agent: begin (.+)|^ +# Subtest: (.+)")
_ENDS = re.compile(r"kdf-agent: end |^(?:not )?ok \d+ ")


def pieces(source: Path | bytes) -> Iterator[str]:
    """Yield the text of a console in pieces of whole lines, each about 1 MB.

    A carriage return begins a new line. Escapes and controls are left out. Memory does not grow with the file.

    Args:
        source: the file, which may be missing, or its content.
    """
    rest = b""
    for raw in _raw(source):
        piece = rest + raw
        cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
        if not cut and len(piece) < 2 * _PIECE:
            rest = piece
            continue
        # A line without an end: what is over its limit is dropped with the piece.
        whole, rest = (piece[:cut], piece[cut:]) if cut else (piece, b"")
        yield _plain(whole)
    if rest:
        yield _plain(rest)


def _raw(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), _PIECE):
            yield source[start : start + _PIECE]
        return
    try:
        stream = source.open("rb")
    except FileNotFoundError:
        return
    with stream:
        while piece := stream.read(_PIECE):
            yield piece


def _plain(raw: bytes) -> str:
    text = raw.translate(None, b"\0")
    if b"\x1b" in text:
        text = _ESCAPES.sub(b"", text)
    if b"\r" in text:
        text = _BREAK.sub(b"\n", text) if b"\r\n" in text else text
        text = text.translate(_ENDS_OF_LINES)
    return text.translate(None, _CONTROLS).decode("utf-8", "replace")


def lines(source: Path | bytes) -> Iterator[str]:
    """Yield the lines of a console as plain text, each at most `LINE` characters long."""
    for piece in pieces(source):
        yield from split(piece)


def split(piece: str) -> Iterator[str]:
    """Yield the lines of a piece of a console; one that is longer than `LINE` comes in parts."""
    texts = piece.split("\n")
    if not texts[-1]:
        texts.pop()
    for text in texts:
        if len(text) <= LINE:
            yield text.rstrip()
            continue
        # Line feeds were lost, or there were none: nothing may hide behind the limit.
        for message in _BEFORE_STAMP.split(text):
            yield from (message[start : start + LINE].rstrip() for start in range(0, len(message), LINE))


def messages(line: str) -> list[str]:
    """Return the messages of a line without prefixes; there may be several if writers interleave."""
    lead = _LEAD.match(line)
    return [message for message in _STAMP.split(line[lead.end() if lead else 0 : LINE]) if message]


def tail(source: Path | bytes, count: int = TAIL_LINES) -> tuple[str, ...]:
    """Return the last lines that are not empty."""
    return tuple(deque((line for line in lines(source) if line.strip()), maxlen=count))


def running(message: str, before: str = "") -> str:
    """Return the test that runs after a message; empty if none does.

    Args:
        before: the test that ran before the message.
    """
    if begins := _BEGINS.search(message):
        return (begins[1] or begins[2]).strip()
    return "" if _ENDS.search(message) else before


def initmem_us(path: Path) -> int:
    """Return the time stamp of the initmem line of a console, in microseconds.

    Raises:
        UnderTest: the console has no such line.
    """
    for line in lines(path):
        if match := _INITMEM.match(line):
            return int(match[1]) * 1_000_000 + int(match[2])
    raise UnderTest(
        "the console has no line about freed init memory with a time stamp",
        "build the kernel with PRINTK, and boot it with printk.time=1",
        path,
    )
