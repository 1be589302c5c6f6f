"""Find the reports in which a kernel says what went wrong in it.

Takes a console of any size, in pieces. Gives its splats: kind, title, place and test of each, and what looks like
trouble without being one. Never decides what a splat means for a run.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from guest import console, stacks, titles

MAX_SPLATS = 50
# Lines that are kept of a splat: the own stack of a lockdep report may begin below its line 300.
SPLAT_LINES = 600
# Different messages that are kept of those that only look like trouble.
MAX_NOTICED = 20
_ABOVE = 8


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


# Kind, a text that every such line contains, and the pattern, in the order in which they are tried. Patterns are
# searched in the whole line, since text of another CPU or of the firmware may come before it, unless they begin with ^.
# So a pattern must not match anything that a healthy kernel prints. The texts are those of Linux 6.0 to 7.2.
_PATTERNS: tuple[tuple[Kind, str, str], ...] = (
    (Kind.PANIC, "Kernel panic - not syncing", r"Kernel panic - not syncing: ?.*"),
    (Kind.KASAN, "BUG: K", r"BUG: K(?:A|C|M)SAN: .*"),
    (Kind.KASAN, "BUG: KFENCE: ", r"BUG: KFENCE: .*"),
    (Kind.UBSAN, "UBSAN: ", r"UBSAN: (?!.*(?:enabled|disabled)).*"),
    (Kind.LOCKUP, "lockup", r"BUG: (?:soft lockup|workqueue lockup).*"),
    (Kind.LOCKUP, "LOCKUP", r"Watchdog detected hard LOCKUP.*|[Hh]ard LOCKUP on cpu.*"),
    (Kind.HUNG_TASK, "INFO: task ", r"INFO: task .{1,64} blocked (?:for more than|"
                                    r"in I/O wait for more than) \d+ seconds.*"),
    (Kind.RCU_STALL, "detected", r"INFO: rcu\S{0,32} (?:self-)?detected (?:expedited )?stalls?.*"),
    (Kind.RCU_STALL, "rcu: ", r"rcu: .{0,64}kthread (?:starved|timer wakeup didn't happen).*"),
    (
        Kind.LOCKDEP, "WARNING: ",
        r"WARNING: (?:possible (?:circular|recursive|irq lock)|inconsistent lock|bad unlock balance|suspicious RCU"
        r"|held lock freed|lock held when|Nested lock was|[\w-]{1,32}-safe -> \S{1,32}-unsafe|[\w-]{1,32}-READ-safe"
        r"|bad contention|chain_key collision|\S{1,32}/\d{1,10} still has locks held).*",
    ),
    (Kind.LOCKDEP, "INFO: trying", r"INFO: trying to register non-static key.*"),
    (Kind.LOCKDEP, "BUG: ", r"BUG: (?:MAX_\w+ too low|Invalid wait context|.{0,64}held lock).*"),
    (Kind.BUG, "kernel BUG at ", r"kernel BUG at .*"),
    (Kind.OOPS, "BUG: ",
     r"BUG: (?:unable to handle|kernel NULL pointer|TASK stack guard|IRQ stack guard|stack guard page).*"),
    (Kind.OOPS, "Unable to handle kernel ", r"Unable to handle kernel .*"),
    (
        Kind.OOPS, " [#",
        r"(?:general protection fault|stack segment|divide error|invalid opcode|traps: PANIC: double fault"
        r"|int3|alignment check|bounds|coprocessor segment overrun|invalid TSS|segment not present)"
        r"(?:, .{0,160})?: [0-9a-f]{4} \[#\d+\].*",
    ),
    (Kind.OOPS, "PANIC: ", r"PANIC: (?:double fault|early exception).*"),
    (Kind.OOPS, "Oops", r"Oops: .*|Oops - .*"),
    (Kind.OOPS, "Internal error: ", r"Internal error: .*"),
    (Kind.OOPS, "nsufficient stack space", r"Insufficient stack space to handle exception.*"),
    (Kind.OOPS, "kernel stack overflow", r"kernel stack overflow.*"),
    (Kind.OOM, "Out of memory", r"Out of memory: Killed process .*|Out of memory and no killable.*"),
    (Kind.OOM, "invoked oom-killer", r"\S{1,64} invoked oom-killer: .*"),
    # mm/slub.c, slab_bug(); a test's own line may have the word BUG in other places.
    (Kind.BUG, "BUG ", r"BUG [\w.-]{1,64} \((?:Not tainted|Tainted)[^)]{0,200}\): .*"),
    (Kind.BUG, "BUG: ", r"^(?:\[ )?(?:[\w/.-]{1,40}: ){0,2}BUG: .*"),
    (Kind.BUG, "Bad page ", r"Bad page (?:state|map|cache).*"),
    # mm/pgtable-generic.c, p?d_ERROR() of the architectures.
    (Kind.BUG, ": bad p", r"\S{1,128}:\d{1,6}: bad p(?:g|4|u|m)[de]\b.*"),
    (Kind.BUG, "unregister_netdevice: ", r"unregister_netdevice: waiting for .*"),
    (Kind.BUG, "suspected memory leak", r"kmemleak: \d+ new suspected memory leaks.*"),
    (Kind.BUG, "softirq: huh", r"softirq: huh, entered .*"),
    (Kind.BUG, "ref_tracker: ", r"ref_tracker: (?!.*(?:debugfs|create))(?:.*\bhas \d+/\d+ users|reference already|"
                                r".*leaked).*"),
    (Kind.BUG, "Busy inodes", r"VFS: Busy inodes after unmount .*"),
    # Boot self-tests: crypto/testmgr.c, lib/locking-selftest.c, kernel/trace/trace_selftest.c, lib/*.
    (Kind.BUG, "ailed", r"alg: (?:self-tests for .{1,128} failed|.{1,64}: test failed).*|"
                        r"\bself.?tests?\b.{0,80}\bfailed\b.*"),
    (Kind.BUG, "FAILED", r"Testing \S.{0,64}: .{0,80}FAILED.*|\b[sS]elf.?[tT]ests?\b.{0,80}\bFAILED\b.*"),
    (Kind.BUG, "unexpected failures", r"\d+ unexpected failures \(out of \d+\).*"),
    (Kind.WARNING, "unchecked MSR access", r"unchecked MSR access error: .*"),
    # kernel/panic.c, __warn_printk(): before 6.18 with CPU and PID first. Healthy kernels print other texts that begin
    # with WARNING; those only look like trouble.
    (Kind.WARNING, "WARNING: ", r"WARNING: (?:CPU: \d+ PID: \d+ at |\S{1,256}:\d{1,6} at |at )\S+.*"),
)  # fmt: skip
_SEARCHES = tuple((kind, needle, re.compile(pattern)) for kind, needle, pattern in _PATTERNS)
_TROUBLE = re.compile(r"\bWARNING: |\bBUG: |\b[Cc]orruption (?:detected|found)\b")
# These lines contain words of a title but end or repeat a report.
_NO_TITLE = re.compile(r"---\[ end |^# |Rebooting in \d")

_BANNER = "Linux version "
_REBOOT = "reboot: "
_RUN_INIT = re.compile(r"Run \S{1,256} as init process")
_OTHER_NEEDLES = (
    "Call Trace:", "Call trace:", "Backtrace:", "WARNING: ", "kdf-agent: ", "# Subtest: ", "ok ", _BANNER, _REBOOT,
    " as init process", "FAULT_INJECTION", "sysrq: ", "SysRq : ", "orruption ", "BUG",
)  # fmt: skip
_NEEDLES = tuple(dict.fromkeys((*(needle for _, needle, _ in _PATTERNS), *_OTHER_NEEDLES)))
_HOT = re.compile("|".join(re.escape(needle) for needle in _NEEDLES))

# The line that the kernel prints when it enters an oops, and how many lines below the title it may be.
_ENTERED = re.compile(r"(?:Oops|Internal error|invalid opcode)\b")
_ENTERED_LINES = 12
# A panic that only says that a report before it ends the machine (kernel/panic.c, mm/kasan/report.c, kernel/watchdog.c,
# arch/*/kernel/dumpstack.c, kernel/hung_task.c).
_CONSEQUENCE = re.compile(
    r"Kernel panic - not syncing: (?:Fatal exception|.{0,32}panic_on_warn set|kasan\.fault=panic|"
    r".{0,24}panic_on_\w+ set|"
    r"softlockup: hung tasks|hung_task: blocked tasks|RCU Stall|Hard LOCKUP|UBSAN: panic_on_warn)"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_RULE = re.compile(r"^={20,}$")
# Kinds whose reports stand between two rules of '='.
_RULED = re.compile(r"BUG: K[ACM]SAN: |BUG: KFENCE: |UBSAN: ")
# A trace that somebody requested, or that tells where a failure was injected on purpose, is not a splat.
_ASKED = re.compile(r"sysrq: (?:Show |Changing)|SysRq : (?:Show |Changing)|FAULT_INJECTION: forcing a failure")
_ASKED_LINES = 400
# What a report of a kernel goes on with: indented text, registers, and the headings of its parts.
_DETAIL = re.compile(
    r"^(?:\s|$|[A-Z][\w ()-]{0,40}: |R[A-Z0-9]{2}: |E[A-Z]{2}: |CR\d|DR\d|FS: |CS: |Code: |Modules linked|Tainted|"
    r"Hardware|"
    r"Workqueue|CPU: |pc : |lr : |sp : |x\d|pstate|Call |[Rr]ead |[Ww]rite |Allocated|Freed|The buggy|Memory state|"
    r">?[0-9a-f]{8,16}[: ]|"
    r"page|flags|raw|head|---|===|\[|Object|Padding|Redzone|Slab|stack|but task|which lock|the existing|other info|"
    r"\d+ locks? held|no locks|#\d|->|\.\.\.|\*\*\*|irq event|hardirqs|softirqs|task:|rcu: |Sending NMI|"
    r"NMI backtrace|in:|EFLAGS|"
    r"PGD|Mem abort|Data abort|user pgtable|swapper|ESR|FSC|SET|EA|ISS|CM|GCS|RIP|RSP)"
)
_UNTITLED = re.compile(
    r"^(?:CPU:|Hardware name:|RIP:|RSP:|R[A-D0-9S][XIP0-9]?:|EFLAGS:|Tainted:|Workqueue:|Modules linked in:|Code:|"
    r"FS:|CS:|CR\d:|DR\d:|"
    r"task:|Sending NMI|NMI backtrace|Stopper:|pstate:|pc :|lr :|sp :|x\d+ ?:| |---|===|ORIG_RAX|PKRU|Call )"
)


@dataclass(frozen=True)
class Splat:
    """One report that the kernel printed about itself.

    Attributes:
        title: what people put in a subject line (`titles.compose`).
        line: the number of its first line on the console, from 1.
        lines: the lines of the report, at most 600.
        during: the test that ran at that time, as the agent or KUnit names it; empty if no test ran.
        text: the first line of the report, without the prefix.
    """

    kind: Kind
    title: str
    line: int
    lines: tuple[str, ...]
    during: str = ""
    text: str = ""


@dataclass(frozen=True)
class Screen:
    """The facts that a console gives.

    Attributes:
        splats: in order, at most 50.
        noticed: other messages that look like trouble, each once, at most 20.
        tail: the last lines that are not empty.
        boots: how often a kernel printed its first line (init/version.c).
        reached_init: whether the kernel started init (init/main.c, run_init_process).
        restarted: whether the kernel printed that it restarts (kernel/reboot.c).
        during: the test that ran last and did not end; empty if there is none.
        empty: whether there is no text at all.
        panicked: whether the kernel said that it panics, on its own or after a splat.
    """

    splats: tuple[Splat, ...]
    noticed: tuple[str, ...]
    tail: tuple[str, ...]
    boots: int
    reached_init: bool
    restarted: bool
    during: str
    empty: bool
    panicked: bool = False


def scan(source: Path | bytes) -> Screen:
    """Read a whole console, in pieces, and return its facts; memory does not grow with its size."""
    reader = _Reader()
    for piece in console.pieces(source):
        reader.read(piece)
    return reader.facts()


@dataclass
class _Open:
    """A report that is being read; `kept` are its lines, `messages` their number since its title."""

    splat: Splat
    kept: list[str] = field(default_factory=list)
    traced: bool = False
    asides: int = 0


@dataclass
class _Reader:
    """The state between two lines of a console."""

    number: int = 0
    splats: list[Splat] = field(default_factory=list)
    noticed: dict[str, None] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=console.TAIL_LINES))
    above: deque[str] = field(default_factory=lambda: deque(maxlen=_ABOVE))
    boots: int = 0
    reached_init: bool = False
    restarted: bool = False
    test: str = ""
    empty: bool = True
    panicked: bool = False
    asked_until: int = -1
    asked_once: bool = False
    report: _Open | None = None

    def read(self, piece: str) -> None:
        """Read a piece of whole lines; a piece in which nothing is said is only counted."""
        if self.report is None and not any(needle in piece for needle in _NEEDLES):
            self.number += piece.count("\n")
            last = list(console.split(piece[-console.TAIL_LINES * console.LINE :]))
            self._keep(last)
            return
        for line in console.split(piece):
            self.number += 1
            if line.strip():
                self.tail.append(line)
                self.empty = False
            if self.report is not None or _HOT.search(line):
                self._line(line)
            self.above.append(line)

    def _keep(self, lines: Sequence[str]) -> None:
        self.above.extend(lines[-_ABOVE:])
        spoken = [line for line in lines if line.strip()]
        self.tail.extend(spoken[-console.TAIL_LINES :])
        self.empty = self.empty and not spoken

    def facts(self) -> Screen:
        self._close()
        return Screen(
            tuple(self.splats), tuple(self.noticed), tuple(self.tail), self.boots, self.reached_init, self.restarted,
            self.test, self.empty, self.panicked,
        )  # fmt: skip

    def _line(self, line: str) -> None:
        if asked := _ASKED.search(line):
            self._close()
            self.asked_until = self.number + _ASKED_LINES
            self.asked_once = asked.group().startswith("FAULT")
        for message in console.messages(line):
            self._message(message)
        if self.report is not None:
            self._extend(line)

    def _message(self, message: str) -> None:
        self.test = console.running(message, self.test)
        if _BANNER in message:
            self.boots += 1
            self.asked_until = -1
        self.restarted = self.restarted or _REBOOT in message
        self.reached_init = self.reached_init or bool(_RUN_INIT.search(message))
        if self.report is None and len(self.splats) >= MAX_SPLATS:
            self.panicked = self.panicked or "Kernel panic - not syncing" in message
            return
        if _NO_TITLE.search(message):
            return
        matched = _match(message)
        if matched is None and stacks.TRACE.match(message):
            if self.report is None and self.number > self.asked_until:
                self._begin(Kind.TRACE, _title_above([*self.above]))
            elif self.asked_once:
                self.asked_until = -1  # one stack was asked for, and this is it
        elif matched is not None:
            if not self._continues(*matched):
                self._begin(*matched)
        elif self.report is None and _TROUBLE.search(message) and len(self.noticed) < MAX_NOTICED:
            self.noticed.setdefault(message.strip()[: titles.LIMIT])

    def _continues(self, kind: Kind, text: str) -> bool:
        """Check whether a line belongs to the last report, as "Oops: ..." after "BUG: ..." does."""
        last = self.report.splat if self.report else self.splats[-1] if self.splats else None
        self.panicked = self.panicked or kind is Kind.PANIC
        if last is None:
            return False
        if kind is Kind.PANIC:
            return bool(_CONSEQUENCE.search(text)) or (last.kind is Kind.PANIC and text == last.text)
        if kind is Kind.KASAN:
            # A symbolizer repeats the first line for each function that is inlined there.
            return self.number - last.line <= 2 and text.split(" in ")[0] == last.text.split(" in ")[0]
        near = self.number - last.line <= _ENTERED_LINES
        return kind is Kind.OOPS and near and last.kind in (Kind.OOPS, Kind.BUG) and bool(_ENTERED.match(text))

    def _begin(self, kind: Kind, text: str) -> None:
        self._close()
        if len(self.splats) < MAX_SPLATS:
            self.report = _Open(Splat(kind, text, self.number, (), self.test, text))

    def _extend(self, line: str) -> None:
        report = self.report
        if report is None:
            return
        report.kept.append(line)
        messages = console.messages(line)
        report.traced = report.traced or any(stacks.TRACE.match(message) for message in messages)
        # Text of others may stand between the lines of a report: some of it does not end the report.
        report.asides = 0 if not messages or any(_DETAIL.match(m) for m in messages) else report.asides + 1
        ruled = bool(_RULED.search(report.splat.text)) and len(report.kept) > 2
        if (
            any(_END.search(message) for message in messages)
            or (ruled and any(_RULE.match(message.strip()) for message in messages))
            or len(report.kept) >= SPLAT_LINES
            or report.asides > (1 if report.traced else 20)
        ):
            self._close()

    def _close(self) -> None:
        if self.report is not None:
            splat = replace(self.report.splat, lines=tuple(self.report.kept))
            spoken = [message for line in splat.lines for message in console.messages(line)]
            # A line of several writers may have words before the title.
            own = [splat.text, *(m for m in spoken if m != splat.text)]
            title = titles.compose(splat.text, own) if splat.text else "Call trace without a title"
            self.splats.append(replace(splat, title=title))
            self.report = None


def _match(message: str) -> tuple[Kind, str] | None:
    for kind, needle, pattern in _SEARCHES:
        if needle in message and (match := pattern.search(message)):
            return kind, re.sub(r"^\[ | \]$", "", match.group().strip())
    return None


def _title_above(lines: Sequence[str]) -> str:
    """Return a title for a trace without one: the nearest message above it that is not about registers or the CPU."""
    for line in reversed(lines):
        for message in reversed(console.messages(line)):
            if not _UNTITLED.match(message):
                return message.strip()
    return ""
