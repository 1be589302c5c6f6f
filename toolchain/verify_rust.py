"""Does a rustc report what the program passes? The Rust part of the corpus: compiled, run, compared with its literals.

What comes in is a session with a toolchain that has a rustc; what goes out is a Verification, like that of C, with the
same callbacks in C. The flags are those that a kernel's Makefile gives to rustc.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import InfraError
from core.runtime import Session
from toolchain import verify
from toolchain.expect import read_corpus
from toolchain.verify import Problem, Tally, Verification

CORPUS = verify.CORPUS / "rust"
_PASS = ("-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=3")
FLAGS = (
    *_PASS,
    "-Cllvm-args=-sanitizer-coverage-dataflow-args",
    "-Cllvm-args=-sanitizer-coverage-dataflow-ret",
)
# Gates call, so there must be no red zone; their text is a file, since Rust code includes no header.
GATED = (
    *_PASS,
    "-Cllvm-args=-sanitizer-coverage-gated-args",
    "-Cllvm-args=-sanitizer-coverage-gated-ret",
    "-Cllvm-args=-sanitizer-coverage-gate-text=gate.txt",
    "-Cno-redzone=y",
)
FLAGS_OF = {"L0": FLAGS, "G1": GATED}
# Always taken; as in gates.h.
GATE = 'jmp %l[cold] # $ is escaped\n\t.pushsection __jump_table, "aw"\n\t.quad %l[cold]\n\t.popsection\n\t'
LEVELS = ("1", "2", "s")


def _script(rustc: str, clang: str, level: str, cases: Sequence[str], flags: Sequence[str]) -> str:
    """A shell script that compiles and runs each case; CASE.failed holds what went wrong."""
    own = shlex.join(
        [rustc, "--edition=2021", f"-Copt-level={level}", "-Cdebuginfo=2", "-Cpanic=abort", "-Ccodegen-units=1",
         "-Crelocation-model=static", "-Awarnings"])  # fmt: skip
    helper = f"{shlex.quote(clang)} -O2 -fno-pie -c"
    lines = [
        f"{helper} ../../callbacks.c -o called.o && {helper} -x c ../../gates.h -o gates.o || exit 9",
        # One name for both: without gates nobody asks for the second one's functions, which are weak.
        f"{shlex.quote(clang)} -nostdlib -r called.o gates.o -o callbacks.o || exit 9",
    ]
    for case in cases:
        subject = f"{own} {shlex.join(flags)} --cfg subject --crate-type=lib --emit=obj=$c.s.o ../$c.rs"
        # The standard library is the driver's alone.
        driver = f"{own} --cfg driver --crate-type=bin -Clink-args='-no-pie $c.s.o callbacks.o' -o $c ../$c.rs"
        command = f"{subject} && {driver} && ./$c > $c.out".replace("$c", case)
        lines.append(f"rm -f {case}.failed; {{ {command}; }} 2> {case}.err || mv {case}.err {case}.failed")
    return "\n".join(lines) + "\n"


def run(
    session: Session, toolchain: Path, work: Path, *, generation: str = "L0", log: Path | None = None
) -> Verification:
    """Compile, run and compare.

    Args:
        session: a place that sees the toolchain and, writable, `work`.
        toolchain: with `bin/rustc` and `bin/clang`.
        work: a directory for objects; made if absent.
        generation: one of FLAGS_OF.

    Raises:
        InfraError: the helper of the corpus does not compile: it is not the pass that is at fault.
    """
    place = work / "rust"
    place.mkdir(parents=True, exist_ok=True)
    for helper in ("callbacks.c", "gates.h"):
        shutil.copyfile(verify.CORPUS / helper, work / helper)
    for source in CORPUS.glob("*.rs"):
        shutil.copyfile(source, place / source.name)
    corpus = read_corpus(CORPUS, suffix=".rs")
    cases = sorted(corpus)
    tallies = {case: Tally() for case in cases}
    problems: list[Problem] = []
    modes = [f"rust -Copt-level={level} -g" for level in LEVELS]
    for mode, level in zip(modes, LEVELS, strict=True):
        folder = place / level
        folder.mkdir(exist_ok=True)
        script = folder / "run.sh"
        tools = session.path(toolchain / "bin")
        (folder / "gate.txt").write_text(GATE)
        script.write_text(_script(f"{tools}/rustc", f"{tools}/clang", level, cases, FLAGS_OF[generation]))
        if not session.run(["sh", session.path(script)], cwd=folder, log=log, timeout=600).ok:
            raise InfraError("the helper of the corpus does not compile", "see the log", log)
        for case in cases:
            if (failed := folder / f"{case}.failed").exists():
                tallies[case].wrong += 1
                words = failed.read_text(errors="replace").strip().splitlines() or ["it ended with an error"]
                problems.append(Problem(f"rust/{case}", mode, "the program", f"cannot be compiled or run: {words[0]}"))
                continue
            tally, found = verify.compare(case, mode, True, folder, corpus[case])
            tallies[case].add(tally)
            problems.extend(replace(one, case=f"rust/{case}") for one in found)
    return Verification({f"rust/{case}": tally for case, tally in tallies.items()}, modes, problems)
