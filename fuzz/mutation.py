"""Make inputs that nobody wrote, from examples.

Takes examples and words of a format, and a seed. Gives one input for each number: the same for the same seed, so that a
finding can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# Bytes of a usual input, and of one in a hundred: those look for what grows with the square of the size.
_USUAL, _LARGE = 64 << 10, 2 << 20
_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"255",
    b"65536",
    b"4294967295",
    b"18446744073709551616",
    b"9" * 5000,
    b"1e999",
    b"0x",
    b"nan",
)
_BYTES = (
    b"\0",
    b"\xff",
    b"\x1b[",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b'"',
    b"'",
    b"\\",
    b"/",
    b"../",
    b"%s",
    b"\xe2\x80\xae",
    b"\xc2\x85",
)

_Change = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def _flip(draw: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _put(draw: random.Random, data: bytearray, words: Sequence[bytes]) -> None:
    word = draw.choice((*words, *_NUMBERS, *_BYTES))
    at = draw.randint(0, len(data))
    data[at : at + draw.choice((0, 0, len(word)))] = word


def _cut(draw: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    if data:
        at = draw.randrange(len(data))
        del data[at : at + draw.choice((1, 4, 64, 1024, len(data)))]


def _repeat(draw: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    if data:
        at = draw.randrange(len(data))
        part = bytes(data[at : at + draw.choice((1, 2, 8, 80, 512))])
        data[at:at] = part * draw.choice((1, 3, 30, 300))


def _lines(draw: random.Random, data: bytearray, _words: Sequence[bytes]) -> None:
    lines = bytes(data).split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    data[:] = b"\n".join(lines)


_CHANGES: tuple[_Change, ...] = (_flip, _flip, _put, _put, _put, _cut, _repeat, _lines)


def make(examples: Sequence[bytes], words: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return the input of a number.

    Args:
        examples: at least one.
    """
    draw = random.Random(f"{seed}-{number}")  # noqa: S311  (to repeat, not to hide)
    data = bytearray(draw.choice(examples))
    if draw.random() < 0.2:
        other = draw.choice(examples)
        data[draw.randint(0, len(data)) :] = other[draw.randint(0, len(other)) :]
    for _ in range(draw.choice((1, 1, 2, 4, 8, 16))):
        draw.choice(_CHANGES)(draw, data, words)
    if draw.random() < 0.01 and data:
        part = bytes(data[: draw.choice((1, 3, 40, 400))])
        data[draw.randint(0, len(data)) :] = part * (_LARGE // len(part))
        return bytes(data[:_LARGE])
    return bytes(data[:_USUAL])
