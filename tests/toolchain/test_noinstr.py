"""Callbacks in noinstr code are found, also where objtool has hidden them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from core.errors import UnderTest, UserError
from toolchain import noinstr

pytestmark = pytest.mark.skipif(shutil.which("clang-19") is None, reason="needs clang-19")
TARGETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")


def assemble(folder: Path, name: str, section: str, target: str, call: str = "__sanitizer_cov_trace_args") -> Path:
    jump = "call" if target.startswith("x86") else "bl"
    source = folder / f"{name}.s"
    source.write_text(f'.section {section},"ax"\nf:\n {jump} {call}\n {jump} {call}\n ret\n.text\n {jump} {call}\n')
    out = folder / f"{name}.o"
    subprocess.run(["clang-19", f"--target={target}", "-c", source, "-o", out], check=True)
    return out


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("section", noinstr.SECTIONS)
def test_finds_calls(tmp_path: Path, target: str, section: str) -> None:
    path = assemble(tmp_path, "bad", section, target)
    found = noinstr.scan(tmp_path)
    assert found.offences == (noinstr.Offence(path, section, 2),)
    assert (found.objects, found.instrumented, found.protected) == (1, 1, 1)
    with pytest.raises(UnderTest, match=f"2 callbacks in noinstr code of 1 objects.*{section}"):
        noinstr.check(tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_other_sections_and_other_calls_are_fine(tmp_path: Path, target: str) -> None:
    assemble(tmp_path, "text", ".text.other", target)
    assemble(tmp_path, "other", ".noinstr.text", target, call="printk")
    (tmp_path / "script.o").write_text("no object")
    found = noinstr.check(tmp_path)
    assert (found.objects, found.instrumented, found.protected) == (2, 1, 1)


def test_nothing_to_scan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no objects below"):
        noinstr.scan(tmp_path)


def test_damaged_object_is_named(tmp_path: Path) -> None:
    path = assemble(tmp_path, "cut", ".noinstr.text", TARGETS[0])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"cut\.o: not a readable object"):
        noinstr.scan(tmp_path)
