"""The agent compiles for both architectures, and boots where there is a kernel to boot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.runtime import HostSession
from guest import agent, plan, run

# e_machine of elf(5): EM_X86_64 and EM_AARCH64.
MACHINES = {"x86_64": 62, "arm64": 183}
KERNEL = os.environ.get("KDF_TEST_KERNEL", "")


@pytest.mark.skipif(shutil.which("clang-19") is None, reason="needs clang-19 and lld-19")
@pytest.mark.parametrize("arch", list(MACHINES))
def test_it_compiles(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    made = agent.ensure(HostSession(), arch, tmp_path / "work")
    data = made.read_bytes()
    assert data[:5] == b"\x7fELF\x02"
    assert int.from_bytes(data[16:18], "little") == 2, "ET_EXEC: nothing to relocate"
    assert int.from_bytes(data[18:20], "little") == MACHINES[arch]
    assert b"/lib" not in data, "no interpreter"
    assert len(data) < 64 << 10
    assert not (tmp_path / "work" / "agent-build").exists()


@pytest.mark.e2e
@pytest.mark.skipif(not KERNEL, reason="KDF_TEST_KERNEL names a directory with an x86-64 kernel's image")
def test_twenty_clean_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    for _ in range(20):
        outcome = run.boot(Path(KERNEL), "x86_64", plan.draw(), HostSession(), tmp_path / "run")
        made = outcome.judge()
        assert made.passed, (made.reasons, made.tail)
        if outcome.said.device:
            assert [ran.facts["pid"] for ran in outcome.said.ran] == [w.values["pid"] for w in outcome.plan.works]
