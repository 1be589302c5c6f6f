"""Find the place in the source where a splat happened.

Takes a splat and the kernel that printed it. Gives the first frames with file and line. Leaves out the functions that
report splats, since they are at the top of every trace (guest.stacks).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session
from guest import console, stacks
from guest.splats import Splat
from guest.stacks import Raw

FRAMES = 6
_SECONDS = 120.0


@dataclass(frozen=True)
class Frame:
    """One frame of a splat.

    Attributes:
        function: as the kernel prints it; `place` may be in a function that is inlined into it.
        offset: bytes from the function's start.
        place: `fs/open.c:123`, or empty if the debug information does not have it.
    """

    function: str
    offset: int
    place: str = ""

    def __str__(self) -> str:
        return f"{self.function}+{self.offset:#x}" + (f" {self.place}" if self.place else "")


def raw(splat: Splat) -> list[Raw]:
    """Return the frames of a splat's own stack without functions that report, innermost first, at most FRAMES."""
    messages = [message for line in splat.lines for message in console.messages(line)]
    frames = stacks.own([splat.text, *messages])
    return (stacks.guilty(frames) or frames)[:FRAMES]


def addresses(system_map: Iterable[str]) -> Mapping[str, list[tuple[int, int]]]:
    """Return name -> (address, size) of each symbol of that name; the size is the distance to the next symbol.

    Args:
        system_map: lines of System.map, in the order of their addresses.
    """
    entries = [(int(words[0], 16), words[2]) for line in system_map if len(words := line.split()) == 3]
    starts = sorted({address for address, _ in entries})
    following = dict(itertools.pairwise(starts))
    symbols: dict[str, list[tuple[int, int]]] = {}
    for address, name in entries:
        symbols.setdefault(name, []).append((address, following.get(address, address) - address))
    return symbols


def locate(splat: Splat, known: Mapping[str, list[tuple[int, int]]]) -> Iterator[tuple[Raw, int | None]]:
    """Yield the frames of a splat with their link-time addresses; None if name and size do not identify one symbol."""
    for frame in raw(splat):
        matches = known.get(frame.name, [])
        if len(matches) > 1:
            # The size in kallsyms may be rounded up to the alignment, like the distance in System.map.
            matches = [(address, size) for address, size in matches if size == frame.size]
        yield frame, matches[0][0] + frame.offset - frame.returns if len(matches) == 1 else None


def resolve(splats: Sequence[Splat], kernel_dir: Path, session: Session, symbolizer: str) -> list[tuple[Frame, ...]]:
    """Return the first frames of each splat, with file and line if the debug information has them.

    Args:
        kernel_dir: contains `vmlinux` and `System.map`; the session sees it.
        symbolizer: llvm-symbolizer, by its inside path.
    """
    if not splats:
        return []
    with (kernel_dir / "System.map").open() as source:
        known = addresses(source)
    located = [list(locate(splat, known)) for splat in splats]
    wanted = sorted({address for frames in located for _, address in frames if address is not None})
    places = _ask(wanted, kernel_dir, session, symbolizer) if wanted else {}
    return [
        tuple(Frame(frame.name, frame.offset, places.get(address, "") if address else "") for frame, address in frames)
        for frames in located
    ]


def _ask(wanted: Sequence[int], kernel_dir: Path, session: Session, symbolizer: str) -> dict[int, str]:
    lines: list[str] = []
    command = [symbolizer, f"--obj={session.path(kernel_dir / 'vmlinux')}", "--output-style=JSON", "--inlines"]
    session.run([*command, *(f"{address:#x}" for address in wanted)], timeout=_SECONDS, on_line=lines.append)
    return read("\n".join(lines))


def read(output: str) -> dict[int, str]:
    """Read llvm-symbolizer's JSON and return address -> innermost place; return {} if it is not valid."""
    try:
        answers = json.loads(output)
        return {
            int(answer["Address"], 16): f"{_file(innermost['FileName'])}:{innermost['Line']}"
            for answer in answers
            if (symbols := answer.get("Symbol")) and (innermost := symbols[0]).get("FileName")
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}


def _file(name: str) -> str:
    """Return a source file relative to the root of its tree.

    The root is /kdf/tree in a container, and the directory `linux` of a product on the host.
    """
    if name.startswith("/") and not name.startswith("/kdf/tree/"):
        return name.partition("/linux/")[2] or name
    return name.removeprefix("/kdf/tree/").removeprefix("./")
