"""What the pass puts into IR: operands, tables, places; and that LLVM's verifier has nothing against it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import mutants, plugins
from tests.plugins import NEEDS_LLVM

pytestmark = NEEDS_LLVM
TARGETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")
Compile = Callable[..., str]


@pytest.fixture
def ir(plugin_19: Path, tmp_path: Path) -> Compile:
    """Compile C to IR with dataflow on; the result has passed the verifier."""

    def compiled(source: str, *flags: str, level: str = "-O2", debug: str = "-g") -> str:
        path, out = tmp_path / "x.c", tmp_path / "x.ll"
        path.write_text(source)
        front = plugin_19 / "bin" / "clang"
        both = "-fsanitize-coverage=dataflow-args,dataflow-ret"
        argv = [front, "-std=gnu2x", both, level, debug, *flags, "-S", "-emit-llvm", path, "-o", out]
        subprocess.run(argv, check=True)
        subprocess.run([plugin_19 / "bin" / "opt", "-passes=verify", "-disable-output", out], check=True)
        return out.read_text()

    return compiled


def body(text: str, function: str) -> str:
    found = re.search(rf"^define [^\n]*@{function}\(.*?^}}", text, re.MULTILINE | re.DOTALL)
    assert found, f"{function} is not there"
    return found[0]


def calls(text: str, function: str) -> list[str]:
    """The operands of the callbacks in a function, without debug locations and attributes."""
    return re.findall(r"call void @__sanitizer_cov_trace_\w+\((.*)\) #", body(text, function))


def test_variants(plugin_19: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.c"
    source.write_text("int f(int a) { return a; }\n")
    for flag, there, absent in (("args", "args", "ret"), ("ret", "ret", "args")):
        argv = [plugin_19 / "bin" / "clang", f"-fsanitize-coverage=dataflow-{flag}", "-O2", "-S", "-emit-llvm"]
        out = subprocess.run([*argv, source, "-o", "-"], check=True, capture_output=True, text=True).stdout
        assert f"__sanitizer_cov_trace_{there}" in out
        assert f"__sanitizer_cov_trace_{absent}" not in out


def test_pipeline_text_of_opt(plugin_19: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.ll"
    source.write_text("define i32 @f(i32 %a) {\n ret i32 %a\n}\n")
    plugin = plugin_19 / "lib" / "dataflow-args-ret.so"
    opt = [plugin_19 / "bin" / "opt", f"-load-pass-plugin={plugin}", "-S", source]
    counts = {}
    for text in ("kcov-dataflow", "kcov-dataflow<args>", "kcov-dataflow<ret>", "kcov-dataflow<args;ret>"):
        out = subprocess.run([*opt, f"-passes={text}"], check=True, capture_output=True, text=True).stdout
        counts[text] = (
            out.count("call void @__sanitizer_cov_trace_args"),
            out.count("call void @__sanitizer_cov_trace_ret"),
        )
    assert list(counts.values()) == [(1, 1), (1, 0), (0, 1), (1, 1)]
    assert subprocess.run([*opt, "-passes=kcov-dataflow<foo>"], capture_output=True).returncode


def test_table_is_behind_a_hash(ir: Compile) -> None:
    text = ir("struct pair { char a; int b[2]; }; int f(struct pair *p) { return p->b[1]; }")
    # FNV-1a, 64 bit, of "pair", counted by hand here so that the pass cannot agree with itself.
    value = 0xCBF29CE484222325
    for byte in b"pair":
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    signed = value - (1 << 64) if value >> 63 else value
    assert f"constant [5 x i64] [i64 {signed}, i64 0, i64 1, i64 4, i64 8], align 8" in text
    first = calls(text, "f")[0]
    assert first.startswith("i64 ptrtoint (ptr @f to i64), i32 0, i32 12, ptr %0, ptr getelementptr inbounds")
    assert first.endswith("i64 0, i64 1), i32 2")


def test_one_table_per_type(ir: Compile) -> None:
    text = ir("struct s { int a; }; typedef const struct s t; int f(struct s *a, t *b, t c) { return a->a; }")
    assert text.count("@__kcov_dataflow_fields = ") == 1
    assert "@__kcov_dataflow_fields.1" not in text


@pytest.mark.parametrize("target", TARGETS)
def test_weak_goes_through_a_private_alias(ir: Compile, plugin_19: Path, tmp_path: Path, target: str) -> None:
    source = "__attribute__((weak)) int w(int a) { return a; } int s(int a) { return a; }"
    text = ir(source, f"--target={target}")
    assert "@__kcov_dataflow_pc = private alias i32 (i32), ptr @w" in text
    assert all("ptr @__kcov_dataflow_pc " in c for c in calls(text, "w"))
    assert all("ptr @s " in c for c in calls(text, "s"))
    # In the object the alias is no symbol, and no relocation but a call may name the weak function.
    out = tmp_path / "x.o"
    subprocess.run([plugin_19 / "bin" / "clang", f"--target={target}", "-c", tmp_path / "x.ll", "-o", out], check=True)
    dump = [plugin_19 / "bin" / "llvm-readelf", "-r", "-s", "-W", out]
    shown = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    assert "kcov_dataflow_pc" not in shown
    assert not re.search(r"R_\S+ +\S+ w\b", shown)


def test_skipped_functions(ir: Compile) -> None:
    text = ir(
        """
        __attribute__((no_sanitize("coverage"))) int quiet(int a) { return a; }
        __attribute__((disable_sanitizer_instrumentation)) int off(int a) { return a; }
        __attribute__((naked)) int bare(int a) { __asm__("ret"); }
        int __sanitizer_own(int a) { return a; }
        int dead(int a) { __builtin_unreachable(); }
        extern inline __attribute__((gnu_inline)) int copy(int a) { return a; }
        int noinstr(int a) __attribute__((section(".noinstr.text")));
        int noinstr(int a) { return a; }
        int (*keep)(int) = copy;
        """
    )
    assert "call void @__sanitizer_cov" not in text


def test_feature_is_on_with_dataflow_alone(ir: Compile) -> None:
    text = ir("int f(void) { return __has_feature(coverage_sanitizer); }")
    assert "ret i32 1" in body(text, "f")
    assert "sancov" not in text


def test_stack_is_one_slot_and_never_realigned(ir: Compile) -> None:
    text = ir("long f(char a, int b, long c, double d, struct { long x, y; } e) { return a + b + c + d + e.y; }")
    slots = re.findall(r"alloca [^\n]*", body(text, "f"))
    assert len(slots) == 1
    assert slots[0].startswith("alloca [2 x i64], align 8")


def test_calls_have_the_location_of_the_scope(ir: Compile) -> None:
    text = ir("int f(int a)\n{\n\treturn a;\n}")
    number = re.search(r"trace_args\(.*!dbg !(\d+)", body(text, "f"))
    assert number
    assert re.search(rf"^!{number[1]} = !DILocation\(line: 2, scope", text, re.MULTILINE)


def test_inferred_effects_are_forgotten(ir: Compile) -> None:
    text = ir("int f(int *p) { return *p; } int g(int a) { return a; }")
    for function in "fg":
        line = body(text, function).splitlines()[0]
        group = re.search(r"(#\d+)", line)
        assert group
        attributes = re.search(rf"^attributes {group[1]} = (.*)", text, re.MULTILINE)
        assert attributes
        assert "memory(" not in attributes[1]
        assert "readonly" not in line
        assert "nocapture" not in line


def test_notes_are_gone(ir: Compile) -> None:
    assert "kcov-dataflow-" not in ir("int f(int a) { return a; }", level="-O0")


def test_no_debug_info_means_positions_and_no_tables(ir: Compile) -> None:
    text = ir("struct s { long a, b, c; }; struct s f(struct s *p, int q) { p->a = q; return *p; }", debug="-g0")
    got = calls(text, "f")
    assert "@__kcov_dataflow_fields" not in text
    assert [re.search(r"i32 (\d+), i32 (\d+)", c).groups() for c in got[:2]] == [("0", "8"), ("1", "4")]  # type: ignore[union-attr]
    assert re.search(r"i32 24, ptr %0, ptr null, i32 0", got[2])


def test_line_tables_only_count_as_no_debug_info(ir: Compile) -> None:
    text = ir("struct s { long a; }; long f(struct s *p) { return p->a; }", debug="-gline-tables-only")
    assert "@__kcov_dataflow_fields" not in text
    assert len(calls(text, "f")) == 2


# Optimized IR without notes, as `opt` or link-time optimization may see it: the debug records are all there is.
RECORDS = """
define i32 @two(i64 %0, i32 %1) !dbg !10 {
  %3 = lshr i64 %0, 32
  %4 = trunc i64 %3 to i32
    #dbg_value(i64 %0, !20, !DIExpression(DW_OP_LLVM_convert, 64, DW_ATE_unsigned, DW_OP_LLVM_convert, 32, DW_ATE_unsigned, DW_OP_stack_value, DW_OP_LLVM_fragment, 0, 32), !30)
    #dbg_value(i32 %4, !20, !DIExpression(DW_OP_LLVM_fragment, 32, 32), !30)
    #dbg_value(i32 %1, !21, !DIExpression(), !30)
  ret i32 %4, !dbg !30
}
define internal i32 @local(i32 %0) !dbg !11 {
    #dbg_value(i32 7, !22, !DIExpression(), !31)
    #dbg_value(i32 poison, !23, !DIExpression(), !31)
    #dbg_value(i32 %0, !24, !DIExpression(), !31)
  ret i32 %0, !dbg !31
}
@keep = global ptr @local
!llvm.module.flags = !{!0}
!llvm.dbg.cu = !{!1}
!0 = !{i32 2, !"Debug Info Version", i32 3}
!1 = distinct !DICompileUnit(language: DW_LANG_C11, file: !2, isOptimized: true, emissionKind: FullDebug)
!2 = !DIFile(filename: "x.c", directory: "/")
!3 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)
!4 = !DICompositeType(tag: DW_TAG_structure_type, name: "two", file: !2, line: 1, size: 64, elements: !5)
!5 = !{!6, !7}
!6 = !DIDerivedType(tag: DW_TAG_member, name: "a", scope: !4, baseType: !3, size: 32)
!7 = !DIDerivedType(tag: DW_TAG_member, name: "b", scope: !4, baseType: !3, size: 32, offset: 32)
!8 = !DISubroutineType(types: !{!3, !4, !3})
!9 = !DISubroutineType(types: !{!3, !3, !3, !3})
!10 = distinct !DISubprogram(name: "two", file: !2, line: 1, type: !8, scopeLine: 1, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !1)
!11 = distinct !DISubprogram(name: "local", file: !2, line: 2, type: !9, scopeLine: 2, spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized, unit: !1)
!20 = !DILocalVariable(name: "t", arg: 1, scope: !10, type: !4)
!21 = !DILocalVariable(name: "z", arg: 2, scope: !10, type: !3)
!22 = !DILocalVariable(name: "a", arg: 1, scope: !11, type: !3)
!23 = !DILocalVariable(name: "b", arg: 2, scope: !11, type: !3)
!24 = !DILocalVariable(name: "c", arg: 3, scope: !11, type: !3)
!30 = !DILocation(line: 1, scope: !10)
!31 = !DILocation(line: 2, scope: !11)
"""  # noqa: E501  (IR has no line continuation)


def test_records_alone(plugin_19: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.ll"
    source.write_text(RECORDS)
    plugin = plugin_19 / "lib" / "dataflow-args-ret.so"
    argv = [plugin_19 / "bin" / "opt", f"-load-pass-plugin={plugin}", "-passes=kcov-dataflow,verify", "-S", source]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert "store i64 %0, ptr %kcov.dataflow.slot" in body(text, "two")
    assert [c.split(", ")[1:3] for c in calls(text, "two")[:2]] == [["i32 0", "i32 8"], ["i32 1", "i32 4"]]
    assert "store i32 7, ptr %kcov.dataflow.slot" in body(text, "local")
    first, second, third, _ret = calls(text, "local")
    assert first.split(", ")[1:3] == ["i32 0", "i32 4"]
    assert second.endswith("i32 1, i32 0, ptr null, ptr null, i32 0")
    assert third.split(", ")[1:3] == ["i32 2", "i32 4"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("debug", ["-g", "-g0", "-gline-tables-only"])
def test_corpus_is_valid_ir_everywhere(plugin_19: Path, tmp_path: Path, target: str, level: str, debug: str) -> None:
    front = [plugin_19 / "bin" / "clang", *plugins.BY_ADDRESS, f"--target={target}", level, debug]
    assert plugins.verify([*front, *plugins.FREESTANDING], plugins.subjects(tmp_path)) == ""


def test_the_verifier_sees_what_the_pass_left(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """The mistake of the pass that leaves invalid IR is refused, also in a file that is not the first."""
    where = plugins.session(tmp_path_factory)
    sources = plugins.subjects(tmp_path)
    for number, wanted in ((0, ""), (15, "musttail")):
        broken = mutants.build(where, 19, plugins.PASS, tmp_path, number)
        front = [shutil.which("clang-19") or "", f"-fpass-plugin={broken}", "-O2", "-g", *plugins.FREESTANDING]
        front += ["-Xclang", "-fsanitize-coverage-indirect-calls"]
        refused = plugins.verify(front, sources)
        assert (wanted in refused) and bool(refused) == bool(wanted), refused


def test_a_half_removed_derived_object_is_removed(plugin_19: Path, tmp_path: Path) -> None:
    """Base classes hold values: in LLVM's debug information they are no members."""
    source = tmp_path / "derived.cpp"
    source.write_text(
        "struct base { long a; }; struct derived : base { long b; };\n"
        '__attribute__((noinline)) static long f(derived d) { __asm__ volatile("" : "+r"(d.b)); return d.b; }\n'
        '__attribute__((noinline)) long g(derived *d) { __asm__ volatile("" ::: "memory"); return d->a; }\n'
        "long h(long v) { derived d; d.a = v; d.b = v + 1; return f(d) + g(&d); }\n"
    )
    argv = [plugin_19 / "bin/clang++", *plugins.BY_ADDRESS, "-O2", "-g", "-S", "-emit-llvm", source, "-o", "-"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert "(i64 %0)" in body(text, "_ZL1f7derived").splitlines()[0]
    assert "i32 0, i32 0, ptr null" in body(text, "_ZL1f7derived")
    assert re.search(r"@__kcov_dataflow_fields = .* \[i64 \S+, i64 0, i64 8, i64 8, i64 8\]", text)
