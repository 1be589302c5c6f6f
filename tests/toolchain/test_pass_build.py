"""The plugin toolchain as it is built on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from core.runtime import HostSession
from tests.plugins import NEEDS_LLVM, PASS
from toolchain import plugin, probe

pytestmark = NEEDS_LLVM


def test_manifest(plugin_19: Path) -> None:
    manifest = json.loads((plugin_19 / plugin.MANIFEST).read_text())
    assert manifest["generation"] == "L0"
    assert manifest["callbacks"]["args"] == "i64,i32,i32,ptr,ptr,i32"
    assert manifest["callbacks"]["ret"] == "i64,i32,ptr,ptr,i32"
    assert set(manifest["files"]) == {"bin/clang", *(f"lib/{name}.so" for name in plugin.VARIANTS)}
    assert manifest["versions"]["llvm"].startswith("19.")


def test_the_tools_of_a_kernel_build_are_there(plugin_19: Path) -> None:
    for tool in ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump", "llvm-readelf", "llvm-strip"):
        subprocess.run([plugin_19 / "bin" / tool, "--version"], check=True, stdout=subprocess.DEVNULL)


def test_stock_toolchain_has_no_generation(tmp_path: Path) -> None:
    manifest = plugin.build(HostSession(), 19, PASS, tmp_path, with_pass=False)
    assert manifest["generation"] is None
    assert manifest["callbacks"] is None


def test_generations_by_operands() -> None:
    call = "call void @__sanitizer_cov_trace_args(i64 ptrtoint (ptr @f to i64), i32 0, i32 4, ptr %0, ptr null, i32 0)"
    assert probe.operands(call, "__sanitizer_cov_trace_args") == "i64,i32,i32,ptr,ptr,i32"
    table = "ptr getelementptr inbounds ([3 x i64], ptr @t, i64 0, i64 1)"
    call = f"call void @__sanitizer_cov_trace_ret(i32 noundef 8, i64 %1, {table}, i32 1) #2, !dbg !7"
    assert probe.operands(call, "__sanitizer_cov_trace_ret") == "i32,i64,ptr,i32"
    assert probe.operands(call, "__sanitizer_cov_trace_args") == ""


# Clang itself complains about trace-pc of a file that it only assembles, so that is no probe of ours.
PROBES = [
    (flags, step, language)
    for flags in ("dataflow-args", "dataflow-args,dataflow-ret", "dataflow-ret,trace-pc")
    for step in ("-c", "-S", "-E", "-fsyntax-only")
    for language in ("c", "assembler-with-cpp")
] + [(flags, "-c", "assembler") for flags in ("dataflow-args", "dataflow-args,dataflow-ret")]


@pytest.mark.parametrize(("flags", "step", "language"), PROBES)
def test_cc_option_probes(plugin_19: Path, tmp_path: Path, flags: str, step: str, language: str) -> None:
    argv = [plugin_19 / "bin" / "clang", "-Werror", f"-fsanitize-coverage={flags}", step, "-x", language, "/dev/null"]
    ended = subprocess.run([*argv, "-o", tmp_path / "out"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("flags", ["dataflow-foo", "dataflow-args,dataflow-foo", "dataflow"])
def test_unknown_values_fail_as_in_clang(plugin_19: Path, tmp_path: Path, flags: str) -> None:
    argv = [plugin_19 / "bin" / "clang", f"-fsanitize-coverage={flags}", "-c", "-x", "c", "/dev/null"]
    ended = subprocess.run([*argv, "-o", tmp_path / "out"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "unsupported argument 'dataflow" in ended.stderr


def test_linking_needs_no_flags(plugin_19: Path, tmp_path: Path) -> None:
    source = tmp_path / "m.c"
    source.write_text("int main(void) { return 0; }\n")
    clang = plugin_19 / "bin" / "clang"
    subprocess.run([clang, "-c", source, "-o", tmp_path / "m.o"], check=True)
    flags = ["-Werror", "-fsanitize-coverage=dataflow-args,dataflow-ret"]
    subprocess.run([clang, *flags, tmp_path / "m.o", "-o", tmp_path / "m"], check=True)
    subprocess.run([tmp_path / "m"], check=True)


def test_without_the_flags_nothing_changes(plugin_19: Path, tmp_path: Path) -> None:
    source = Path(plugin.__file__).parent / "corpus" / "statics.c"
    argv = ["-O2", "-g", "-DSUBJECT", "-std=gnu2x", "-c", source, "-o"]
    subprocess.run([plugin_19 / "bin" / "clang", *argv, tmp_path / "front.o"], check=True, cwd=tmp_path)
    subprocess.run([shutil.which("clang-19") or "", *argv, tmp_path / "stock.o"], check=True, cwd=tmp_path)
    assert (tmp_path / "front.o").read_bytes() == (tmp_path / "stock.o").read_bytes()
