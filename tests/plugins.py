"""Toolchains of the stock LLVM 19 with our pass: each is built once for a whole run of the tests.

The workers of a run share a folder and wait for each other with file locks. The fixtures are in tests/conftest.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from core.process import Finished
from core.runtime import HostSession
from toolchain import plugin
from toolchain.verify import CORPUS

PASS = Path(plugin.__file__).parent / "pass"
NEEDS_LLVM = pytest.mark.skipif(shutil.which("llvm-config-19") is None, reason="needs llvm-19-dev and clang-19")

# What turns dataflow on, by generation; the text of a gate comes from GATES.
BY_ADDRESS = ("-fsanitize-coverage=dataflow-args,dataflow-ret",)
BY_VALUE = ("-fsanitize-coverage=trace-args,trace-ret",)
GATED = ("-fsanitize-coverage=gated-args,gated-ret", "-mno-red-zone")
GATES = ("-include", str(CORPUS / "gates.h"))
# Has clang itself verify what each pass left, also what a plugin left: no process of opt is needed.
VERIFIED = "-fverify-intermediate-code"
# For `subjects`: no C library is needed, of no architecture.
FREESTANDING = (
    "-std=gnu2x", "-ffreestanding", f"-I{CORPUS}", "-DSUBJECT", "-Wno-everything", "-D__STDC_HOSTED__=0",
    "-D_STDLIB_H", "-D_STDINT_H", "-include", "stdint.h",
)  # fmt: skip


def shared(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Make a folder that all workers of this run use; the first that asks fills it, the others wait.

    Args:
        factory: pytest's, whose folders have one parent for all workers.
        name: of the folder.
        fill: is given the empty folder. If it raises, the next that asks tries again.
    """
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    root.mkdir(exist_ok=True)
    folder, filled = root / name, root / f"{name}.filled"
    with FileLock(root / f"{name}.lock"):
        if not filled.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fill(folder)
            filled.touch()
    return folder


@dataclass(frozen=True)
class CompilingOnce:
    """The host, where the same compilation of the pass is done once.

    The pass is the same for each generation, and compiling it takes far longer than all else that a toolchain needs.

    Attributes:
        kept: a folder for the compiled pass.
        linker: of plugins: lld takes a sixth of the time that GNU ld takes, which is what users get.
    """

    kept: Path
    linker: str = "lld"
    name: str = "host"

    def path(self, host_path: Path) -> str:
        return HostSession().path(host_path)

    def cpu_seconds(self) -> float:
        return HostSession().cpu_seconds()

    def run(self, argv: Sequence[str], **options: Any) -> Finished:
        if "-shared" in argv:
            argv = [*argv, f"-fuse-ld={self.linker}"]
        if "-c" not in argv or not argv[argv.index("-c") + 1].endswith(".cpp"):
            return HostSession().run(argv, **options)
        source, made = (Path(argv[argv.index(word) + 1]) for word in ("-c", "-o"))
        same = [word for word in argv if word not in (str(source), str(made))]
        # Deliberate mistakes are looked for in what the pass emits, not in how fast it is.
        if "-DKCOV_DATAFLOW_MUTANTS" in argv:
            argv = [word if word != "-O2" else "-O0" for word in argv]
        key = hashlib.sha256("\0".join([*same, source.read_text()]).encode()).hexdigest()
        kept = self.kept / f"{key}.o"
        with FileLock(kept.with_suffix(".lock")):
            if kept.exists():
                shutil.copyfile(kept, made)
                return Finished(tuple(argv), 0, (), 0.0)
            done = HostSession().run(argv, **options)
            if done.ok:
                shutil.copyfile(made, kept)
            return done


def session(factory: pytest.TempPathFactory, linker: str = "lld") -> CompilingOnce:
    """The session in which the tests build toolchains."""
    return CompilingOnce(shared(factory, "compiled", lambda _folder: None), linker)


def built(factory: pytest.TempPathFactory, name: str, generation: str) -> Path:
    """A folder with a toolchain of a generation (`plugin.GENERATIONS`), built once for all workers."""
    where = session(factory, "bfd" if generation == "L0" else "lld")
    return shared(factory, name, lambda folder: plugin.build(where, 19, PASS, folder, generation=generation))


def subjects(folder: Path) -> list[Path]:
    """Write the subjects of the corpus into a folder, for any architecture.

    The only function of a C library that they use is declared in them.
    """
    sources = []
    for path in sorted(CORPUS.glob("*.c")):
        text = path.read_text()
        if "SUBJECT" in text:
            sources.append(folder / path.name)
            sources[-1].write_text(
                text.replace('#include "corpus.h"', '_Noreturn void exit(int);\n#include "corpus.h"')
            )
    return sources


def verify(compiler: Sequence[object], sources: Sequence[Path]) -> str:
    """Compile C files to IR in one process, which stops at the first that LLVM's verifier refuses.

    Starting clang takes longer than compiling a file of the corpus. It takes one file, but its compiler proper
    (`-cc1`) takes several with one output, which goes nowhere.

    Args:
        compiler: the start of its command line, with flags.
        sources: files in C.

    Returns:
        What it complained about; nothing if all is well.
    """
    first, *others = sources
    more = [word for source in others for word in ("-Xclang", source)]
    argv = [*compiler, VERIFIED, "-fno-crash-diagnostics", "-S", "-emit-llvm", first, *more, "-o", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    compiled = done.stdout.count("\nsource_filename = ")
    if done.returncode == 0 and compiled != len(sources):
        return f"{compiled} of {len(sources)} files were compiled"
    return done.stderr if done.returncode else ""
