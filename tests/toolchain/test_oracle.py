"""Random programs: what the pass reports is what an independent witness saw, or removed, under every optimizer."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests import mutants, oracle, plugins
from tests.oracle import Seen
from tests.plugins import NEEDS_LLVM
from toolchain.observe import Observed, Report, read_reports, read_symbols
from toolchain.verify import CORPUS

pytestmark = [
    NEEDS_LLVM,
    pytest.mark.skipif(not (shutil.which("csmith") or os.environ.get("CI")), reason="needs csmith and libcsmith-dev"),
]
FIELD = Path(__file__).parent.parent / "golden" / "field" / "pass"
HEADERS = ["-I/usr/include/csmith"]
# Without inlining, or every function of a program of this size is gone.
LEVELS = (("-O1", "-fno-inline"), ("-O2", "-fno-inline"), ("-O3", "-fno-inline"), ("-Os", "-fno-inline"), ("-O2",))
SHAPE = (
    "--max-funcs",
    "12",
    "--max-block-size",
    "3",
    "--max-block-depth",
    "2",
    "--no-jumps",
    "--max-array-len-per-dim",
    "4",
)
PROGRAMS = 40
FUNCTIONS = 8
# Seeds are fresh in each run. One that fails is printed, and becomes a file of the corpus.
FIRST = int(os.environ.get("KDF_CSMITH_SEED") or random.SystemRandom().randrange(1, 1 << 24))


def generate(seed: int, path: Path) -> None:
    """Write a random program with several functions: many that csmith makes have one."""
    assert shutil.which("csmith"), "apt-get install csmith libcsmith-dev"
    for again in range(50):
        words = ["csmith", "--seed", str(seed * 50 + again), *SHAPE, "--output", str(path)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        if len(set(re.findall(r"\bfunc_\d+\b", path.read_text()))) >= FUNCTIONS:
            return
    raise AssertionError(f"no program with {FUNCTIONS} functions from seed {seed} on")


def reports(flags: Sequence[object], path: Path, folder: Path, helper: Path) -> Mapping[str, Observed]:
    """What the pass reports of a program that was compiled with some flags."""
    made, program = folder / "x.o", folder / "program"
    subprocess.run([*flags, "-w", *HEADERS, "-g", "-c", path, "-o", made], check=True)
    subprocess.run(["clang-19", "-no-pie", made, helper, "-o", program], check=True)
    out = subprocess.run([program], capture_output=True, text=True, check=True, timeout=20, errors="replace").stdout
    symbols = read_symbols(program)
    lines = "\n".join(line for line in out.splitlines() if line[:2] in ("A ", "R "))
    return read_reports(lines, symbols, ())[0]


def agrees(report: Report, value: bytes | None) -> bool:
    """Whether a report is what was passed, or says that it was removed. Of a struct its fields are compared."""
    if value is None or (report.size == 0 and not report.pointer):
        return True
    if report.size != len(value):
        return False
    if report.fields is not None:
        return all(
            field.value is None or field.value == int.from_bytes(value[field.offset :][: min(field.size, 8)], "little")
            for field in report.fields
        )
    return report.value is not None and report.value == int.from_bytes(value[:16], "little")


def wrong(seen: Sequence[Sequence[Report]], truth: Sequence[Seen]) -> str:
    """What was reported although nothing like it was passed: reports must be a subsequence of the truth."""
    left = iter(truth)
    for call in seen:
        if not any(len(call) == len(t.values) and all(map(agrees, call, t.values)) for t in left):
            return str(call)
    return ""


def differences(compiler: Sequence[object], seed: int, folder: Path, helper: Path) -> tuple[int, list[str]]:
    """Compare a random program at all levels; the number of reports, and what differs."""
    path = folder / f"{seed}.c"
    generate(seed, path)
    return compare(compiler, path, folder, helper)


def compare(compiler: Sequence[object], path: Path, folder: Path, helper: Path) -> tuple[int, list[str]]:
    """Compare a program at all levels; the number of reports, and what differs."""
    truth = oracle.truth(path, HEADERS, folder)
    # The functions of csmith's headers have no witness.
    known = {name for _mark, name in truth or {}}
    count, bad = 0, []
    for level in LEVELS if truth is not None else ():
        observed = reports([*compiler, *level], path, folder, helper)
        for name, seen in ((name, observed[name]) for name in known & observed.keys()):
            for mark, calls in (("A", seen.calls), ("R", [[r] for r in seen.returns])):
                count += len(calls)
                if what := wrong(calls, (truth or {}).get((mark, name), [])):
                    bad.append(f"{path.name} {' '.join(level)} {mark} {name}: {what}")
    return count, bad


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("helper") / "callbacks.o"
    subprocess.run(["clang-19", "-O1", "-c", CORPUS / "callbacks.c", "-o", made], check=True)
    return made


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_random_programs(plugin_19: Path, tmp_path: Path, helper: Path, number: int) -> None:
    compiler = [plugin_19 / "bin" / "clang", *plugins.BY_ADDRESS]
    _count, bad = differences(compiler, FIRST + number, tmp_path, helper)
    assert bad == []


@pytest.mark.parametrize("number", [3, 16])
def test_the_oracle_sees_planted_mistakes(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, helper: Path, number: int
) -> None:
    """Mistakes of tests/mutants.py, in programs whose seeds are fixed."""
    broken = mutants.build(plugins.session(tmp_path_factory), 19, plugins.PASS, tmp_path, number)
    compiler = ["clang-19", f"-fpass-plugin={broken}", "-Xclang", "-fsanitize-coverage-indirect-calls"]
    assert any(differences(compiler, seed, tmp_path, helper)[1] for seed in range(1, 9))


def test_the_witness_and_the_pass_saw_something(plugin_19: Path, tmp_path: Path, helper: Path) -> None:
    """A comparison of nothing would pass, too."""
    compiler = [plugin_19 / "bin" / "clang", *plugins.BY_ADDRESS]
    assert sum(differences(compiler, seed, tmp_path, helper)[0] for seed in range(1, 4)) > 50


@pytest.mark.parametrize("name", ["i128-halves", "union-halves", "byval-unused"])
def test_programs_that_were_reported_wrongly(plugin_19: Path, tmp_path: Path, helper: Path, name: str) -> None:
    path = FIELD / f"{name}.c"
    count, bad = compare([plugin_19 / "bin" / "clang", *plugins.BY_ADDRESS], path, tmp_path, helper)
    assert (bad, count > 5) == ([], True)


@pytest.mark.parametrize(("name", "number"), [("i128-halves", 27), ("union-halves", 29), ("byval-unused", 30)])
def test_the_faults_put_back_are_seen(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, helper: Path, name: str, number: int
) -> None:
    broken = mutants.build(plugins.session(tmp_path_factory), 19, plugins.PASS, tmp_path, number)
    compiler = ["clang-19", f"-fpass-plugin={broken}", "-Xclang", "-fsanitize-coverage-indirect-calls"]
    assert compare(compiler, FIELD / f"{name}.c", tmp_path, helper)[1]
