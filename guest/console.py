"""The console's text: what a kernel said, and the splats in it.

What comes in is a file of any bytes, written by several CPUs and by a serial port that may stop in the middle; what
goes out is lines of plain text and the splats found in them. Nothing here decides what a splat means for a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import UnderTest

# The last lines that a verdict shows, and the lines kept of one splat.
TAIL_LINES = 15
SPLAT_LINES = 40
MAX_SPLATS = 50
# A kernel that prints for ever: what is scanned of the beginning and of the end of its console, bytes.
_SCANNED = 16 << 20

# Terminal escapes: CSI, OSC up to its end, and the two-character ones (ECMA-48).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# printk's prefix: [    1.234567] and, with CONFIG_PRINTK_CALLER, [    T1]; <3> before it on some consoles.
_STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
# The RFC's figure: the kernel's own time stamp of this line, from free_reserved_area() (mm/memblock.c). The words are
# those of the architecture's free_initmem(): x86's, or arm64's.
_INITMEM = re.compile(r"^\[ *(\d+)\.(\d{6})\] Freeing unused kernel (?:image \(initmem\) )?memory: ")


class Kind(StrEnum):
    """What went wrong in the kernel."""

    PANIC = "panic"
    KASAN = "kasan"
    UBSAN = "ubsan"
    LOCKUP = "lockup"
    HUNG_TASK = "hung task"
    RCU_STALL = "rcu stall"
    LOCKDEP = "lockdep"
    OOPS = "oops"
    OOM = "out of memory"
    BUG = "bug"
    WARNING = "warning"
    TRACE = "trace"


# In the order in which they are tried. Each pattern is searched in the whole line, since another CPU's or the
# firmware's text may stand before it; so none may match what a healthy kernel prints. The texts are those of
# Linux 6.12 to 7.2.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    (Kind.PANIC, r"Kernel panic - not syncing: ?.*"),
    (Kind.KASAN, r"BUG: K(?:A|C|M)SAN: .*"),
    (Kind.KASAN, r"BUG: KFENCE: .*"),
    (Kind.UBSAN, r"UBSAN: (?!.*(?:enabled|disabled)).*"),
    (Kind.LOCKUP, r"BUG: (?:soft lockup|workqueue lockup).*"),
    (Kind.LOCKUP, r"Watchdog detected hard LOCKUP.*|[Hh]ard LOCKUP on cpu.*"),
    (Kind.HUNG_TASK, r"INFO: task .* blocked for more than \d+ seconds.*"),
    (Kind.HUNG_TASK, r"INFO: task .* blocked in I/O wait for more than \d+ seconds.*"),
    (Kind.RCU_STALL, r"INFO: rcu\S* (?:self-)?detected (?:expedited )?stalls?.*"),
    (Kind.RCU_STALL, r"rcu: .*kthread (?:starved|timer wakeup didn't happen).*"),
    (
        Kind.LOCKDEP,
        r"WARNING: (?:possible (?:circular|recursive|irq lock)|inconsistent lock|bad unlock balance|suspicious RCU"
        r"|held lock freed|lock held when|Nested lock|\S+-safe -> \S+-unsafe|\S+-READ-safe|bad contention).*",
    ),
    (Kind.LOCKDEP, r"INFO: trying to register non-static key.*"),
    (Kind.LOCKDEP, r"BUG: (?:MAX_\w+ too low|.*held lock).*"),
    (Kind.BUG, r"kernel BUG at .*"),
    (
        Kind.OOPS,
        r"BUG: (?:unable to handle|kernel NULL pointer|TASK stack guard|IRQ stack guard|stack guard page).*",
    ),
    (Kind.OOPS, r"Unable to handle kernel .*"),
    (
        Kind.OOPS,
        r"(?:general protection fault|stack segment|divide error|invalid opcode|traps: PANIC: double fault"
        r"|int3|alignment check|bounds|coprocessor segment overrun|invalid TSS|segment not present)"
        r"(?:, .*)?: [0-9a-f]{4} \[#\d+\].*",
    ),
    (Kind.OOPS, r"PANIC: (?:double fault|early exception).*"),
    (Kind.OOPS, r"Oops: .*|Oops - .*|Internal error: .*"),
    (Kind.OOPS, r"Insufficient stack space to handle exception.*|kernel stack overflow.*"),
    (Kind.OOM, r"Out of memory: Killed process .*|\S+ invoked oom-killer: .*|Out of memory and no killable.*"),
    (Kind.BUG, r"\bBUG: .*"),
    (Kind.BUG, r"Bad page (?:state|map|cache).*"),
    (Kind.WARNING, r"unchecked MSR access error: .*"),
)
_SEARCHES = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
# Healthy kernels say "Spectre V2 : WARNING: ..."; a splat begins its message with the word.
_WARNING = re.compile(r"^WARNING: .*")
_TRACE = re.compile(r"^Call [Tt]race:")
# The line by which an oops is entered, and how far below its title it comes.
_ENTERED = re.compile(r"(?:Oops|Internal error|invalid opcode)\b")
_ENTERED_LINES = 12
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
# What says which test runs: the agent (agent/agent.c, mark) and KUnit (lib/kunit/test.c).
_BEGINS = re.compile(r"kdf-agent: begin (.+)|^ +# Subtest: (.+)")
_ENDS = re.compile(r"kdf-agent: end |^(?:not )?ok \d+ ")
# A trace that somebody asked for is no splat of its own.
_ASKED = re.compile(r"sysrq: Show |sysrq: Changing|SysRq : Show ")


@dataclass(frozen=True)
class Splat:
    """One thing that went wrong.

    Attributes:
        title: the line's own words, without the prefix.
        line: its number on the console, from 1.
        lines: the lines from the title on, at most 40.
        during: the test that ran then, as the agent or KUnit names it; empty if none did.
    """

    kind: Kind
    title: str
    line: int
    lines: tuple[str, ...]
    during: str = ""


def clean(data: bytes) -> list[str]:
    """Lines of plain text: no escapes, no controls, lines that a carriage return overwrote kept apart."""
    if len(data) > 2 * _SCANNED:
        data = data[:_SCANNED] + b"\n(...)\n" + data[-_SCANNED:]
    text = data.decode("utf-8", "replace").replace("\0", "")
    text = _ESCAPES.sub("", text)
    text = re.sub(r"\r+\n", "\n", text).replace("\r", "\n")
    return [_CONTROLS.sub("", line).rstrip() for line in text.split("\n")]


def messages(line: str) -> list[str]:
    """What a line says, without printk's prefixes: several messages if writers came into each other's way."""
    return [said for said in _STAMP.split(line) if said]


def tail(lines: Iterable[str], count: int = TAIL_LINES) -> tuple[str, ...]:
    """The last lines that are not empty."""
    return tuple([line for line in lines if line.strip()][-count:])


def started(lines: Iterable[str]) -> bool:
    """Whether a kernel said its first line: its banner (init/version.c)."""
    return any("Linux version " in line for line in lines)


def reached_init(lines: Iterable[str]) -> bool:
    """Whether the kernel handed over to init (init/main.c, run_init_process)."""
    return any(re.search(r"Run \S+ as init process", line) for line in lines)


def restarted(lines: Iterable[str]) -> bool:
    """Whether the kernel itself said that it restarts (kernel/reboot.c)."""
    return any("reboot: " in line for line in lines)


def running(message: str, before: str = "") -> str:
    """The test that runs after a message.

    Args:
        before: the one that ran before it.
    """
    if begins := _BEGINS.search(message):
        return (begins[1] or begins[2]).strip()
    return "" if _ENDS.search(message) else before


def _match(message: str) -> tuple[Kind, str] | None:
    if _WARNING.match(message):
        lockdep = (kind for kind, pattern in _SEARCHES if kind is Kind.LOCKDEP and pattern.search(message))
        return next(lockdep, Kind.WARNING), message
    for kind, pattern in _SEARCHES:
        if found := pattern.search(message):
            return kind, found.group().strip()
    return None


def splats(lines: list[str]) -> tuple[Splat, ...]:
    """The splats on a console, in order, at most 50; the lines that belong to one are not searched for traces."""
    found: list[Splat] = []
    inside_until = -1
    test = ""
    for number, line in enumerate(lines):
        if _ASKED.search(line):
            inside_until = number + SPLAT_LINES
        for message in messages(line):
            test = running(message, test)
            matched = _match(message)
            if matched is None and _TRACE.match(message) and number > inside_until:
                matched = (Kind.TRACE, _before(lines, number))
            if matched is None or (found and _same_event(found[-1], matched[0], message, number)):
                continue
            kept = _extent(lines, number)
            inside_until = max(inside_until, number + len(kept))
            found.append(Splat(matched[0], matched[1], number + 1, kept, test))
            if len(found) == MAX_SPLATS:
                return tuple(found)
    return tuple(found)


def _same_event(last: Splat, kind: Kind, message: str, number: int) -> bool:
    """Whether a line is how the kernel goes on about the splat a few lines above: "BUG: ..." and then "Oops: ..."."""
    return (
        kind is Kind.OOPS
        and last.kind in (Kind.OOPS, Kind.BUG)
        and _ENTERED.match(message) is not None
        and number + 1 - last.line <= _ENTERED_LINES
    )


def _before(lines: list[str], number: int) -> str:
    """A title for a trace that has none: the nearest line above it that says something."""
    for line in reversed(lines[max(0, number - 6) : number]):
        for said in reversed(messages(line)):
            if not said.startswith(("CPU:", "Hardware name:", "RIP:", "RSP:", "Tainted:")):
                return said
    return "Call trace without a title"


def _extent(lines: list[str], number: int) -> tuple[str, ...]:
    kept: list[str] = []
    for line in lines[number : number + SPLAT_LINES]:
        kept.append(line)
        if _END.search(line):
            break
    return tuple(kept)


def initmem_us(path: Path) -> int:
    """Microseconds at the initmem line of a console.

    Raises:
        UnderTest: it has no such line.
    """
    for line in clean(path.read_bytes()):
        if found := _INITMEM.match(line):
            return int(found[1]) * 1_000_000 + int(found[2])
    raise UnderTest("the console has no line of the kernel's free init memory", "does it log with time stamps?", path)
