"""Measurements read from what a guest said."""

from __future__ import annotations

import pytest

from bench import measure
from core.errors import UnderTest
from guest import plan
from guest.channel import Ran


def facts(**more: str) -> dict[str, str]:
    said = {"ticks_per_second": "0", "clock_ticks": "300000000", "clock_ns": "100000000"}
    for name, rounds in plan.LOOPS.items():
        said |= {f"{name}_rounds": str(rounds), f"{name}_ticks": str(rounds * 100)}
    return {**said, **more}


def test_loops() -> None:
    found = measure.loops(Ran(0, "loops", facts(getpid_words="9", getpid_dropped="2"), (), 0), exact=True)
    assert set(found) == set(plan.LOOPS)
    getpid = found["getpid"]
    assert (getpid.each, getpid.ns, getpid.words, getpid.dropped) == (50.0, 66667, 9, 2)
    assert found["fork"].words == 0


def test_a_counter_with_a_frequency_of_its_own() -> None:
    """arm64: 62.5 MHz are 16 ns, so 8 instructions, a tick."""
    found = measure.loops(Ran(0, "loops", facts(ticks_per_second="62500000"), (), 0), exact=True)
    assert found["getpid"].each == 800.0


def test_wall_times_are_no_instructions() -> None:
    assert measure.loops(Ran(0, "loops", facts(), (), 0), exact=False)["getpid"].each == 0.0


@pytest.mark.parametrize(("end", "said"), [(None, "did not end well"), (62, "did not end well"), (0, "did not report")])
def test_loops_that_are_not_there(end: int | None, said: str) -> None:
    missing = {key: value for key, value in facts().items() if not key.startswith("pipe_")}
    with pytest.raises(UnderTest, match=said):
        measure.loops(Ran(0, "loops", missing, (), end), exact=True)
