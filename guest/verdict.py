"""Judge a guest by three independent facts.

Takes how QEMU ended, whether the agent's token came over its private port, and whether the console has splats. Gives a
verdict with its reasons. Never lets one fact make up for another: a guest passed only if all three are good.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core import outside
from core.errors import InfraError, UnderTest
from guest import allow, splats
from guest.allow import Rule
from guest.channel import Channel, Ran
from guest.plan import TEST
from guest.splats import Kind, Screen, Splat

_SIGNALS = {number.value: number.name for number in signal.Signals}


def signal_name(text: str) -> str:
    """Return the name of a signal whose number a guest sent; the text if it is no number of one."""
    return _SIGNALS.get(outside.number(text, high=64) or 0, outside.shortened(text, 20))


class Status(StrEnum):
    """The status of a verdict."""

    PASSED = "passed"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    """The first fact: how QEMU ended.

    Attributes:
        code: its exit status, or minus the number of the signal that ended it.
        timed_out: whether it was ended or killed because its time ran out.
        seconds: wall time.
        tail: the last lines that QEMU itself printed.
    """

    code: int
    timed_out: bool
    seconds: float
    tail: tuple[str, ...] = ()

    @property
    def flooded(self) -> bool:
        """Return whether QEMU was ended because the guest wrote more than a file of QEMU may hold."""
        return self.code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ)

    @property
    def broken(self) -> bool:
        """Return whether QEMU itself failed, so that the guest cannot be judged."""
        return self.code != 0 and not self.timed_out and not self.flooded

    def __str__(self) -> str:
        if self.flooded:
            return "the guest wrote more to its console or channel than docs/guest.md allows, so QEMU was ended"
        if self.timed_out:
            return f"QEMU was {'ended' if self.code == 0 else 'killed'} after {self.seconds:.0f} s"
        if self.code < 0:
            return f"QEMU died of {_SIGNALS.get(-self.code, f'signal {-self.code}')}"
        if self.code > 0:
            return f"QEMU ended with exit code {self.code}"
        return "QEMU ended by itself"


@dataclass(frozen=True)
class Verdict:
    """The judgement on a guest.

    Attributes:
        reasons: one sentence for each reason; empty if the guest passed.
        tail: the last lines of the console.
        splats: the kernel's splats that no rule allows, in order.
        infra: whether QEMU failed, and not the guest.
        allowed: each rule with the splats that it allowed; none if they never came.
        noticed: messages that look like trouble without being a splat; they do not make a guest fail.
        during: the workload or test that had begun but not ended; empty if there is none.
    """

    status: Status
    reasons: tuple[str, ...]
    tail: tuple[str, ...]
    splats: tuple[Splat, ...] = ()
    infra: bool = False
    during: str = ""
    noticed: tuple[str, ...] = ()
    allowed: Mapping[Rule, Sequence[Splat]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.status is Status.PASSED

    def require(self, log: Path | None = None) -> None:
        """Raise if the guest did not pass.

        Args:
            log: file of the console, for the message.

        Raises:
            InfraError: QEMU itself failed.
            UnderTest: the guest failed, or is lost.
        """
        if self.passed:
            return
        during = f" during {self.during}" if self.during else ""
        sentence = f"the guest {self.status}{during}: {'; '.join(self.reasons[:3])}"
        if self.infra:
            raise InfraError(sentence, "run the same command again; its command line is in the run's qemu.log", log)
        raise UnderTest(sentence, "read the console's log", log)


def judge(ended: Ended, channel: Channel, screen: Path | bytes, token: str, rules: Sequence[Rule] = ()) -> Verdict:
    """Judge a run.

    Args:
        ended: how QEMU ended.
        channel: everything that the agent sent.
        screen: the console, a file or its bytes.
        token: the token that the agent has to send last.
        rules: allow splats; a panic and a missing token are never allowed.
    """
    seen = splats.scan(screen)
    left, allowed = allow.sort(seen.splats, rules)
    # A splat that ended the machine is no known and harmless one, whatever a rule says.
    if seen.panicked and not any(splat.kind is Kind.PANIC for splat in left):
        left, allowed = seen.splats, {rule: [] for rule in rules}
    infra = _qemu_reasons(ended)
    silent = _silence(channel, token, seen)
    flood = [str(ended)] if ended.flooded else []
    wrong = [*_splat_reasons(left), *_agent_reasons(channel, token), *flood]
    if infra:
        status = Status.FAILED if left else Status.LOST
    elif wrong:
        status = Status.FAILED
    elif silent or ended.timed_out:
        status = Status.LOST
    else:
        status = Status.PASSED
    late = [f"{ended}, after its token had come"] if ended.timed_out and not silent else []
    if silent and ended.code == 0 and not ended.timed_out and not left and not seen.restarted:
        silent += ", and the machine was reset without a word (a triple fault does that)"
    # The kernel's own splats come first, since they usually cause the other reasons.
    reasons = (*wrong, *infra, *([f"{silent}; {ended}"] if silent else late))
    return Verdict(
        status=status,
        reasons=reasons if status is not Status.PASSED else (),
        tail=seen.tail,
        splats=left,
        infra=bool(infra) and not left,
        during=_during(channel, seen),
        noticed=_noticed(seen),
        allowed=allowed,
    )


def _during(channel: Channel, seen: Screen) -> str:
    name = next((ran.name for ran in channel.ran if ran.end is None), "")
    return f"workload {name}" if name and name != TEST else seen.during


def _noticed(seen: Screen) -> tuple[str, ...]:
    boots = (f"the console has {seen.boots} boots",) if seen.boots > 1 else ()
    return (*boots, *seen.noticed)


def _qemu_reasons(ended: Ended) -> list[str]:
    if not ended.broken:
        return []
    last_line = f" ({ended.tail[-1].strip()})" if ended.tail else ""
    return [f"{ended}{last_line}"]


def _silence(channel: Channel, token: str, seen: Screen) -> str:
    """Return a sentence about what is missing; empty if the token came."""
    if channel.token == token:
        return ""
    if seen.empty:
        return "the guest never said anything"
    if not seen.boots:
        return "the kernel never said its first line"
    if not channel.hello and not seen.reached_init:
        return "the kernel never reached init"
    if not channel.hello:
        return "the agent never reported"
    return "the agent reported, but its token never came"


def _splat_reasons(splats: Sequence[Splat]) -> list[str]:
    return [splat.title or str(splat.kind) for splat in splats]


def _agent_reasons(channel: Channel, token: str) -> list[str]:
    reasons = []
    if channel.token is not None and channel.token != token:
        reasons.append("the token that came is not this run's")
    reasons += [f"the channel is damaged: {problem}" for problem in channel.problems if not _only_cut(channel, problem)]
    # Workloads of a kernel without the device end with ENODEV. The caller decides about that; the guest is not broken.
    calm = {0, None} | ({errno.ENODEV} if channel.device is False else set())
    # The end of a test is a result of the test, not of the guest.
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
        return f"workload {ran.name} died of {signal_name(number)}"
    return f"workload {ran.name} ended with {errno.errorcode.get(ran.end or 0, str(ran.end))}"


def _only_cut(channel: Channel, problem: str) -> bool:
    """Check whether a problem is only the cut end of a guest that died while it sent."""
    return channel.token is None and problem.startswith("the file ends within")
