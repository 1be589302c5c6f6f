"""Captures on disk: what is not as we write it is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.buffers import RETURN, Row, words
from core.errors import UnderTest, UserError
from dataflow import capture

GOOD: dict[str, Any] = {
    "layout": "kit-1",
    "capacity": 512,
    "info": {"version": 1, "flags": 3, "dropped": 2},
    "plan": {"pid": "42"},
    "facts": {"pid": "42"},
    "stext": "0xffffffff81000000",
    "modules": {"m": {".text": "0xffffffffc0000000"}},
    "arch": "x86_64",
}


def write(folder: Path, described: object, values: list[int] | bytes | None = None, name: str = "getpid") -> Path:
    values = words([Row(RETURN, 1, (42,))]) if values is None else values
    data = values if isinstance(values, bytes) else np.array(values, dtype="<u8").tobytes()
    (folder / f"{name}.words").write_bytes(data)
    (folder / f"{name}.json").write_text(described if isinstance(described, str) else json.dumps(described))
    return folder / f"{name}.json"


def test_a_capture_is_read_by_either_name(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    for name in (path, path.with_suffix(".words")):
        one = capture.load(name)
        assert (one.name, one.dropped, one.version, one.stext) == ("getpid", 2, 1, 0xFFFFFFFF81000000)
        assert one.modules == {"m": {".text": 0xFFFFFFFFC0000000}}
        assert one.records().values(0) == [42]
    assert list(capture.load_all(tmp_path)) == ["getpid"]


@pytest.mark.parametrize("key", sorted(GOOD))
def test_each_key_is_needed(key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{key} is missing"):
        capture.load(write(tmp_path, {k: v for k, v in GOOD.items() if k != key}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layout": 1}, "layout is 1, not str"),
        ({"capacity": "512"}, 'capacity is "512", not int'),
        ({"capacity": -1}, "capacity is -1"),
        ({"capacity": True}, "capacity is true"),
        ({"info": {"version": 1, "flags": 3}}, r"info\.dropped is missing"),
        ({"info": []}, r"info is \[\], not dict"),
        ({"plan": None}, "plan is null"),
        ({"stext": "here"}, "stext cannot be read"),
        ({"modules": {"m": {".text": 5}}}, "modules cannot be read"),
        ({"modules": {"m": None}}, "modules cannot be read"),
        ({"arch": ""}, "arch is empty, not one of"),
        ({"arch": "sparc"}, "arch is sparc, not one of x86_64, arm64"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        capture.load(write(tmp_path, GOOD | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_what_is_no_json_object(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"getpid\.json"):
        capture.load(write(tmp_path, text))


@pytest.mark.parametrize("data", [b"", b"1234567"])
def test_words_that_are_not_whole(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnderTest, match="not a positive multiple of 8"):
        capture.load(write(tmp_path, GOOD, data))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no capture"):
        capture.load(tmp_path / "x.json")
    with pytest.raises(UserError, match="there is no capture in"):
        capture.load_all(tmp_path)


def test_the_device_and_the_series_must_agree(tmp_path: Path) -> None:
    one = capture.load(write(tmp_path, GOOD | {"info": {"version": 2, "flags": 3, "dropped": 0}}))
    with pytest.raises(UnderTest, match="the device has layout version 2, but the series has kit-1"):
        one.records()


def test_more_words_than_the_buffer_had(tmp_path: Path) -> None:
    with pytest.raises(UnderTest, match="5 words from a buffer of 4"):
        capture.load(write(tmp_path, GOOD | {"capacity": 4})).records()


def test_a_damaged_word_is_named_with_its_capture(tmp_path: Path) -> None:
    with pytest.raises(UnderTest, match="capture getpid: word 1 of the buffer"):
        capture.load(write(tmp_path, GOOD, [4, 1, 2, 3, 4])).records()


def test_a_device_without_info_says_nothing_of_drops(tmp_path: Path) -> None:
    one = capture.load(write(tmp_path, GOOD | {"info": None, "stext": ""}))
    assert (one.dropped, one.version, one.stext) == (None, None, None)
    assert len(one.records()) == 1
