"""The agent compiles for both architectures, and boots where there is a kernel to boot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.runtime import HostSession
from guest import agent, guests, plan
from guest.guests import Start
from tests.e2e.user import invoke

# e_machine of elf(5): EM_X86_64 and EM_AARCH64.
MACHINES = {"x86_64": 62, "arm64": 183}


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
def test_twenty_clean_boots(tmp_path: Path) -> None:
    """The kernel of the spine, on the host's own QEMU: none of twenty may fail by mistake."""
    said = invoke("kernel.build", "--profile", "all", "--base", "tiny", "--json")
    assert said.code == 0, said.err
    for _ in range(20):
        outcome = guests.boot(Start(Path(said.json()["path"]), "x86_64", plan.draw()), HostSession(), tmp_path / "run")
        made = outcome.judge()
        assert made.passed, (made.reasons, made.tail)
        assert outcome.said.device is True
        assert [ran.facts["pid"] for ran in outcome.said.ran] == [w.values["pid"] for w in outcome.plan.works]
