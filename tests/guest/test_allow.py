"""Rules that let known splats pass: what they match, what they never allow, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from guest import allow, channel, verdict
from guest.channel import NO_WORKLOAD, Type
from guest.verdict import Ended
from tests.frames import frame

TOKEN = "0123456789abcdef"  # noqa: S105  (of no use to anybody)
WARN = (
    b"[    1.0] WARNING: CPU: 0 PID: 1 at fs/a.c:1 foo+0x1/0x2\n[    1.0] Call Trace:\n[    1.0]  foo+0x1/0x2\n"
    b"[    1.0] ---[ end trace 0 ]---\n"
)
BOOT = b"[    0.0] Linux version 7.1.8\n"
PANIC = b"[    2.0] Kernel panic - not syncing: x\n"
SENT = frame(Type.HELLO, NO_WORKLOAD, b"device=yes") + frame(Type.TOKEN, NO_WORKLOAD, TOKEN.encode())
RULE = allow.read(["warning: WARNING in foo # known, mended in 7.3"])


def judged(screen: bytes, sent: bytes = SENT, rules: tuple[allow.Rule, ...] = RULE) -> verdict.Verdict:
    return verdict.judge(Ended(0, False, 1.0), channel.parse(sent), screen, TOKEN, rules)


def test_an_allowed_splat_is_counted_and_does_not_fail() -> None:
    made = judged(BOOT + WARN + WARN)
    assert (made.status, made.splats) == ("passed", ())
    assert [(rule.reason, len(splats)) for rule, splats in made.allowed.items()] == [("known, mended in 7.3", 2)]


def test_a_rule_whose_splat_never_came_is_told() -> None:
    made = judged(BOOT)
    assert made.passed
    assert list(made.allowed.values()) == [[]]


def test_others_still_fail() -> None:
    made = judged(BOOT + WARN + WARN.replace(b"foo", b"bar"))
    assert (made.status, [s.title for s in made.splats]) == ("failed", ["WARNING in bar"])


FATAL = PANIC.replace(b"x", b"Fatal exception")


@pytest.mark.parametrize("screen", [BOOT + PANIC, BOOT + WARN + PANIC, BOOT + WARN + FATAL])
def test_a_panic_is_never_allowed(screen: bytes) -> None:
    rules = allow.read([".+ # all of it"])
    assert judged(screen, rules=rules).status == "failed"


def test_a_missing_token_is_never_allowed() -> None:
    assert judged(BOOT + WARN, sent=b"").status == "lost"


@pytest.mark.parametrize(
    "text",
    [
        "WARNING in foo", "WARNING in foo #", "WARNING in foo # ", " # why", "( # why", ".* # why", "a|b* # why",
        "x" * 600 + " # w", "(a+)+ # why", "# why", "",
    ],
)  # fmt: skip
def test_rules_without_a_reason_or_a_meaning(text: str) -> None:
    with pytest.raises(UserError):
        allow.read([text])


def test_a_file_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.write_text("# known\n\nbug: BUG: x # ticket 1\n  warning: y#z # ticket 2\n")
    assert [(rule.pattern, rule.reason) for rule in allow.read([], str(path))] == [
        ("bug: BUG: x", "ticket 1"), ("warning: y#z", "ticket 2"),
    ]  # fmt: skip
    path.write_text("bug: BUG: x\n")
    with pytest.raises(UserError, match="rules:1: bug: BUG: x has no reason"):
        allow.read([], str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot be read"):
        allow.read([], str(path))
    with pytest.raises(UserError, match="cannot be read"):
        allow.read([], str(tmp_path / "absent"))
