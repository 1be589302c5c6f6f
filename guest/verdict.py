"""Verdicts: what a run says of its kernel, from three facts that do not depend on each other.

How QEMU ended, whether the agent's token came over its private port, and whether the console is free of splats. A guest
passed only if all three say so; no fact can make up for another.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import InfraError, UnderTest
from guest import console
from guest.channel import Channel, Ran
from guest.console import Splat
from guest.plan import TEST

_SIGNALS = {number.value: number.name for number in signal.Signals}


class Status(StrEnum):
    """What a run says of its kernel."""

    PASSED = "passed"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    """The first fact: how QEMU ended.

    Attributes:
        code: its exit status, or minus the number of the signal that ended it.
        timed_out: whether it was killed, or told to end, because its time ran out.
        seconds: wall time.
        tail: its own last lines, not the guest's.
    """

    code: int
    timed_out: bool
    seconds: float
    tail: tuple[str, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether QEMU itself failed, so that nothing can be said of the guest."""
        return self.code != 0 and not self.timed_out

    def __str__(self) -> str:
        if self.timed_out:
            return f"QEMU was {'ended' if self.code == 0 else 'killed'} after {self.seconds:.0f} s"
        if self.code < 0:
            return f"QEMU died of {_SIGNALS.get(-self.code, f'signal {-self.code}')}"
        if self.code > 0:
            return f"QEMU ended with exit code {self.code}"
        return "QEMU ended by itself"


@dataclass(frozen=True)
class Verdict:
    """What a run says of its kernel.

    Attributes:
        reasons: one sentence each; empty if it passed.
        tail: the last lines of the console.
        splats: what went wrong in the kernel, in order.
        infra: whether it was QEMU that failed, not the guest.
        during: the workload or test that had begun and not ended, or empty.
    """

    status: Status
    reasons: tuple[str, ...]
    tail: tuple[str, ...]
    splats: tuple[Splat, ...] = ()
    infra: bool = False
    during: str = ""

    @property
    def passed(self) -> bool:
        return self.status is Status.PASSED

    def require(self, log: Path | None = None) -> None:
        """Nothing if the guest passed.

        Args:
            log: the console's file, for the message.

        Raises:
            InfraError: QEMU itself failed.
            UnderTest: the guest failed, or never reported.
        """
        if self.passed:
            return
        during = f" during {self.during}" if self.during else ""
        sentence = f"the guest {self.status}{during}: {'; '.join(self.reasons[:3])}"
        if self.infra:
            raise InfraError(sentence, "run the same command again; its command line is in the run's qemu.log", log)
        raise UnderTest(sentence, "read the console's log", log)


def judge(ended: Ended, channel: Channel, screen: bytes, token: str) -> Verdict:
    """The verdict of a run.

    Args:
        ended: how QEMU ended.
        channel: what the agent said.
        screen: the console, raw.
        token: what the agent had to send last.
    """
    lines = console.clean(screen)
    found = console.splats(lines)
    infra = _qemu_reasons(ended)
    silent = _silence(channel, token, lines)
    wrong = [*_splat_reasons(found), *_agent_reasons(channel, token)]
    if infra:
        status = Status.FAILED if found else Status.LOST
    elif wrong:
        status = Status.FAILED
    elif silent or ended.timed_out:
        status = Status.LOST
    else:
        status = Status.PASSED
    late = [f"{ended}, after its token had come"] if ended.timed_out and not silent else []
    if silent and ended.code == 0 and not ended.timed_out and not found and not console.restarted(lines):
        silent += ", and the machine was reset without a word (a triple fault does that)"
    # What the kernel said of itself comes first: the rest follows from it.
    reasons = (*wrong, *infra, *([f"{silent}; {ended}"] if silent else late))
    return Verdict(
        status=status,
        reasons=reasons if status is not Status.PASSED else (),
        tail=console.tail(lines),
        splats=found,
        infra=bool(infra) and not found,
        during=_during(channel, lines),
    )


def _during(channel: Channel, lines: Sequence[str]) -> str:
    name = next((ran.name for ran in channel.ran if ran.end is None), "")
    if name and name != TEST:
        return f"workload {name}"
    test = ""
    for line in lines:
        for message in console.messages(line):
            test = console.running(message, test)
    return test


def _qemu_reasons(ended: Ended) -> list[str]:
    if not ended.broken:
        return []
    said = f" ({ended.tail[-1].strip()})" if ended.tail else ""
    return [f"{ended}{said}"]


def _silence(channel: Channel, token: str, lines: Sequence[str]) -> str:
    """What is missing, as a sentence; empty if the token came."""
    if channel.token == token:
        return ""
    if not any(line.strip() for line in lines):
        return "the guest never said anything"
    if not console.started(lines):
        return "the kernel never said its first line"
    if not channel.hello and not console.reached_init(lines):
        return "the kernel never reached init"
    if not channel.hello:
        return "the agent never reported"
    return "the agent reported, but its token never came"


def _splat_reasons(found: Sequence[Splat]) -> list[str]:
    return [splat.title or str(splat.kind) for splat in found]


def _agent_reasons(channel: Channel, token: str) -> list[str]:
    reasons = []
    if channel.token is not None and channel.token != token:
        reasons.append("the token that came is not this run's")
    reasons += [f"the channel is damaged: {problem}" for problem in channel.problems if not _only_cut(channel, problem)]
    # A kernel without the device ends its workloads with ENODEV: that is a fact for the caller, not a broken guest.
    calm = {0, None} | ({errno.ENODEV} if channel.device is False else set())
    # How a test ends is said of the test.
    works = [ran for ran in channel.ran if ran.name != TEST]
    reasons += [_bad_end(ran) for ran in works if ran.end is not None and ran.end not in calm]
    if channel.device is not False:
        reasons += [f"the agent says: {sentence}" for sentence in channel.trouble]
    return reasons


def _bad_end(ran: Ran) -> str:
    if ran.facts.get("ended") == "timeout":
        return f"workload {ran.name} did not end in its time"
    if "signal" in ran.facts:
        number = ran.facts["signal"]
        return f"workload {ran.name} died of {_SIGNALS.get(int(number), number) if number.isdecimal() else number}"
    return f"workload {ran.name} ended with {errno.errorcode.get(ran.end or 0, str(ran.end))}"


def _only_cut(channel: Channel, problem: str) -> bool:
    """Whether a problem is no more than the end of a guest that died while it sent."""
    return channel.token is None and problem.startswith("the file ends within")
