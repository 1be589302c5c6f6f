"""Frames: what clang's warnings say of the stack."""

from __future__ import annotations

from kernel.compilation import frames


def test_frames_are_counted_from_the_limit_upwards() -> None:
    text = "fs/a.c:1:1: warning: stack frame size ({}) exceeds limit (2048) in 'f{}' [-Wframe-larger-than]"
    said = [text.format(size, i) for i, size in enumerate((2049, 4096, 4097, 9000))]
    assert frames([*said, "fs/a.c:2:2: warning: unused variable 'x'"], 2048) == {"2048": 4, "4096": 2}


def test_none_that_was_warned_of_is_not_the_same_as_nobody_asked() -> None:
    assert frames([], 2048) == {"2048": 0, "4096": 0}
    assert frames([], 0) == {}
