"""Check that a rustc reports the values that a program passes, by compiling and running the Rust part of the corpus.

Takes a session with a toolchain that has a rustc. Gives a `Verification`, as for C and with the same callbacks in C.
The flags are those that a kernel's Makefile gives to rustc.
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
# Gates call functions, so there must not be a red zone. Their text is a file, because Rust cannot include a header.
GATED = (
    *_PASS,
    "-Cllvm-args=-sanitizer-coverage-gated-args",
    "-Cllvm-args=-sanitizer-coverage-gated-ret",
    "-Cllvm-args=-sanitizer-coverage-gate-text=gate.txt",
    "-Cno-redzone=y",
)
FLAGS_OF = {"L0": FLAGS, "G1": GATED}
# This gate is always taken, as in gates.h.
GATE = 'jmp %l[cold] # $ is escaped\n\t.pushsection __jump_table, "aw"\n\t.quad %l[cold]\n\t.popsection\n\t'
LEVELS = ("1", "2", "s")


def _script(rustc: str, clang: str, level: str, cases: Sequence[str], flags: Sequence[str]) -> str:
    """Return a shell script that compiles and runs each case; errors go to CASE.failed."""
    own = shlex.join(
        [rustc, "--edition=2021", f"-Copt-level={level}", "-Cdebuginfo=2", "-Cpanic=abort", "-Ccodegen-units=1",
         "-Crelocation-model=static", "-Awarnings"])  # fmt: skip
    helper = f"{shlex.quote(clang)} -O2 -fno-pie -c"
    lines = [
        f"{helper} ../../callbacks.c -o called.o && {helper} -x c ../../gates.h -o gates.o || exit 9",
        # One object for both. Without gates, the weak functions of the second one are not used.
        f"{shlex.quote(clang)} -nostdlib -r called.o gates.o -o callbacks.o || exit 9",
    ]
    for case in cases:
        subject = f"{own} {shlex.join(flags)} --cfg subject --crate-type=lib --emit=obj=$c.s.o ../$c.rs"
        # Only the driver uses the standard library.
        driver = f"{own} --cfg driver --crate-type=bin -Clink-args='-no-pie $c.s.o callbacks.o' -o $c ../$c.rs"
        command = f"{subject} && {driver} && ./$c > $c.out".replace("$c", case)
        lines.append(f"rm -f {case}.failed; {{ {command}; }} 2> {case}.err || mv {case}.err {case}.failed")
    return "\n".join(lines) + "\n"


def run(
    session: Session, toolchain: Path, work: Path, *, generation: str = "L0", log: Path | None = None
) -> Verification:
    """Compile, run and compare the Rust part of the corpus.

    Args:
        session: mounts the toolchain and, writable, `work`.
        toolchain: has `bin/rustc` and `bin/clang`.
        work: a directory for objects; it is created if it does not exist.
        generation: one of FLAGS_OF.

    Raises:
        InfraError: the helper of the corpus does not compile, which is not a fault of the pass.
    """
    rust_work = work / "rust"
    rust_work.mkdir(parents=True, exist_ok=True)
    for helper in ("callbacks.c", "gates.h"):
        shutil.copyfile(verify.CORPUS / helper, work / helper)
    for source in CORPUS.glob("*.rs"):
        shutil.copyfile(source, rust_work / source.name)
    corpus = read_corpus(CORPUS, suffix=".rs")
    cases = sorted(corpus)
    tallies = {case: Tally() for case in cases}
    problems: list[Problem] = []
    modes = [f"rust -Copt-level={level} -g" for level in LEVELS]
    for mode, level in zip(modes, LEVELS, strict=True):
        folder = rust_work / level
        folder.mkdir(exist_ok=True)
        script = folder / "run.sh"
        tools = session.path(toolchain / "bin")
        (folder / "gate.txt").write_text(GATE)
        script.write_text(_script(f"{tools}/rustc", f"{tools}/clang", level, cases, FLAGS_OF[generation]))
        if not session.run(["sh", session.path(script)], cwd=folder, log=log, timeout=600).ok:
            raise InfraError("the helper of the corpus does not compile", "read the log", log)
        for case in cases:
            if (failed := folder / f"{case}.failed").exists():
                tallies[case].wrong += 1
                words = failed.read_text(errors="replace").strip().splitlines() or ["it ended with an error"]
                problems.append(Problem(f"rust/{case}", mode, "the program", f"cannot be compiled or run: {words[0]}"))
                continue
            tally, problems_found = verify.compare(case, mode, True, folder, corpus[case])
            tallies[case].add(tally)
            problems.extend(replace(problem, case=f"rust/{case}") for problem in problems_found)
    return Verification({f"rust/{case}": tally for case, tally in tallies.items()}, modes, problems)
