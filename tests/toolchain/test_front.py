"""The front programs: what they pass on. The real compiler is a script that writes its arguments down."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PASS = Path(__file__).parent.parent.parent / "toolchain" / "pass"
CC = next((cc for cc in ("clang-19", "clang", "gcc", "cc") if shutil.which(cc)), None)
pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler")

Call = Callable[..., list[str]]


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("front")
    (root / "bin").mkdir()
    fake = root / "real"
    fake.write_text('#!/bin/sh\nprintf "%s\\0" "$0" "$@" "BOOTSTRAP=$RUSTC_BOOTSTRAP"\n')
    fake.chmod(0o755)
    names = {"KDF_CLANG": fake, "KDF_CLANGXX": fake, "KDF_RUSTC": fake}
    defines = [f'-D{name}="{path}"' for name, path in names.items()]
    front = root / "bin" / "clang"
    subprocess.run([str(CC), "-Wall", "-Wextra", "-Werror", *defines, str(PASS / "front.c"), "-o", front], check=True)
    for name in ("clang++", "rustc"):
        (root / "bin" / name).symlink_to("clang")
    return root


@pytest.fixture
def call(toolchain: Path) -> Call:
    def run(*words: str, name: str = "clang") -> list[str]:
        environment = {k: v for k, v in os.environ.items() if k != "RUSTC_BOOTSTRAP"}
        program = toolchain / "bin" / name
        out = subprocess.run([program, *words], capture_output=True, check=True, env=environment).stdout.decode()
        found = out.split("\0")[1:-1]
        return found if name == "rustc" else found[:-1]

    return run


def loading(toolchain: Path, variant: str, *, alone: bool = True) -> list[str]:
    belief = ["-Xclang", "-fsanitize-coverage-indirect-calls"] if alone else []
    plugin = f"-fpass-plugin={toolchain}/lib/{variant}.so"
    return ["--start-no-unused-arguments", plugin, *belief, "--end-no-unused-arguments"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", "a b.c", '-DX="y z"', "-o", "x.o", "", "-Wl,--foo", "ünï"],
        ["-fsanitize-coverage=trace-pc,trace-cmp", "-c", "x.c"],
        ["-fsanitize-coverage=", "x.c"],
        ["-cc1", "-fsanitize-coverage=dataflow-args"],
        ["-o", "-fsanitize-coverage=dataflow-args", "x.c"],
        ["--", "-fsanitize-coverage=dataflow-args"],
        ["-fsanitize-coverage=dataflow-foo", "-c", "x.c"],
    ],
)
def test_passes_through(call: Call, words: list[str]) -> None:
    assert call(*words) == words
    assert call(*words, name="clang++") == words


@pytest.mark.parametrize(
    ("values", "variant"),
    [
        (["dataflow-args"], "dataflow-args"),
        (["dataflow-ret"], "dataflow-ret"),
        (["dataflow-args,dataflow-ret"], "dataflow-args-ret"),
        (["dataflow-ret", "dataflow-args"], "dataflow-args-ret"),
    ],
)
def test_loads_the_variant(toolchain: Path, call: Call, values: list[str], variant: str) -> None:
    flags = [f"-fsanitize-coverage={value}" for value in values]
    assert call("-c", *flags, "x.c") == [*loading(toolchain, variant), "-c", "x.c"]


def test_other_coverage_stays_and_needs_no_belief(toolchain: Path, call: Call) -> None:
    got = call("-fsanitize-coverage=trace-pc,dataflow-args,trace-cmp", "-c", "x.c")
    assert got == [*loading(toolchain, "dataflow-args", alone=False), "-fsanitize-coverage=trace-pc,trace-cmp", "-c",
                   "x.c"]  # fmt: skip


def test_other_coverage_switched_off_again(toolchain: Path, call: Call) -> None:
    got = call("-fsanitize-coverage=trace-pc,dataflow-args", "-fno-sanitize-coverage=trace-pc", "x.c")
    assert got == [*loading(toolchain, "dataflow-args"), "-fsanitize-coverage=trace-pc",
                   "-fno-sanitize-coverage=trace-pc", "x.c"]  # fmt: skip


def test_last_one_wins(toolchain: Path, call: Call) -> None:
    off, on = "-fno-sanitize-coverage=dataflow-args", "-fsanitize-coverage=dataflow-args,dataflow-ret"
    assert call(on, off, "x.c") == [*loading(toolchain, "dataflow-ret"), "x.c"]
    assert call(off, on, "x.c") == [*loading(toolchain, "dataflow-args-ret"), "x.c"]
    assert call(on, off, "-fno-sanitize-coverage=dataflow-ret", "x.c") == ["x.c"]


def test_unknown_values_reach_clang(call: Call) -> None:
    assert "-fsanitize-coverage=dataflow-foo" in call("-fsanitize-coverage=dataflow-args,dataflow-foo", "x.c")


def test_response_files(toolchain: Path, call: Call, tmp_path: Path) -> None:
    inner, outer, other = tmp_path / "inner", tmp_path / "outer", tmp_path / "other"
    inner.write_text('-fsanitize-coverage=dataflow-args "-DX=a b"\n-DY=\\"z\\"')
    outer.write_text(f"-c @{inner}\n")
    other.write_text("-DZ")
    got = call(f"@{outer}", f"@{other}", "@missing")
    assert got == [*loading(toolchain, "dataflow-args"), "-c", "-DX=a b", '-DY="z"', f"@{other}", "@missing"]


def test_found_through_a_link(toolchain: Path, tmp_path: Path) -> None:
    link = tmp_path / "clang"
    link.symlink_to(toolchain / "bin" / "clang")
    out = subprocess.run([link, "-fsanitize-coverage=dataflow-ret"], capture_output=True, check=True).stdout
    assert f"{toolchain}/lib/dataflow-ret.so".encode() in out


COMMON = ["-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=3"]
DATAFLOW = [*COMMON, *(f"-Cllvm-args=-sanitizer-coverage-dataflow-{what}" for what in ("args", "ret"))]
KCOV = [*COMMON, "-Cllvm-args=-sanitizer-coverage-trace-pc"]


def test_rustc_neither(call: Call) -> None:
    assert call("--edition=2021", "x.rs", name="rustc") == ["--edition=2021", "x.rs", "BOOTSTRAP="]


def test_rustc_kcov_alone_is_not_touched(call: Call) -> None:
    assert call(*KCOV, *KCOV, "x.rs", name="rustc") == [*KCOV, *KCOV, "x.rs", "BOOTSTRAP="]


def test_rustc_dataflow_alone_drops_sancov(toolchain: Path, call: Call) -> None:
    got = call(*DATAFLOW, "-Cdebuginfo=2", "x.rs", name="rustc")
    plugin = f"-Zllvm-plugins={toolchain}/lib/dataflow-args-ret.so"
    assert got == ["-Cdebuginfo=2", "x.rs", plugin, "BOOTSTRAP=1"]


def test_rustc_both_keeps_one_sancov(toolchain: Path, call: Call) -> None:
    got = call(*KCOV, *DATAFLOW, "x.rs", name="rustc")
    assert got == ["x.rs", *KCOV, f"-Zllvm-plugins={toolchain}/lib/dataflow-args-ret.so", "BOOTSTRAP=1"]


def test_rustc_other_spellings(toolchain: Path, call: Call) -> None:
    got = call("-C", "llvm-args=-sanitizer-coverage-dataflow-ret -foo", "--codegen=passes=sancov-module",
               "-C", "opt-level=2", name="rustc")  # fmt: skip
    plugin = f"-Zllvm-plugins={toolchain}/lib/dataflow-ret.so"
    assert got == ["-C", "opt-level=2", "-Cllvm-args=-foo", plugin, "BOOTSTRAP=1"]


def test_rustc_proc_macros_get_nothing(call: Call) -> None:
    got = call(*DATAFLOW, "--crate-type", "proc-macro", "x.rs", name="rustc")
    assert got == ["--crate-type", "proc-macro", "x.rs", "BOOTSTRAP="]


# ---- the later postings' words: generation L1 says trace-, L3 says it too and takes other operands ----


@pytest.mark.parametrize(
    ("value", "variant"),
    [
        ("trace-args", "dataflow-args"),
        ("trace-ret", "dataflow-ret"),
        ("trace-args,trace-ret", "dataflow-args-ret"),
        ("trace-args,dataflow-ret", "dataflow-args-ret"),
    ],
)
def test_both_spellings(toolchain: Path, call: Call, value: str, variant: str) -> None:
    assert call(f"-fsanitize-coverage={value}", "-c", "x.c") == [*loading(toolchain, variant), "-c", "x.c"]
    assert call(f"-fsanitize-coverage={value}", "-fno-sanitize-coverage=trace-args,dataflow-ret", "x.c")[-1] == "x.c"


def test_trace_pc_is_none_of_them(toolchain: Path, call: Call) -> None:
    got = call("-fsanitize-coverage=trace-pc,trace-args", "x.c")
    assert got == [*loading(toolchain, "dataflow-args", alone=False), "-fsanitize-coverage=trace-pc", "x.c"]


def test_rustc_takes_both_spellings(toolchain: Path, call: Call) -> None:
    trace = [word.replace("dataflow-", "trace-") for word in DATAFLOW]
    assert call(*trace, "x.rs", name="rustc") == call(*DATAFLOW, "x.rs", name="rustc")
    got = call(*KCOV, *trace, "x.rs", name="rustc")
    assert got == ["x.rs", *KCOV, f"-Zllvm-plugins={toolchain}/lib/dataflow-args-ret.so", "BOOTSTRAP=1"]


def test_by_value_knows_the_later_words_only(tmp_path: Path) -> None:
    """Who says dataflow-args takes addresses: a clang that passes values must not know the word."""
    (tmp_path / "bin").mkdir()
    defines = ["-DKDF_BY_VALUE", '-DKDF_CLANG="/bin/echo"']
    front = tmp_path / "bin" / "clang"
    subprocess.run([str(CC), "-Wall", "-Wextra", "-Werror", *defines, str(PASS / "front.c"), "-o", front], check=True)

    def said(*words: str) -> str:
        return subprocess.run([front, *words], capture_output=True, check=True, text=True).stdout

    assert said("-fsanitize-coverage=dataflow-args", "x.c") == "-fsanitize-coverage=dataflow-args x.c\n"
    assert f"-fpass-plugin={tmp_path}/lib/dataflow-args.so" in said("-fsanitize-coverage=trace-args", "x.c")
    mixed = said("-fsanitize-coverage=trace-args,dataflow-ret", "x.c")
    assert "-fsanitize-coverage=dataflow-ret" in mixed
