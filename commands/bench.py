"""invoke bench.*: measurements, as ratios to a baseline of the same run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from core.program import command

_ROOT = Path(__file__).parent.parent


def _run(name: str, *args: str) -> None:
    """Run one benchmark program, its output shown.

    Raises:
        UnderTest: a target is missed.
    """
    from core.errors import UnderTest
    from core.process import run

    done = run(
        [sys.executable, "-m", f"tests.bench.{name}", *args], cwd=_ROOT, on_line=lambda line: print(line, flush=True)
    )
    if not done.ok:
        raise UnderTest(f"the benchmark {name} missed a target", "read what it printed above")


@command()
def decode(_c: Any) -> None:
    """Decode and symbolise a million words. Example: ./invoke bench.decode"""
    _run("decode")


@command()
def survival(_c: Any) -> None:
    """Compare a request with a configuration of 12,000 lines. Example: ./invoke bench.survival"""
    _run("survival")


@command(
    help={
        "profile": "a profile",
        "base": "tiny, defconfig or path:FILE",
        "arch": "x86_64 or arm64; this machine's if it is not named",
        "rounds": "how many times each is measured",
    }
)
def configure(_c: Any, profile: str = "kasan-all", base: str = "defconfig", arch: str = "", rounds: int = 5) -> None:
    """What kconfig.check takes beside olddefconfig. Example: ./invoke bench.configure --arch arm64"""
    words = ["--profile", profile, "--base", base, "--rounds", str(rounds)]
    _run("configure", *words, *(["--arch", arch] if arch else []))


@command()
def front(_c: Any) -> None:
    """What the front program costs per compiler call. Example: ./invoke bench.front"""
    _run("front")


@command(
    help={
        "parts": "of same, steps, rebuild, warm, kernel, cold; the first four if none is named",
        "unpatched": "directory with bin/clang of the same LLVM without our patches, for the part kernel",
    }
)
def toolchain(_c: Any, parts: str = "", unpatched: str = "") -> None:
    """What a compiler from source costs. Example: ./invoke bench.toolchain --parts same,steps"""
    words = (("--parts", parts), ("--unpatched", unpatched))
    _run("toolchain", *[word for option, value in words if value for word in (option, value)])
