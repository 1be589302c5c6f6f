"""Read the text of a console, and find the splats in it.

Takes a file of any bytes: several CPUs write to it at once, and the serial port may stop in the middle. Gives lines of
plain text, and the splats in them. Never decides what a splat means for a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import UnderTest

# The number of last lines that a verdict shows, and of lines kept of one splat.
TAIL_LINES = 15
SPLAT_LINES = 40
MAX_SPLATS = 50
# Bytes that are scanned at the beginning and at the end of a console, since a kernel may print for ever.
_SCANNED = 16 << 20

# Terminal escapes: CSI, OSC up to its end, and the two-character ones (ECMA-48).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# printk's prefix: [    1.234567] and, with CONFIG_PRINTK_CALLER, [    T1]; <3> before it on some consoles.
_STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
# The boot time in the RFC of June 2026 on LKML is the time stamp of this line, which free_reserved_area()
# (mm/memblock.c) prints. Its words come from the free_initmem() of x86 or of arm64.
_INITMEM = re.compile(r"^\[ *(\d+)\.(\d{6})\] Freeing unused kernel (?:image \(initmem\) )?memory: ")


class Kind(StrEnum):
    """The kinds of splats."""

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


# Patterns, in the order in which they are tried. Each one is searched in the whole line, since text of another CPU or
# of the firmware may come before it. So a pattern must not match anything that a healthy kernel prints. The texts are
# those of Linux 6.12 to 7.2.
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
# Healthy kernels print "Spectre V2 : WARNING: ..."; only in a splat does the message begin with the word.
_WARNING = re.compile(r"^WARNING: .*")
_TRACE = re.compile(r"^Call [Tt]race:")
# The line that the kernel prints when it enters an oops, and how many lines below the title it may be.
_ENTERED = re.compile(r"(?:Oops|Internal error|invalid opcode)\b")
_ENTERED_LINES = 12
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
# Lines that name the test that runs: the agent's (agent/agent.c, mark) and KUnit's (lib/kunit/test.c).
_BEGINS = re.compile(r"kdf-agent: begin (.+)|^ +# Subtest: (.+)")
_ENDS = re.compile(r"kdf-agent: end |^(?:not )?ok \d+ ")
# A trace that somebody requested is not a splat.
_ASKED = re.compile(r"sysrq: Show |sysrq: Changing|SysRq : Show ")


@dataclass(frozen=True)
class Splat:
    """One report that the kernel printed about itself.

    Attributes:
        title: the text of its first line, without the prefix.
        line: the number of that line on the console, from 1.
        lines: the lines from the title on, at most 40.
        during: the test that ran at that time, as the agent or KUnit names it; empty if no test ran.
    """

    kind: Kind
    title: str
    line: int
    lines: tuple[str, ...]
    during: str = ""


def clean(data: bytes) -> list[str]:
    """Return lines of plain text without escapes and controls; a carriage return begins a new line."""
    if len(data) > 2 * _SCANNED:
        data = data[:_SCANNED] + b"\n(...)\n" + data[-_SCANNED:]
    text = data.decode("utf-8", "replace").replace("\0", "")
    text = _ESCAPES.sub("", text)
    text = re.sub(r"\r+\n", "\n", text).replace("\r", "\n")
    return [_CONTROLS.sub("", line).rstrip() for line in text.split("\n")]


def messages(line: str) -> list[str]:
    """Return the messages of a line without printk's prefixes; there may be several if writers interleave."""
    return [message for message in _STAMP.split(line) if message]


def tail(lines: Iterable[str], count: int = TAIL_LINES) -> tuple[str, ...]:
    """Return the last lines that are not empty."""
    return tuple([line for line in lines if line.strip()][-count:])


def started(lines: Iterable[str]) -> bool:
    """Check whether the kernel printed its first line, the banner (init/version.c)."""
    return any("Linux version " in line for line in lines)


def reached_init(lines: Iterable[str]) -> bool:
    """Check whether the kernel started init (init/main.c, run_init_process)."""
    return any(re.search(r"Run \S+ as init process", line) for line in lines)


def restarted(lines: Iterable[str]) -> bool:
    """Check whether the kernel printed that it restarts (kernel/reboot.c)."""
    return any("reboot: " in line for line in lines)


def running(message: str, before: str = "") -> str:
    """Return the test that runs after a message; empty if none does.

    Args:
        before: the test that ran before the message.
    """
    if begins := _BEGINS.search(message):
        return (begins[1] or begins[2]).strip()
    return "" if _ENDS.search(message) else before


def _match(message: str) -> tuple[Kind, str] | None:
    if _WARNING.match(message):
        lockdep = (kind for kind, pattern in _SEARCHES if kind is Kind.LOCKDEP and pattern.search(message))
        return next(lockdep, Kind.WARNING), message
    for kind, pattern in _SEARCHES:
        if match := pattern.search(message):
            return kind, match.group().strip()
    return None


def splats(lines: list[str]) -> tuple[Splat, ...]:
    """Return the splats on a console, in order, at most 50; a call trace within a splat is not a splat of its own."""
    splats_found: list[Splat] = []
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
            if matched is None or (splats_found and _same_event(splats_found[-1], matched[0], message, number)):
                continue
            kept = _extent(lines, number)
            inside_until = max(inside_until, number + len(kept))
            splats_found.append(Splat(matched[0], matched[1], number + 1, kept, test))
            if len(splats_found) == MAX_SPLATS:
                return tuple(splats_found)
    return tuple(splats_found)


def _same_event(last: Splat, kind: Kind, message: str, number: int) -> bool:
    """Check whether a line continues the splat a few lines above, as "Oops: ..." after "BUG: ..." does."""
    return (
        kind is Kind.OOPS
        and last.kind in (Kind.OOPS, Kind.BUG)
        and _ENTERED.match(message) is not None
        and number + 1 - last.line <= _ENTERED_LINES
    )


def _before(lines: list[str], number: int) -> str:
    """Return a title for a trace without one: the nearest message above it that is not about registers or the CPU."""
    for line in reversed(lines[max(0, number - 6) : number]):
        for message in reversed(messages(line)):
            if not message.startswith(("CPU:", "Hardware name:", "RIP:", "RSP:", "Tainted:")):
                return message
    return "Call trace without a title"


def _extent(lines: list[str], number: int) -> tuple[str, ...]:
    kept: list[str] = []
    for line in lines[number : number + SPLAT_LINES]:
        kept.append(line)
        if _END.search(line):
            break
    return tuple(kept)


def initmem_us(path: Path) -> int:
    """Return the time stamp of the initmem line of a console, in microseconds.

    Raises:
        UnderTest: the console has no such line.
    """
    for line in clean(path.read_bytes()):
        if match := _INITMEM.match(line):
            return int(match[1]) * 1_000_000 + int(match[2])
    raise UnderTest(
        "the console has no line about freed init memory with a time stamp",
        "build the kernel with PRINTK, and boot it with printk.time=1",
        path,
    )
