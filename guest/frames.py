"""Find the place in the source where a splat happened.

Takes a splat and the kernel that printed it. Gives the first frames with file and line. Leaves out the functions that
report splats, since they are at the top of every trace.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session
from guest import console
from guest.console import Splat

FRAMES = 6
_SECONDS = 120.0

# lib/dump_stack.c, arch/*/kernel/dumpstack.c: a frame is "name+0xoffset/0xsize"; "? " marks an address that was only
# found on the stack and may be old. x86-64 prints the address of a trap as RIP, arm64 as pc.
_WHERE = re.compile(r"(?:RIP: [0-9a-f]{4}:|pc : )(?P<name>[\w.$]+)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)")
_FRAME = re.compile(
    r"^ +(?P<guess>\? )?(?P<name>[\w.$]+)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)(?: \[\w+.*\])?(?: .*)?$"
)
_TRACE = re.compile(r"^ *Call [Tt]race:")
# After such a line, a splat is about another task or an earlier time, not about the place where it happened.
_OTHERS = re.compile(r"^(?:Allocated|Freed|Last potentially related|the existing dependency|Showing all locks)")
_REPORTERS = re.compile(
    r"(?:__|___)?(?:dump_stack|show_stack|show_trace|print_report|print_address|print_\w+_bug|print_circular|print_usage|"
    r"kasan_|asan_|ubsan_|handle_overflow|handle_bug|report_bug|warn\b|warn_|panic|vpanic|nmi_panic|die\b|oops_|"
    r"exc_|asm_exc_|asm_sysvec|sysvec|do_error_trap|do_trap|check_memory_region|check_slab_allocation|lock_acquire|validate_chain|"
    r"check_prev|check_deadlock|sched_show_task|watchdog_|rcu_dump|rcu_check|print_cpu_stall|hung_task|"
    r"schedule_bug|might_resched|might_sleep|schedule_debug)\w*|warn_slowpath\w*|__warn|page_fault_oops|no_context"
)


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


@dataclass(frozen=True)
class _Raw:
    name: str
    offset: int
    size: int
    returns: bool  # the address is a return address, not the address of a fault


def raw(splat: Splat) -> list[_Raw]:
    """Return the frames of a splat's own trace without reporters, innermost first, at most FRAMES."""
    trap: list[_Raw] = []
    sure: list[_Raw] = []
    guessed: list[_Raw] = []
    inside = False
    for message in _own(splat):
        inside = inside or bool(_TRACE.match(message))
        if where := _WHERE.search(message):
            trap = trap or [_raw(where, returns=False)]
        elif inside and (frame := _FRAME.match(message)):
            (guessed if frame["guess"] else sure).append(_raw(frame, returns=True))
    # A kernel without an unwinder, such as tiny, prints only guesses.
    kept = [candidate for candidate in (*trap, *(sure or guessed)) if not _REPORTERS.fullmatch(candidate.name)]
    return _without_repeats(kept)[:FRAMES]


def _own(splat: Splat) -> Iterator[str]:
    """Yield the messages of a splat up to the first one about another task or an earlier time."""
    for line in splat.lines:
        for message in console.messages(line):
            if _OTHERS.match(message):
                return
            yield message


def _raw(match: re.Match[str], *, returns: bool) -> _Raw:
    return _Raw(match["name"], int(match["offset"], 16), int(match["size"], 16), returns)


def _without_repeats(frames: Sequence[_Raw]) -> list[_Raw]:
    """Remove repeated frames: the RIP of a trap comes again as the first frame of the trace."""
    kept: list[_Raw] = []
    for frame in frames:
        if not any((frame.name, frame.offset) == (other.name, other.offset) for other in kept):
            kept.append(frame)
    return kept


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


def locate(splat: Splat, known: Mapping[str, list[tuple[int, int]]]) -> Iterator[tuple[_Raw, int | None]]:
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
