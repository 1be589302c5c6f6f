"""The channel's file as hostile input."""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from guest import channel
from guest.channel import NO_WORKLOAD, Info, Type
from tests.frames import frame


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


HELLO = frame(Type.HELLO, NO_WORKLOAD, b"agent=1\nrelease=7.1.8\ndevice=yes\n_stext=0xffffffff81000000\n")
MODULES = frame(Type.MODULES, NO_WORKLOAD, b"m .text 0xffffffffc0000000\nm .data 0xffffffffc0001000\n")
WORK = [
    frame(Type.BEGIN, 0, b"getpid"),
    frame(Type.FACTS, 0, b"pid=77\nret=77\n"),
    frame(Type.PART, 0, b"name=main\ncapacity=512\ncounted=4\n"),
    frame(Type.WORDS, 0, words(4, 0x1E0000001, 2, 3, 4)),
    frame(Type.INFO, 0, struct.pack("<IIQ", 1, 3, 9)),
    frame(Type.END, 0, struct.pack("<i", 0)),
]
SENT = "t0ken"
TOKEN = frame(Type.TOKEN, NO_WORKLOAD, SENT.encode())
WHOLE = HELLO + MODULES + b"".join(WORK) + TOKEN


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(WHOLE)
    said = channel.read(tmp_path / "c")
    assert said.problems == ()
    assert said.device is True
    assert said.hello["_stext"] == "0xffffffff81000000"
    assert said.modules == {("m", ".text"): 0xFFFFFFFFC0000000, ("m", ".data"): 0xFFFFFFFFC0001000}
    assert said.token == SENT
    (ran,) = said.ran
    assert (ran.name, ran.end, dict(ran.facts)) == ("getpid", 0, {"pid": "77", "ret": "77"})
    (part,) = ran.parts
    assert (part.name, part.capacity, part.counted, part.info) == ("main", 512, 4, Info(1, 3, 9))
    assert part.words == words(4, 0x1E0000001, 2, 3, 4)


def test_a_guest_that_said_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for said in (channel.read(tmp_path / "none"), channel.read(tmp_path / "empty")):
        assert (said.hello, said.ran, said.token, said.problems, said.device) == ({}, (), None, (), None)


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_cut_anywhere(at: int) -> None:
    said = channel.parse(WHOLE[:at])
    assert said.token is None
    assert all(part.counted == 4 for ran in said.ran for part in ran.parts)
    assert all("ends within" in problem or "are no frame" in problem for problem in said.problems)


@given(st.binary(max_size=400))
def test_garbage(data: bytes) -> None:
    said = channel.parse(data)
    assert said.token is None
    assert said.ran == ()


@given(st.binary(max_size=64), st.integers(min_value=0, max_value=len(WORK)))
def test_garbage_between_frames_hides_none(noise: bytes, at: int) -> None:
    noise = noise.replace(b"K", b"k")
    said = channel.parse(HELLO + b"".join(WORK[:at]) + noise + b"".join(WORK[at:]) + TOKEN)
    assert said.token == SENT
    assert said.ran[0].end == 0
    assert len(said.ran[0].parts) == 1
    assert bool(said.problems) == bool(noise)


@given(st.integers(min_value=0, max_value=len(WHOLE) * 8 - 1))
def test_any_bit_flipped(bit: int) -> None:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    channel.parse(bytes(data))


@given(st.lists(st.sampled_from([HELLO, MODULES, *WORK, TOKEN]), max_size=30))
def test_any_order_and_any_number(parts: list[bytes]) -> None:
    said = channel.parse(b"".join(parts))
    assert len(said.ran) <= 1
    assert all(len(ran.parts) <= 1 for ran in said.ran)


@given(st.integers(min_value=0, max_value=2**32 - 1), st.integers(min_value=0, max_value=2**64 - 1))
def test_any_type_and_any_length(kind: int, length: int) -> None:
    head = struct.pack("<8sIIQ", b"KDFFRAME", kind, 0, length)
    said = channel.parse(head + TOKEN)
    if length > len(TOKEN):
        assert said.token == SENT, "a lying length hides nothing"
        assert said.problems


def test_duplicates_are_named_and_the_first_counts() -> None:
    other = frame(Type.TOKEN, NO_WORKLOAD, b"other")
    said = channel.parse(HELLO + HELLO + b"".join(WORK[:4]) + WORK[2] + WORK[3] + WORK[0] + TOKEN + other)
    assert said.token == SENT
    assert len(said.ran[0].parts) == 1
    text = "\n".join(said.problems)
    for sentence in ("second hello", "sends its part main twice", "begins twice", "second token"):
        assert sentence in text


def test_frames_that_belong_to_nothing() -> None:
    said = channel.parse(
        WORK[3] + frame(Type.BEGIN, 0, b"w") + WORK[3] + WORK[4] + frame(99, 0, b"?") + WORK[5] + WORK[1]
    )
    text = "\n".join(said.problems)
    for sentence in ("never began", "without a part", "belongs to no words", "unknown type 99", "after the end"):
        assert sentence in text


def test_counts_that_do_not_fit() -> None:
    def problems(capacity: int, *values: int) -> str:
        part = frame(Type.PART, 0, f"name=main\ncapacity={capacity}\n".encode())
        return "\n".join(channel.parse(WORK[0] + part + frame(Type.WORDS, 0, words(*values))).problems)

    assert problems(512, 2, 1, 1) == ""
    assert problems(512, 0) == ""
    assert "counts 700 words in a buffer of 512" in problems(512, 700, 1, 1)
    assert "counts 3 words and sends 2" in problems(512, 3, 1, 1)
    assert "in a buffer of 2" in problems(2, 2, 1, 1)


def test_a_program_that_prints_without_end() -> None:
    piece = frame(Type.OUTPUT, 0, b"x" * (1 << 20))
    said = channel.parse(WORK[0] + piece * 20)
    assert len(said.ran[0].output) == channel.MAX_OUTPUT


def test_problems_are_bounded() -> None:
    assert len(channel.parse(frame(99, 0, b"") * 1000).problems) == channel.MAX_PROBLEMS


def test_numbers_of_thousands_of_digits_and_long_names_are_problems() -> None:
    path = Path(__file__).parent.parent / "golden" / "field" / "channel" / "channel-capacity-5000-digits.bin"
    sent = channel.read(path)
    assert [part.capacity for ran in sent.ran for part in ran.parts] == [0]
    assert sent.problems
