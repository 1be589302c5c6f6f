"""Tests told while they run: in the order in which they finish, whatever the pieces in which bytes come."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import ticker
from guest import channel
from guest.channel import NO_WORKLOAD, Type
from tests.frames import frame

SAID = b"".join(
    [
        frame(Type.HELLO, NO_WORKLOAD, b"agent=1\n"),
        frame(Type.BEGIN, 0, b"test"),
        frame(Type.OUTPUT, 0, b"TAP version 13\n1..3\nok 1 a\nno"),
        frame(Type.OUTPUT, 0, b"t ok 2 b\nok 3 # SKIP no clock"),
        frame(Type.FACTS, 0, b"exit=1\n"),
        frame(Type.END, 0, b"\0\0\0\0"),
        frame(Type.BEGIN, 1, b"test"),
        frame(Type.OUTPUT, 1, b"hello\n"),
        frame(Type.FACTS, 1, b"ended=timeout\n"),
        frame(Type.END, 1, b"\0\0\0\0"),
        frame(Type.TOKEN, NO_WORKLOAD, b"t"),
    ]
)
NAMES = ["timers/nanosleep", "exec/plain"]
TOLD = [
    "passed   timers/nanosleep: a",
    "failed   timers/nanosleep: b",
    "skipped  timers/nanosleep: no clock (no clock)",
    "ended    timers/nanosleep: exit 1, 3 results",
    "ended    exec/plain: timeout",
]


@given(st.lists(st.integers(0, len(SAID)), max_size=12))
def test_the_same_is_told_whatever_the_pieces(cuts: list[int]) -> None:
    told: list[str] = []
    feed = ticker.Feed(NAMES, told.append)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(SAID)], strict=True):
        feed.add(SAID[start:end])
    assert told == TOLD


def test_a_test_is_told_before_its_program_ends() -> None:
    told: list[str] = []
    ticker.Feed(NAMES, told.append).add(SAID[: SAID.index(b"no" + b"KDFFRAME") + 2])
    assert told == TOLD[:1]


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"KDFFRAME", SAID[:40], SAID[60:90]]), max_size=6))
def test_garbage_is_survived(pieces: list[bytes]) -> None:
    told: list[str] = []
    feed = ticker.Feed(NAMES, told.append)
    for piece in pieces:
        feed.add(piece)


@given(st.binary(max_size=200).filter(lambda junk: b"K" not in junk))
def test_what_follows_garbage_is_told(junk: bytes) -> None:
    told: list[str] = []
    feed = ticker.Feed(NAMES, told.append)
    feed.add(junk + SAID)
    assert told == TOLD


def test_a_stream_has_the_frames_of_the_file() -> None:
    stream = channel.Stream()
    found = [one for at in range(0, len(SAID), 7) for one in stream.add(SAID[at : at + 7])]
    assert found == list(channel.frames(SAID, []))


def test_results_of_kunit_between_the_kernels_own_lines() -> None:
    told: list[str] = []
    screen = ticker.Console(told.append)
    screen.add(b"[    0.1] ok 1 not yet\r\n[    0.2] KTAP version 1\r\n[    0.2] 1..1\r\n[    0.2]     KTAP ver")
    screen.add(b"sion 1\r\n[    0.2]     # Subtest: s\r\n[    0.2]     1..2\r\n[    0.3]     ok 1 one\r\n")
    screen.add(b"[    0.3] random: crng init done\r\n[    0.4]     not ok 2 two\r\n[    0.5] not ok 1 s\r\n")
    assert told == ["passed   kunit: one", "failed   kunit: two", "failed   kunit: s"]


def test_it_is_told_while_the_guest_runs(tmp_path: Path) -> None:
    told: list[str] = []
    with ticker.watching(tmp_path, NAMES, told.append), (tmp_path / "channel.bin").open("wb", buffering=0) as out:
        out.write(SAID[:-200])
        until = time.monotonic() + 30
        while not told and time.monotonic() < until:
            time.sleep(0.01)
        assert told, "nothing was told while it was written"
        out.write(SAID[-200:])
    assert told == TOLD


def test_what_goes_wrong_does_not_reach_the_run(tmp_path: Path) -> None:
    def gone(_line: str) -> None:
        raise BrokenPipeError

    (tmp_path / "channel.bin").write_bytes(SAID)
    with ticker.watching(tmp_path, NAMES, gone, kunit=True):
        pass
    with pytest.raises(KeyError), ticker.watching(tmp_path, NAMES, gone):
        raise KeyError
