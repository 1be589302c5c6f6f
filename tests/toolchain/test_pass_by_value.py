"""The pass at generation L3: operands, tables without a hash, inlined functions; and what it tells when run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from core.errors import UserError
from tests import plugins
from tests.plugins import NEEDS_LLVM
from tests.toolchain.test_pass import body
from toolchain import plugin, specs, verify
from toolchain.verify import CORPUS

pytestmark = NEEDS_LLVM
FLAGS = [*plugins.BY_VALUE, "-std=gnu2x"]


def compiled(toolchain: Path, folder: Path, source: str, *more: str) -> str:
    """IR that has passed the verifier."""
    path, out = folder / "x.c", folder / "x.ll"
    path.write_text(source)
    argv = [toolchain / "bin" / "clang", *FLAGS, "-O2", "-g", *more, "-S", "-emit-llvm", path, "-o", out]
    subprocess.run(argv, check=True)
    subprocess.run([toolchain / "bin" / "opt", "-passes=verify", "-disable-output", out], check=True)
    return out.read_text()


def calls(text: str, function: str) -> list[str]:
    """The callbacks of a function with their operands, values left out: `args 0 4 null 0`."""
    found = re.findall(
        r"call void @__sanitizer_cov_trace_(\w+)\((?:i32 (\d+), )?i32 (\d+), i64 \S+, ptr (\S+), i32 (\d+)\)",
        body(text, function),
    )
    return [" ".join(word for word in one if word) for one in found]


def test_manifest(plugin_19_l3: Path) -> None:
    manifest = json.loads((plugin_19_l3 / plugin.MANIFEST).read_text())
    assert manifest["generation"] == "L3"
    assert manifest["callbacks"]["args"] == "i32,i32,i64,ptr,i32"
    assert manifest["callbacks"]["ret"] == "i32,i64,ptr,i32"
    assert manifest["probe"] == {"dataflow": "unknown", "trace": "obeyed", "gated": "unknown"}


def test_tables_have_no_hash_and_the_stack_no_copy(plugin_19_l3: Path, tmp_path: Path) -> None:
    text = compiled(
        plugin_19_l3, tmp_path, "struct pair { char a; int b[2]; }; int f(struct pair *p, short n) { return p->b[n]; }"
    )
    assert (
        "@__kcov_dataflow_fields = private unnamed_addr constant [4 x i64] [i64 0, i64 1, i64 4, i64 8], align 8"
        in text
    )
    assert calls(text, "f") == [
        "args 0 12 @__kcov_dataflow_fields, 2".replace(",", ""),
        "args 1 2 null 0",
        "ret 4 null 0",
    ]
    assert "alloca" not in text
    assert "kcov.dataflow.unsure" not in text
    assert re.search(r"attributes #\d+ = \{[^}]*nomerge", text)


INLINED = """
extern volatile int sink;
static inline int inner(int n, char c) { sink += n; return n * c; }
static inline int assigned(int a, int b) { a = b; sink += a; return a; }
__attribute__((no_sanitize("coverage"))) static inline int quiet(int q) { sink += q; return q; }
static inline void nothing(void) { sink++; }
int outer(int x) { nothing(); return inner(x, 3) + assigned(x, 5) + quiet(x); }
"""


def test_inlined_functions_report_and_what_is_not_sure_is_not_said(plugin_19_l3: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_l3, tmp_path, INLINED)
    assert calls(text, "outer") == [
        "args 0 4 null 0",  # outer's own
        "args 0 4 null 0",
        "args 1 1 null 0",  # inner
        "args 0 0 null 0",  # a is assigned to: its records are of later values
        "args 1 4 null 0",  # assigned
        "ret 4 null 0",
    ]
    only = compiled(plugin_19_l3, tmp_path, INLINED, "-fno-sanitize-coverage=trace-ret")
    assert "trace_ret" not in only


def test_returns(plugin_19_l3: Path, tmp_path: Path) -> None:
    text = compiled(
        plugin_19_l3,
        tmp_path,
        """
        struct two { long a, b; }; struct big { long x[9]; }; extern volatile int sink;
        struct two registers(struct two t) { t.a += sink; return t; }
        struct big memory(struct big b, int k) { b.x[1] = k; return b; }
        void nothing(void) { sink = 1; }
        float real(double d) { return (float)d; }
        """,
    )
    assert calls(text, "registers") == ["args 0 8 null 0", "args 0 8 null 0", "ret 8 null 0", "ret 8 null 0"]
    table = "@__kcov_dataflow_fields 1"
    names = [re.sub(r"fields\.\d+", "fields", one) for one in calls(text, "memory")]
    assert names == [f"args 0 72 {table}", "args 1 4 null 0", f"ret 72 {table}"]
    assert calls(text, "nothing") == ["ret 0 null 0"]
    assert calls(text, "real") == ["args 0 8 null 0", "ret 4 null 0"]


def test_without_debug_information_there_are_positions_only(plugin_19_l3: Path, tmp_path: Path) -> None:
    text = compiled(plugin_19_l3, tmp_path, INLINED, "-g0")
    assert calls(text, "outer") == ["args 0 4 null 0", "ret 4 null 0"]


@pytest.mark.parametrize("target", ["x86_64-linux-gnu", "aarch64-linux-gnu"])
def test_the_corpus_passes_the_verifier(plugin_19_l3: Path, tmp_path: Path, target: str) -> None:
    for level in ("-O0", "-O2", "-Os"):
        front = [plugin_19_l3 / "bin" / "clang", *plugins.BY_VALUE, f"--target={target}", level, "-g"]
        assert plugins.verify([*front, *plugins.FREESTANDING], plugins.subjects(tmp_path)) == ""
        if "x86_64" in target:  # it needs a C library
            assert plugins.verify([*front, "-std=gnu2x"], [CORPUS / "callbacks.c"]) == ""


SUBJECT = """
#include <stdint.h>
struct how { uint64_t flags, mode; }; struct two { long a; int b; };
extern volatile int sink;
static inline int inner(short n, struct how *h) { sink += n; return n + (int)h->mode; }
__attribute__((noinline)) int plain(signed char c, _Bool b, unsigned long l, struct how *h) {
	return b ? inner(c, h) : (int)l; }
__attribute__((noinline)) struct two pair(struct two t, double d) { t.a += (long)d; return t; }
__attribute__((noinline)) void loop(int n) {
	for (int i = 0; i < n; i++) sink += inner((short)i, &(struct how){ 1, i }); }
"""
DRIVER = """
#include <stdint.h>
#include <stdio.h>
struct how { uint64_t flags, mode; }; struct two { long a; int b; };
volatile int sink;
int plain(signed char, _Bool, unsigned long, struct how *); struct two pair(struct two, double); void loop(int);
static void value(uint32_t size, uint64_t v, uint64_t *t, uint32_t n) {
	if (n) { printf(" {"); for (uint32_t i = 0; i < n; i++) printf(" %lx", *(uint64_t *)(v + t[2 * i])); puts(" }"); }
	else printf(" %u:%lx\\n", size, v); }
void __sanitizer_cov_trace_args(uint32_t i, uint32_t size, uint64_t v, uint64_t *t, uint32_t n) {
	printf("%u", i); value(size, v, t, n); }
void __sanitizer_cov_trace_ret(uint32_t size, uint64_t v, uint64_t *t, uint32_t n) {
	printf("="); value(size, v, t, n); }
int main(void) {
	struct how h = { 0x8241, 0640 };
	plain(-2, 1, 99, &h); pair((struct two){ 7, 8 }, 2.5); loop(2); return 0; }
"""
TOLD = """\
0 1:fe
1 1:1
2 8:63
3 { 8241 1a0 }
0 2:fffe
1 { 8241 1a0 }
= 4:19e
0 8:7
0 4:8
1 8:4004000000000000
= 8:9
= 4:8
"""


@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
def test_values_are_what_was_passed(plugin_19_l3: Path, tmp_path: Path, level: str) -> None:
    (tmp_path / "subject.c").write_text(SUBJECT)
    (tmp_path / "driver.c").write_text(DRIVER)
    front = plugin_19_l3 / "bin" / "clang"
    common = [front, level, "-g", "-std=gnu2x"]
    subprocess.run([*common, *FLAGS, "-c", "subject.c", "-o", "subject.o"], check=True, cwd=tmp_path)
    subprocess.run([*common, "driver.c", "subject.o", "-o", "both"], check=True, cwd=tmp_path)
    said = subprocess.run([tmp_path / "both"], check=True, capture_output=True, text=True).stdout
    # Pieces of what came in one register may hold padding above what matters.
    said = re.sub(r"^(0|=) 8:[0-9a-f]*0{8}([0-9a-f]+)$", r"\1 8:\2", said, flags=re.MULTILINE)
    assert said.startswith(TOLD), said
    rest = said.removeprefix(TOLD).splitlines()
    assert rest[0] == "0 4:2"
    assert rest[-1] == "= 0:0"


def test_the_corpus_is_not_asked_of_it() -> None:
    with pytest.raises(UserError, match="plugin-19-l3 passes values"):
        verify.require_addresses(specs.spec("plugin-19-l3"))
    verify.require_addresses(specs.spec("plugin-19"))


def test_each_copy_of_an_inlined_function_reports_its_own_value(plugin_19_l3: Path, tmp_path: Path) -> None:
    """The loop is peeled: the first copy is folded away, and only its record of `v`, which is 0, is left of it."""
    program = tmp_path / "peeled.c"
    program.write_text(
        "#include <stdint.h>\n#include <stdio.h>\n"
        '__attribute__((noinline)) void sink(int a, int b) { __asm__ volatile("" :: "r"(a), "r"(b) : "memory"); }\n'
        "static inline __attribute__((always_inline)) int inner(int first, int v)\n"
        "{ if (first) return v; sink(first, v); return v + 1; }\n"
        "__attribute__((noinline)) int outer(int n)\n"
        "{ int s = 0; for (int i = 0; i < n; i++) s += inner(i == 0, i); return s; }\n"
        "int main(void) { return outer(4) == 0; }\n"
    )
    printer = tmp_path / "printer.c"
    printer.write_text(
        "#include <stdint.h>\n#include <stdio.h>\n"
        "void __sanitizer_cov_trace_args(uint32_t i, uint32_t s, uint64_t v, uint64_t *o, uint32_t n)\n"
        '{ printf("%u %u %d\\n", i, s, (int)v); }\n'
        "void __sanitizer_cov_trace_ret(uint32_t s, uint64_t v, uint64_t *o, uint32_t n) { }\n"
    )
    subprocess.run(
        [plugin_19_l3 / "bin/clang", *FLAGS, "-O2", "-g", "-c", program, "-o", tmp_path / "peeled.o"], check=True
    )
    subprocess.run(["clang-19", tmp_path / "peeled.o", printer, "-o", tmp_path / "peeled"], check=True)
    lines = subprocess.run([tmp_path / "peeled"], check=True, capture_output=True, text=True).stdout.splitlines()
    # outer's n, then for each of three iterations: inner's v (its `first` is gone) and sink's two.
    values = [line for line in lines if line.startswith("1 4 ")]
    assert values == [f"1 4 {v}" for v in (1, 1, 2, 2, 3, 3)]
