"""The pass at generation G1: what stands at a gate and behind it, and the corpus's values through gates."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from pathlib import Path

import pytest

from core.runtime import HostSession
from tests.plugins import GATED, GATES, NEEDS_LLVM
from tests.toolchain.test_pass import body
from toolchain import plugin, verify

pytestmark = [
    NEEDS_LLVM,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the corpus's gates are for x86-64"),
]


def compiled(toolchain: Path, folder: Path, source: str, *more: str) -> str:
    """IR that has passed the verifier."""
    path, out = folder / "x.c", folder / "x.ll"
    path.write_text(source)
    argv = [toolchain / "bin" / "clang", *GATED, "-O2", "-g", *more, "-S", "-emit-llvm", path, "-o", out]
    subprocess.run(argv, check=True)
    subprocess.run([toolchain / "bin" / "opt", "-passes=verify", "-disable-output", out], check=True)
    return out.read_text()


def test_manifest(plugin_19_g1: Path) -> None:
    manifest = json.loads((plugin_19_g1 / plugin.MANIFEST).read_text())
    assert manifest["generation"] == "G1"
    assert manifest["probe"] == {"dataflow": "unknown", "trace": "unknown", "gated": "obeyed"}


SOURCE = """
struct pair { char a; int b[2]; };
int f(struct pair *p, short n, int unused) { return p->b[n]; }
"""


def test_one_gate_at_entry_and_one_at_each_return(plugin_19_g1: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_g1, tmp_path, SOURCE, *GATES)
    found = body(text, "f")
    assert len(re.findall(r"callbr void asm sideeffect", found)) == 2
    assert len(re.findall(r"call void asm sideeffect .*__sanitizer_cov_trace_gated", found)) == 2
    assert '"i,{rdi},{rsi},{rdx},~{r11},~{memory}' in found
    assert '"i,{rax},~{r11},~{memory}' in found
    assert "alloca" not in found
    assert "@__sanitizer_cov_trace_args" not in found


def test_the_text_is_used_and_taken_out(plugin_19_g1: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_g1, tmp_path, SOURCE, *GATES)
    assert "__kcov_df_gate_text" not in text
    assert "jmp ${0:l} # $$ is escaped" in text
    assert "__kcov_df_table" in text
    assert "__jump_table" not in text


def test_descriptors_of_equal_shape_are_one(plugin_19_g1: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_g1, tmp_path, "int f(int a) { return a; } int g(int b) { return b + 1; }", *GATES)
    assert len(re.findall(r"^@__kcov_df_shape\S* = private unnamed_addr constant", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^@__kcov_df_gate\S* = private", text, re.MULTILINE)) == 4


def test_what_does_not_fit_into_registers_is_reported_by_address(plugin_19_g1: Path, tmp_path: Path) -> None:
    text = compiled(
        plugin_19_g1, tmp_path, "long f(long a, long b, long c, long d, long e, long g, long h, long i, long j) {"
        " return a + b + c + d + e + g + h + i + j; }", *GATES
    )  # fmt: skip
    found = body(text, "f")
    assert len(re.findall(r"call void @__sanitizer_cov_trace_args", found)) == 9
    assert len(re.findall(r"callbr", found)) == 2


def test_without_a_text_it_is_generation_l0(plugin_19_g1: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_g1, tmp_path, SOURCE)
    assert "callbr" not in text
    assert len(re.findall(r"call void @__sanitizer_cov_trace_args", body(text, "f"))) == 3


def test_values_of_the_corpus(plugin_19_g1: Path, tmp_path: Path) -> None:
    compiler = [str(plugin_19_g1 / "bin" / "clang")]
    result = verify.verify(HostSession(), compiler, tmp_path, flags=(*GATED, *GATES), in_modes=("-O1 -g", "-Os -g"))
    assert not result.problems, result.problems[0]
    assert result.total.equal > 500


def test_a_shut_gate_reports_nothing(plugin_19_g1: Path, tmp_path: Path) -> None:
    compiler = [str(plugin_19_g1 / "bin" / "clang")]
    shut = verify.verify(
        HostSession(), compiler, tmp_path, flags=(*GATED, "-DKCOV_DF_SHUT", *GATES), only=("nested",),
        in_modes=("-O2 -g",),
    )  # fmt: skip
    assert shut.total.wrong
    assert (tmp_path / "-O2-g" / "nested.out").read_text() == ""


# As arch/arm64/include/asm/jump_label.h has it.
ARM_TEXT = r"""
static const char __kcov_df_gate_text[] __attribute__((used)) =
    "1: nop\n\t.pushsection __jump_table, \"aw\"\n\t.align 3\n\t.long 1b - ., %l[cold] - .\n\t"
    ".quad __kcov_df_key - .\n\t.popsection\n\t";
"""


def on_arm64(toolchain: Path, folder: Path, source: str) -> str:
    """The assembly of a function f."""
    (folder / "x.c").write_text(ARM_TEXT + source)
    argv = [toolchain / "bin" / "clang", GATED[0], "--target=aarch64-linux-gnu", "-mgeneral-regs-only", "-O2", "-g"]
    # It must be code that assembles; -S alone would not tell.
    subprocess.run([*argv, "-c", "x.c", "-o", "x.o"], check=True, cwd=folder)
    subprocess.run([*argv, "-S", "x.c", "-o", "x.s"], check=True, cwd=folder)
    return (folder / "x.s").read_text().partition("\nf:")[2].partition(".Lfunc_end")[0]


def test_a_leaf_function_on_arm64_keeps_nothing_on_the_hot_path(plugin_19_g1: Path, tmp_path: Path) -> None:
    code = on_arm64(plugin_19_g1, tmp_path, SOURCE)
    hot, cold = code.split("\tret\n", 1)
    assert len(re.findall(r"^\tnop$", hot, re.MULTILINE)) == 2
    assert "x30" not in hot
    assert "sp" not in re.findall(r"\[(\w+)", hot)
    assert len(re.findall(r"bl\s+__sanitizer_cov_trace_gated", cold)) == 2
    assert cold.count("str\tx30, [sp, #-16]!") == cold.count("ldr\tx30, [sp], #16") == 2


def test_eight_arguments_fit_on_arm64(plugin_19_g1: Path, tmp_path: Path) -> None:
    code = on_arm64(
        plugin_19_g1, tmp_path, "long f(signed char a, short b, int c, long d, char *e, unsigned char g, long h, int i)"
        " { return a + b + c + d + *e + g + h + i; }"
    )  # fmt: skip
    assert "__sanitizer_cov_trace_args" not in code
    assert len(re.findall(r"bl\s+__sanitizer_cov_trace_gated", code)) == 2
