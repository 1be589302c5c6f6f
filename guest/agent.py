"""Compile the agent.

Takes its C sources. Gives one static program for one architecture. The agent is freestanding, so it needs no C library
and no sysroot: any clang compiles it for both architectures, and gcc for the host's own.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from core import store
from core.arch import architecture, check_arch
from core.errors import InfraError, UnderTest
from core.runtime import Session

SOURCES = Path(__file__).parent / "agent"
NAME = "agent"

_FLAGS = (
    *("-std=gnu11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror"),
    # Without a C library and its start code: agent.c has its own.
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
)
# Compilers, in the order in which they are tried. The session's runtime looks them up.
_COMPILERS = ("clang-19", "clang-23", "clang", "gcc")
_SECONDS = 120.0


def source_files() -> list[Path]:
    """Return the agent's sources and headers, sorted."""
    return sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])


def compile_command(compiler: str, arch: str, sources: Sequence[str], out: str) -> list[str]:
    """Return the argument list that compiles the agent.

    Raises:
        UserError: there is no such architecture.
    """
    triple = architecture(arch).triple
    if Path(compiler).name.startswith("gcc"):
        return [compiler, *_FLAGS, "-no-pie", "-o", out, *sources]
    return [compiler, f"--target={triple}", *_FLAGS, "-fuse-ld=lld", "-o", out, *sources]


def _version(session: Session, compiler: str) -> str:
    """Return the first line of `--version`; empty if the compiler does not exist."""
    try:
        result = session.run([compiler, "--version"], timeout=_SECONDS)
    except InfraError:
        return ""
    return result.tail[0] if result.ok and result.tail else ""


def _choose(session: Session, arch: str) -> tuple[str, str]:
    for compiler in _COMPILERS:
        if compiler == "gcc" and platform.machine() != architecture(arch).machine:
            continue
        if version := _version(session, compiler):
            return compiler, version
    raise InfraError(
        f"there is no compiler for the agent of an {arch} guest: looked for {', '.join(_COMPILERS)}",
        "install clang-19 and lld-19",
    )


def identity() -> str:
    """Return the sha256 over the names and bytes of the agent's sources."""
    text = hashlib.sha256()
    for source in source_files():
        text.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return text.hexdigest()


def ensure(session: Session, arch: str, workdir: Path) -> Path:
    """Return the agent for an architecture; compile it if the store does not have it.

    Args:
        session: where the compiler runs; it sees `workdir` and may write there.
        workdir: a directory for the compilation.

    Raises:
        InfraError: there is no compiler.
        UnderTest: the agent does not compile.
        UserError: there is no such architecture.
    """
    check_arch(arch)
    sources = source_files()
    compiler, version = _choose(session, arch)
    inputs = {"sources": identity(), "arch": arch, "compiler": version, "flags": list(_FLAGS)}

    def work(tmp: Path) -> dict[str, str]:
        folder = workdir / "agent-build"
        store.remove_tree(folder)
        folder.mkdir(parents=True)
        copies = [Path(shutil.copy(source, folder / source.name)) for source in sources]
        out, log = folder / NAME, folder / "build.log"
        inside = [session.path(copy) for copy in copies if copy.suffix == ".c"]
        argv = compile_command(compiler, arch, inside, session.path(out))
        result = session.run(argv, log=log, timeout=_SECONDS)
        if not result.ok:
            raise UnderTest(
                f"the agent does not compile for {arch}: {result.tail[-1] if result.tail else result.code}", log=log
            )
        shutil.copy(out, tmp / NAME)
        store.remove_tree(folder)
        return {"compiler_version": version}

    return store.make("agent", inputs, work).path / NAME
