"""Instruction counts of a real kernel: two calls agree to the digit, so a gate on them means something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import gate
from core.errors import UnderTest
from core.runtime import Runtime
from kernel.cell import CellNames, resolve

pytestmark = pytest.mark.e2e


def test_counts_repeat_and_one_instruction_is_seen(tmp_path: Path) -> None:
    cell = resolve(CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8"))
    file = tmp_path / "gate.yaml"
    gate.run(cell, Runtime("docker"), update=True, file=file)
    judged = gate.run(cell, Runtime("docker"), file=file)
    assert (judged.same, judged.slower, judged.faster) == (True, (), ())
    assert judged.now.counts.boot > judged.now.control.boot, "callbacks cost something"
    before = gate.load(file)
    stricter = replace(before, counts=replace(before.counts, boot=before.counts.boot - 1))
    with pytest.raises(UnderTest, match="slower than committed: boot"):
        gate.judge(stricter, judged.now).require()
