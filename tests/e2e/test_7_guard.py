"""The guard on the real tree: what it reads there, and a pair that it refuses before anything is configured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kernel import callbacks
from patches import apply, series
from sources import catalogue
from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e

_FILES = ("kernel/kcov_dataflow.c", "include/linux/kcov_dataflow.h")


def test_a_tree_whose_callbacks_take_other_operands(tmp_path: Path) -> None:
    tree = apply.tree(catalogue.source_tree("7.1.8"), series.load("kit")).path / "linux"
    takes = callbacks.read(tree)
    assert takes is not None
    assert (takes.generation, takes.spelling, takes.where) == ("L0", "dataflow", "kernel/kcov_dataflow.c")

    changed = tmp_path / "linux"
    subprocess.run(["cp", "-al", str(tree), str(changed)], check=True)
    for name in _FILES:
        text = (changed / name).read_text()
        other = text.replace("(u64 pc, u32 arg_idx", "(u32 arg_idx").replace("(u64 pc, u32 ret_size", "(u32 ret_size")
        other = other.replace("void *arg_ptr", "u64 val").replace("void *ret_val", "u64 val")
        assert other != text
        (changed / name).unlink()
        (changed / name).write_text(other)
    cell = ("--base", "tiny", "--runtime", "docker", "--linux", f"path:{changed}", "--series", "none")
    said = invoke("kernel.build", "--profile", "all", "--toolchain", "plugin-19", *cell)
    assert said.code == 2
    assert "plugin-19 passes arguments (i64,i32,i32,ptr,ptr,i32) and returns (i64,i32,ptr,ptr,i32)" in said.err
    assert "which is generation L0" in said.err
    assert "kernel/kcov_dataflow.c take arguments (i32,i32,i64,ptr,i32) and returns (i32,i64,ptr,i32)" in said.err

    said = invoke("kconfig.check", "all", "--base", "tiny", "--runtime", "docker", "--toolchain", "stock-19")
    assert said.code == 1, "what the tree lost is told by Kconfig itself, not by the guard"
    assert "the compiler test of KCOV_DATAFLOW_ARGS failed" in said.err
    assert "unsupported argument 'dataflow-args'" in said.err


def test_a_compiler_of_addresses_and_a_series_of_values() -> None:
    cell = ("--profile", "all", "--base", "tiny", "--runtime", "docker")
    said = invoke("kernel.build", *cell, "--series", "kit-l3", "--toolchain", "plugin-19")
    assert said.code == 2
    assert "plugin-19 passes arguments (i64,i32,i32,ptr,ptr,i32) and returns (i64,i32,ptr,ptr,i32)" in said.err
    assert "kernel/kcov_dataflow.c take arguments (i32,i32,i64,ptr,i32) and returns (i32,i64,ptr,i32)" in said.err
    assert "which is generation L3" in said.err
    said = invoke("kernel.build", *cell, "--series", "kit", "--toolchain", "plugin-19-l3")
    assert said.code == 2
    assert "plugin-19-l3 passes arguments (i32,i32,i64,ptr,i32)" in said.err
