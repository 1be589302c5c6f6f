"""Frames: addresses from names, places from what llvm-symbolizer says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.process import Finished
from guest import frames
from guest.splats import Splat, scan

MAP = "ffffffff81000000 T first\nffffffff81000040 t twice\nffffffff81000060 t twice\nffffffff810000a0 T last\n"
SPLAT = [
    "[    1.0] WARNING: x.c:1 at first+0x10/0x40",
    "[    1.0] RIP: 0010:first+0x10/0x40",
    "[    1.0] Call Trace:",
    "[    1.0]  dump_stack_lvl+0x1/0x10",
    "[    1.0]  ? guessed+0x1/0x10",
    "[    1.0]  first+0x10/0x40",
    "[    1.0]  twice+0x8/0x40",
    "[    1.0]  last+0x4/0x10 [module]",
    "[    1.0] Allocated by task 1:",
    "[    1.0]  elsewhere+0x1/0x10",
]


def splats(lines: Sequence[str]) -> tuple[Splat, ...]:
    return scan("\n".join(lines).encode()).splats


def test_a_name_that_is_there_twice_is_told_by_its_size() -> None:
    (splat,) = splats(SPLAT)
    located = list(frames.locate(splat, frames.addresses(MAP.splitlines())))
    # A return address stands behind the call: one byte less is in its line.
    assert [(one.name, address) for one, address in located] == [
        ("first", 0xFFFFFFFF81000010),
        ("twice", 0xFFFFFFFF81000067),
        ("last", 0xFFFFFFFF810000A3),
    ]


def test_two_of_one_name_and_size_have_no_place() -> None:
    both = MAP.replace("ffffffff81000060", "ffffffff81000070").replace("ffffffff81000040", "ffffffff81000040")
    (splat,) = splats([line.replace("twice+0x8/0x40", "twice+0x8/0x30") for line in SPLAT])
    assert {one.name: at for one, at in frames.locate(splat, frames.addresses(both.splitlines()))}["twice"] is None


class FakeSession:
    name = "fake"

    def path(self, path: Path) -> str:
        return str(path)

    def run(self, argv: Sequence[str], *, on_line: Callable[[str], None], **_more: object) -> Finished:
        symbol = {"FileName": "/kdf/tree/fs/open.c", "Line": 7, "FunctionName": "inner"}
        outer = {"FileName": "/kdf/tree/fs/open.c", "Line": 70, "FunctionName": "outer"}
        wanted = [word for word in argv if word.startswith("0x")]
        on_line(json.dumps([{"Address": one, "Symbol": [symbol, outer]} for one in wanted]))
        return Finished(tuple(argv), 0, (), 0.1)


def test_the_innermost_inlined_function_is_the_place(tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text(MAP)
    (found,) = frames.resolve(splats(SPLAT), tmp_path, FakeSession(), "llvm-symbolizer")
    assert [str(one) for one in found][:2] == ["first+0x10 fs/open.c:7", "twice+0x8 fs/open.c:7"]
    assert frames.resolve([], tmp_path / "absent", FakeSession(), "x") == []


@pytest.mark.parametrize(
    "said", ["", "nonsense", "[1]", '[{"Address": "zz"}]', '{"a": 1}', '[{"Address":"0x1","Symbol":[{}]}]']
)
def test_what_is_no_answer_is_left_out(said: str) -> None:
    assert frames.read(said) == {}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/kdf/tree/include/linux/fs.h", "include/linux/fs.h"),
        ("/home/u/store/tree/ab/linux/include/linux/fs.h", "include/linux/fs.h"),
        ("./arch/x86/entry/common.c", "arch/x86/entry/common.c"),
        ("/elsewhere/x.c", "/elsewhere/x.c"),
    ],
)
def test_files_are_named_from_the_root_of_the_tree(name: str, shown: str) -> None:
    said = json.dumps([{"Address": "0x1", "Symbol": [{"FileName": name, "Line": 3}]}])
    assert frames.read(said) == {1: f"{shown}:3"}
