"""Golden consoles, spoiled as serial ports and other CPUs spoil them: no splat may hide, and no clean boot may fail."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guest import splats, verdict
from guest.channel import Channel, Ran
from guest.verdict import Ended, Status
from tests.guest.test_verdict_golden import EXPECTED, FOLDER

TOKEN = "0123456789abcdef"  # noqa: S105  (of no guest)
# A guest of which everything but the console says that it is well.
WELL = Channel({"agent": "1", "device": "yes"}, {}, (Ran(0, "getpid", {"exit": "0"}, (), 0),), TOKEN, (), ())
ENDED = Ended(0, False, 3.0)

LOGS = {name: (FOLDER / f"{name}.log").read_bytes() for name, (_, kinds, _) in EXPECTED.items() if kinds}
CLEAN = sorted((FOLDER / "clean").glob("*.log"))
ESCAPES = (b"\x1b[0m", b"\x1b[2J\x1b[1;1H", b"\x1b]0;title\x07", b"\x1b(B", b"\x1b[?25h")


def kinds(log: bytes) -> set[str]:
    return {str(splat.kind) for splat in splats.scan(log).splats}


KINDS = {name: kinds(log) for name, log in LOGS.items()}


def judged(log: bytes) -> verdict.Verdict:
    return verdict.judge(ENDED, WELL, log, TOKEN)


def sprinkled(log: bytes, what: tuple[bytes, ...], draw: random.Random, count: int = 200) -> bytes:
    """A log with something put between its bytes, in places drawn at random."""
    for _ in range(count):
        at = draw.randrange(len(log) + 1)
        # Never within an escape that is there already.
        if b"\x1b" not in log[max(0, at - 16) : at]:
            log = log[:at] + draw.choice(what) + log[at:]
    return log


def riffled(one: bytes, other: bytes, draw: random.Random) -> bytes:
    """Two guests' lines in one console, each guest's in their order."""
    piles = [one.split(b"\n"), other.split(b"\n")]
    lines = []
    while any(piles):
        pile = draw.choice([pile for pile in piles if pile])
        lines += pile[: (take := draw.randrange(1, 6))]
        del pile[:take]
    return b"\n".join(lines)


@pytest.mark.parametrize("name", list(LOGS))
def test_no_other_fact_makes_up_for_a_splat(name: str) -> None:
    assert judged(LOGS[name]).status is Status.FAILED


@pytest.mark.parametrize("path", CLEAN, ids=lambda path: str(path.stem))
def test_a_clean_boot_passes(path: Path) -> None:
    made = judged(path.read_bytes())
    assert (made.status, made.reasons) == (Status.PASSED, ())


@given(st.sampled_from(sorted(LOGS)), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_nul_bytes_and_escapes_hide_nothing(name: str, draw: random.Random) -> None:
    spoiled = sprinkled(LOGS[name], (b"\0", b"\0\0\0", b"\x7f", *ESCAPES), draw)
    assert kinds(spoiled) == KINDS[name]
    assert judged(spoiled).status is Status.FAILED


@given(st.sampled_from(CLEAN), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_they_spoil_no_clean_boot(path: Path, draw: random.Random) -> None:
    spoiled = sprinkled(path.read_bytes(), (b"\0", b"\0\0\0", *ESCAPES), draw)
    assert judged(spoiled).status is Status.PASSED


@given(st.sampled_from(sorted(LOGS)), st.sampled_from(sorted(LOGS)), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_two_splats_at_once_are_both_there(one: str, other: str, draw: random.Random) -> None:
    both = riffled(LOGS[one], LOGS[other], draw)
    # An "Oops:" line that goes on about a BUG may belong to either.
    assert kinds(both) | {"oops"} >= KINDS[one] | KINDS[other]
    assert judged(both).status is Status.FAILED


@given(st.sampled_from(sorted(LOGS)), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_console_that_ends_too_early_keeps_what_it_said(name: str, draw: random.Random) -> None:
    log = LOGS[name]
    lines = log.split(b"\n")
    first = splats.scan(log).splats[0].line
    # Behind the whole title.
    end = draw.randrange(len(b"\n".join(lines[:first])), len(log) + 1)
    assert judged(log[:end]).status is Status.FAILED


@given(st.sampled_from(sorted(LOGS)), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_line_feeds_that_were_lost_hide_nothing(name: str, draw: random.Random) -> None:
    """Two writers on one line: printk's prefix then stands in its middle."""
    lines = LOGS[name].replace(b"\r", b"").split(b"\n")
    text = lines[0]
    for line in lines[1:]:
        text += (b"" if line.startswith(b"[") and draw.random() < 0.3 else b"\n") + line
    assert kinds(text) >= KINDS[name] - {"oops", "trace"}
    assert judged(text).status is Status.FAILED


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", TOKEN.encode()]))
def test_any_bytes_have_a_verdict(log: bytes, token: bytes) -> None:
    said = Channel({}, {}, (), token.decode() or None, (), ())
    made = verdict.judge(ENDED, said, log, TOKEN)
    assert token or made.status is not Status.PASSED
