"""Plans: draws, lines, JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from guest import plan


def test_a_seed_repeats_its_draws() -> None:
    assert plan.draw(seed="5eed") == plan.draw(seed="5eed")
    assert plan.draw(seed="5eed") != plan.draw(seed="5eee")


def test_without_a_seed_each_plan_is_new() -> None:
    one, two = plan.draw(), plan.draw()
    assert one.token != two.token
    assert one == plan.draw(seed=one.seed)


@given(st.text(alphabet="0123456789abcdef", min_size=1, max_size=16))
def test_draws_are_recognisable(seed: str) -> None:
    made = plan.draw(plan.STANDARD, seed=seed)
    pids = [work.number(key) for work in made.works for key in ("pid", "child_pid") if key in work.values]
    modes = [work.number(key) for work in made.works for key in ("mode", "child_mode") if key in work.values]
    assert len(set(pids)) == len(pids) == 5
    assert all(1999 < pid < 30000 for pid in pids)
    assert len(set(modes)) == len(modes) == 3
    assert all(0o1000 < mode < 0o7777 for mode in modes)
    overflow = made.works[3]
    assert overflow.number("small_words") % plan.PAGE_WORDS == 0
    assert overflow.number("small_words") < overflow.number("words")


def test_lines_are_what_the_agent_reads() -> None:
    made = plan.draw(["getpid", "exec"], seed="1", arguments=["-n", "100%\nmore", ""], modules=["a.ko"])
    lines = plan.as_lines(made).split("\n")
    assert lines[:3] == ["version=1", f"token={made.token}", "module=/kdf/modules/a.ko"]
    assert lines.index("workload=getpid") < lines.index("workload=exec")
    assert lines[-4:] == ["arg=-n", "arg=100%25%0amore", "arg=", ""]
    assert "program=/kdf.exec" in lines


def test_json_there_and_back() -> None:
    made = plan.draw([*plan.STANDARD, "exec"], arguments=["a", "b"], modules=["m.ko"])
    assert plan.from_json(json.loads(plan.dump(made))) == made


@pytest.mark.parametrize("value", [{}, {"version": 2}, {"version": 1, "works": 3}, {"version": 1, "works": [{}]}])
def test_json_that_is_no_plan(value: dict[str, object]) -> None:
    with pytest.raises(UserError):
        plan.from_json(value)


def test_unknown_workload_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean getpid"):
        plan.draw(["getpdi"])


@pytest.mark.parametrize("words", [0, -512, 511, 513, (1 << 24) + 512])
def test_buffers_that_cannot_be_mapped(words: int) -> None:
    with pytest.raises(UserError, match="a buffer cannot have"):
        plan.draw(words=words)


def test_an_argument_with_nul() -> None:
    with pytest.raises(UserError, match="NUL"):
        plan.as_lines(plan.draw(["exec"], arguments=["a\0b"]))


@pytest.mark.parametrize("arguments", [["x"] * 63, ["x" * 70000]])
def test_more_than_the_agent_has_room_for(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="the agent has room for"):
        plan.as_lines(plan.draw(["exec"], arguments=arguments))


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("0x10", 16), ("0640", 0o640), ("12", 12), ("-100", -100), ("-0x2", -2)]
)
def test_numbers_as_plans_and_facts_write_them(text: str, value: int) -> None:
    assert plan.number(text) == value


@pytest.mark.parametrize("text", ["", "-", "08", "abc", "0x"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        plan.number(text)
