"""The agent as a program: C sources in, one static program for one architecture out.

It is freestanding, so any clang makes it for both architectures and a gcc for its own; no C library, no sysroot.
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
    # No libc: nothing may call into one, and no start code but ours.
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
)
# Compilers in the order in which they are tried. A bare name is looked up where the session runs.
_COMPILERS = ("clang-19", "clang-23", "clang", "gcc")
_SECONDS = 120.0


def source_files() -> list[Path]:
    """The agent's sources and headers, sorted."""
    return sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])


def compile_command(compiler: str, arch: str, sources: Sequence[str], out: str) -> list[str]:
    """The argument list that makes the agent.

    Raises:
        UserError: there is no such architecture.
    """
    triple = architecture(arch).triple
    if Path(compiler).name.startswith("gcc"):
        return [compiler, *_FLAGS, "-no-pie", "-o", out, *sources]
    return [compiler, f"--target={triple}", *_FLAGS, "-fuse-ld=lld", "-o", out, *sources]


def _version(session: Session, compiler: str) -> str:
    """The first line of `--version`; empty if there is no such compiler."""
    try:
        said = session.run([compiler, "--version"], timeout=_SECONDS)
    except InfraError:
        return ""
    return said.tail[0] if said.ok and said.tail else ""


def _choose(session: Session, arch: str) -> tuple[str, str]:
    for compiler in _COMPILERS:
        if compiler == "gcc" and platform.machine() != architecture(arch).machine:
            continue
        if version := _version(session, compiler):
            return compiler, version
    raise InfraError(
        f"no compiler for the agent of an {arch} guest: looked for {', '.join(_COMPILERS)}",
        "install clang-19 and lld-19",
    )


def identity() -> str:
    """sha256 over the names and bytes of the agent's sources."""
    text = hashlib.sha256()
    for source in source_files():
        text.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return text.hexdigest()


def ensure(session: Session, arch: str, workdir: Path) -> Path:
    """The agent for an architecture, compiled now if the store does not have it.

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
        place = workdir / "agent-build"
        store.remove_tree(place)
        place.mkdir(parents=True)
        copies = [Path(shutil.copy(source, place / source.name)) for source in sources]
        out, log = place / NAME, place / "build.log"
        inside = [session.path(copy) for copy in copies if copy.suffix == ".c"]
        argv = compile_command(compiler, arch, inside, session.path(out))
        made = session.run(argv, log=log, timeout=_SECONDS)
        if not made.ok:
            raise UnderTest(
                f"the agent does not compile for {arch}: {made.tail[-1] if made.tail else made.code}", log=log
            )
        shutil.copy(out, tmp / NAME)
        store.remove_tree(place)
        return {"compiler_version": version}

    return store.make("agent", inputs, work).path / NAME
