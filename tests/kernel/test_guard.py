"""Compiler and tree: prototypes as the generations of the feature have them, in trees of a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.runtime import HostSession
from kernel import callbacks
from toolchain import probe

# The callbacks of the kernel generations K1 to K5 (arXiv 2606.00455 and the postings), as such a source may spell them.
K1 = """
/* void __sanitizer_cov_trace_args(u32 not_this_one); */
#include <linux/kcov.h>
#define CALLED "void __sanitizer_cov_trace_args(int)"
#ifdef CONFIG_KCOV_DATAFLOW_ARGS
void notrace __sanitizer_cov_trace_args(u64 pc, u32 arg_idx, u32 arg_size, void *arg_ptr, u64 *offsets, u32 num_fields);
noinline notrace __no_sanitize_coverage void
__sanitizer_cov_trace_args(u64 pc, u32 arg_idx, u32 arg_size,
    void *arg_ptr, u64 *offsets, u32 num_fields)
{
    kcov_df_write(pc, arg_idx, arg_size, arg_ptr, offsets, num_fields);
}
EXPORT_SYMBOL(__sanitizer_cov_trace_args);
#endif
void __sanitizer_cov_trace_ret(u64 pc, u32 ret_size, void *ret_val, u64 *offsets, u32 num_fields)
{
    if (pc)
        (void)__sanitizer_cov_trace_args(pc, 0, ret_size, ret_val, offsets, num_fields);
}
EXPORT_SYMBOL(__sanitizer_cov_trace_ret);
"""
# The same operands in other words of C.
WORDS = """
__attribute__((noinline)) void __sanitizer_cov_trace_args(unsigned long pc, unsigned arg_idx, int, const void *p,
    const uint64_t offsets[], unsigned int const num_fields)
{
}
extern void __sanitizer_cov_trace_ret(unsigned long long, __u32 // a size, and no )
    size, void *, u64 *, u32);
"""
L2 = """
void __sanitizer_cov_trace_args(u64 pc, u32 arg_idx, u32 arg_size, u64 val, u64 *offsets, u32 num_fields) { }
void __sanitizer_cov_trace_ret(u64 pc, u32 ret_size, u64 val, u64 *offsets, u32 num_fields) { }
"""
K5 = """
void __sanitizer_cov_trace_args(u32 arg_idx, u32 arg_size, u64 val, u64 *offsets, u32 num_fields) { }
void __sanitizer_cov_trace_ret(u32 ret_size, u64 val, u64 *offsets, u32 num_fields) { }
"""
DATAFLOW = "CFLAGS_KCOV_DATAFLOW := -fsanitize-coverage=dataflow-args,dataflow-ret\n"
TRACE = "# dataflow-args was the older name\nkcov-df-$(CONFIG_KCOV_DATAFLOW_ARGS) += -fsanitize-coverage=trace-args\n"

GATED = "CFLAGS_KCOV_DATAFLOW := -fsanitize-coverage=gated-args,gated-ret\n"


def tree(root: Path, source: str, makefile: str = DATAFLOW, file: str = "kernel/kcov.c") -> Path:
    for name, text in ((file, source), ("scripts/Makefile.kcov", makefile)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def manifest(generation: str | None, **answers: str) -> dict[str, Any]:
    found = None
    if generation:
        args, ret, spelling = probe.GENERATIONS[generation]
        found = {"args": args, "ret": ret, "flags": probe.FLAGS[spelling]}
        answers = {spelling: probe.OBEYED, **answers}
    clang = "Debian clang version 19.1.7 (3+b1)"
    return {"generation": generation, "callbacks": found, "probe": answers, "versions": {"clang": clang}}


@pytest.mark.parametrize(
    ("source", "makefile", "file", "generation"),
    [
        (K1, DATAFLOW, "kernel/kcov.c", "L0"),
        (WORDS, DATAFLOW, "kernel/kcov.c", "L0"),
        (K1, TRACE, "kernel/kcov_dataflow.c", "L1"),
        (L2, TRACE, "kernel/kcov_dataflow.c", "L2"),
        (K5, TRACE, "kernel/kcov_dataflow.c", "L3"),
        (K5, DATAFLOW, "kernel/kcov_dataflow.c", "unknown"),
        (K1, "", "kernel/kcov.c", "L0"),
        (K1, GATED, "kernel/kcov_dataflow.c", "G1"),
        (K5, TRACE, "kernel/trace/other.c", "L3"),
        (K1.replace("void *arg_ptr", "u64 arg_ptr"), DATAFLOW, "kernel/kcov.c", "unknown"),
        (K1.replace("u32 arg_idx", "enum which arg_idx"), DATAFLOW, "kernel/kcov.c", "unknown"),
    ],
)
def test_generations_of_trees(tmp_path: Path, source: str, makefile: str, file: str, generation: str) -> None:
    takes = callbacks.read(tree(tmp_path, source, makefile, file))
    assert takes is not None
    assert takes.where == file
    assert takes.generation == generation


def test_a_tree_with_one_callback(tmp_path: Path) -> None:
    takes = callbacks.read(tree(tmp_path, K5.splitlines()[1], TRACE))
    assert takes == callbacks.Takes("i32,i32,i64,ptr,i32", None, "trace", "kernel/kcov.c")
    assert takes.generation == "L3"
    callbacks.check("x", manifest("L3"), takes, "user", "L3")
    with pytest.raises(UserError, match=r"take arguments \(i32,i32,i64,ptr,i32\), which is generation L3"):
        callbacks.check("x", manifest("L1"), takes, "user", "L3")


def test_a_definition_decides_before_a_prototype(tmp_path: Path) -> None:
    """A prototype that a compiler would refuse beside the definition: what is called is the definition."""
    root = tree(tmp_path, K5, TRACE)
    (root / "include/linux").mkdir(parents=True)
    (root / "include/linux/kcov.h").write_text("void __sanitizer_cov_trace_args(u64 pc);\n")
    takes = callbacks.read(root)
    assert takes is not None
    assert takes.generation == "L3"


def test_two_definitions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in several ways"):
        callbacks.read(tree(tmp_path, K1 + K5))


def test_flags_without_callbacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks the compiler for trace-args, but defines neither"):
        callbacks.read(tree(tmp_path, "int x;", TRACE))


def test_flags_that_no_configuration_turns_on_yet(tmp_path: Path) -> None:
    """A series may bring its build rules before the symbols that they wait for, with the code that is called."""
    makefile = "kcov-df-flags-$(CONFIG_MINE_ARGS) += -fsanitize-coverage=trace-args\n"
    root = tree(tmp_path, "int x;", makefile)
    kconfig = root / "lib/Kconfig.debug"
    kconfig.parent.mkdir()
    kconfig.write_text("config MINE_ALL\n\tbool\n\tdepends on $(cc-option,-fsanitize-coverage=trace-args)\n")
    assert callbacks.read(root) is None
    kconfig.write_text(kconfig.read_text() + 'config MINE_ARGS\n\tbool "x"\n')
    with pytest.raises(UserError, match="asks the compiler for trace-args, but defines neither"):
        callbacks.read(root)
    kconfig.unlink()
    (root / "scripts/Makefile.kcov").write_text(makefile + "kcov-flags-y += -fsanitize-coverage=trace-ret\n")
    with pytest.raises(UserError, match="asks the compiler"):
        callbacks.read(root)


def test_trees_without_callbacks_take_any_compiler(tmp_path: Path) -> None:
    source = 'static const char *known[] = { "__sanitizer_cov_trace_args" };\nint f(void) { return 1; }\n'
    assert callbacks.read(tree(tmp_path, source, "")) is None
    assert callbacks.read(tmp_path / "absent") is None
    for found in (manifest(None), manifest("L0"), manifest("L3")):
        callbacks.check("x", found, None, "none", None)
    with pytest.raises(UserError, match=r"gives the series .* generation L0, but its tree has no callbacks"):
        callbacks.check("x", manifest("L0"), None, "user", "L0")


@pytest.mark.parametrize(("source", "generation"), [(K1, "L0"), (WORDS, "L0")])
def test_a_pair_that_fits(tmp_path: Path, source: str, generation: str) -> None:
    callbacks.check("x", manifest(generation), callbacks.read(tree(tmp_path, source)), "kit", "L0")


@pytest.mark.parametrize("compiler", ["L0", "L1", "L2"])
def test_other_operands_are_refused_by_the_tree_not_by_the_label(tmp_path: Path, compiler: str) -> None:
    takes = callbacks.read(tree(tmp_path, K5, TRACE))
    for label in ("L0", "L3", None):
        with pytest.raises(UserError) as refused:
            callbacks.check("plugin-19", manifest(compiler), takes, "kit", label)
        said = refused.value.message
        assert refused.value.exit_code == 2
        assert f"the toolchain plugin-19 passes arguments ({probe.GENERATIONS[compiler][0]})" in said
        assert f"generation {compiler}" in said
        assert "kernel/kcov.c take arguments (i32,i32,i64,ptr,i32) and returns (i32,i64,ptr,i32)" in said
        assert "generation L3" in said


def test_the_same_operands_by_other_flags(tmp_path: Path) -> None:
    takes = callbacks.read(tree(tmp_path, K1, TRACE))
    with pytest.raises(UserError, match=r"obeys -fsanitize-coverage=dataflow-args.*asks for .*trace-args.*hide"):
        callbacks.check("x", manifest("L0"), takes, "user", "L1")
    callbacks.check("x", manifest("L0", trace=probe.OBEYED), takes, "user", "L1")


def test_gates_and_calls_do_not_meet(tmp_path: Path) -> None:
    """The operands are the same; a kernel that opens gates would wait for records that no object makes."""
    with pytest.raises(UserError, match=r"obeys -fsanitize-coverage=dataflow-args.*asks for .*gated-args"):
        callbacks.check(
            "x", manifest("L0", trace=probe.OBEYED), callbacks.read(tree(tmp_path, K1, GATED)), "user", "G1"
        )
    with pytest.raises(UserError, match=r"obeys -fsanitize-coverage=gated-args.*asks for .*dataflow-args"):
        callbacks.check("x", manifest("G1"), callbacks.read(tree(tmp_path, K1)), "user", "L0")
    callbacks.check("x", manifest("G1"), callbacks.read(tree(tmp_path, K1, GATED)), "user", "G1")


def test_a_wrong_label(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gives the series .* generation L1, but the callbacks in .*generation L0"):
        callbacks.check("x", manifest("L0"), callbacks.read(tree(tmp_path, K1)), "user", "L1")
    callbacks.check("x", manifest("L0"), callbacks.read(tree(tmp_path, K1)), "none", None)


# A compiler that is a shell script: what a probe sees of it is its exit status and what it writes.
_CLANG = """#!/bin/sh
for word; do case $word in -fsanitize-coverage=*) flag=$word ;; esac; done
while [ "$1" != -o ]; do shift; done
case $flag in *%s*) %s ;; esac
%s
"""
_CALLS = (
    'echo "call void @__sanitizer_cov_trace_args(i32 0, i32 8, i64 %1, ptr @t, i32 2)" > "$2"; '
    'echo "call void @__sanitizer_cov_trace_ret(i32 8, i64 %2, ptr null, i32 0)" >> "$2"; exit 0'
)


@pytest.mark.parametrize(
    ("spelling", "then", "otherwise", "answers", "generation"),
    [
        ("nothing", "", "exit 1", {"dataflow": "unknown", "trace": "unknown", "gated": "unknown"}, None),
        (
            "dataflow",
            'echo "ret void" > "$2"; exit 0',
            "exit 1",
            {"dataflow": "ignored", "trace": "unknown", "gated": "unknown"},
            None,
        ),
        ("trace", _CALLS, "exit 1", {"dataflow": "unknown", "trace": "obeyed", "gated": "unknown"}, "L3"),
        ("trace", _CALLS, 'echo > "$2"', {"dataflow": "ignored", "trace": "obeyed", "gated": "ignored"}, "L3"),
        ("dataflow", _CALLS, "exit 1", {"dataflow": "obeyed", "trace": "unknown", "gated": "unknown"}, "unknown"),
    ],
)
def test_what_the_probe_finds(
    tmp_path: Path, spelling: str, then: str, otherwise: str, answers: dict[str, str], generation: str | None
) -> None:
    clang = tmp_path / "clang"
    clang.write_text(_CLANG % (spelling, then or ":", otherwise))
    clang.chmod(0o755)
    found, said = probe.ask(HostSession(), str(clang), tmp_path)
    assert said == answers
    assert (found.name if found else None) == generation


@pytest.mark.parametrize(
    ("clang", "answers", "why"),
    [
        ("Debian clang version 19.1.7 (3+b1)", {"dataflow": "unknown"}, "is a stock clang without the dataflow pass"),
        ("Debian clang version 14.0.6", {"dataflow": "unknown"}, "is Debian clang version 14.0.6, .* needs LLVM 19"),
        ("clang version 23.1.1", {"dataflow": "ignored"}, "accepts -fsanitize-coverage=dataflow-args.* and ignores it"),
        ("clang version 14.0.6", {"trace": "ignored"}, "accepts -fsanitize-coverage=trace-args.* and ignores it"),
    ],
)
def test_compilers_that_call_nothing_have_their_own_sentences(
    tmp_path: Path, clang: str, answers: dict[str, str], why: str
) -> None:
    found = {**manifest(None), "probe": answers, "versions": {"clang": clang}}
    with pytest.raises(UserError, match=why) as refused:
        callbacks.check("mine", found, callbacks.read(tree(tmp_path, K1)), "kit", "L0")
    assert "kernel/kcov.c take arguments (i64,i32,i32,ptr,ptr,i32)" in refused.value.message
