"""Run make in a workplace, and copy the results into a product.

Takes an opened and configured workplace. Gives the figures of the build, and a product's files with their hashes. The
output of make is read for progress, warnings and errors. Only make's exit code decides whether the build worked.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import diagnostics, step, store
from core.arch import architecture
from core.errors import UnderTest
from core.progress import Progress
from kconfig import survival
from kernel import built, cache, gates, pool
from kernel.cell import Cell
from kernel.workplace import Workplace

_COMPILED = re.compile(r"^\s+(?:CC|AS|RUSTC|LD|AR|HOSTCC)\b.*\s(\S+)$")
_FRAME = re.compile(r"stack frame size \((\d+)\) exceeds limit")
FRAME_LIMITS = (1024, 2048, 4096)  # bytes: usual values of CONFIG_FRAME_WARN


@dataclass(frozen=True)
class Compiled:
    """The figures of one run of make.

    Attributes:
        seconds: wall time.
        warnings: the distinct warnings, as FILE:LINE: TEXT.
        objects: number of objects that it made.
        cpu_seconds: user and system time of make and all its children.
        sizes: the warnings about the sizes of stack frames.
    """

    seconds: float
    warnings: frozenset[str]
    objects: int
    cpu_seconds: float = 0.0
    sizes: frozenset[str] = frozenset()


def frames(warnings: Iterable[str], limit: int) -> dict[str, int]:
    """Return bytes -> number of functions with a larger frame, for each of FRAME_LIMITS that clang checked.

    Args:
        limit: CONFIG_FRAME_WARN, bytes; 0 turns the warnings off, so the result is empty.

    Format: clang's -Wframe-larger-than.
    """
    sizes = [int(match[1]) for warning in warnings if (match := _FRAME.search(warning))]
    return {str(n): sum(size > n for size in sizes) for n in FRAME_LIMITS if 0 < limit <= n}


def compile_all(place: Workplace) -> Compiled:
    """Compile the kernel of a workplace.

    Raises:
        UnderTest: the kernel does not compile.
        InfraError: make was killed, or the disk is full.
    """
    cell, log = place.ready.cell, place.log
    image = Path(architecture(cell.arch).boot_image).name
    seen, sizes = diagnostics.Log(), set[str]()
    with Progress(f"kernel {cell.profile.name}", _expected_objects(cell), "objects") as progress:

        def listen(line: str) -> None:
            if match := _COMPILED.match(line):
                progress.step(1, match[1])
            else:
                seen.feed(line)
                if _FRAME.search(line):
                    sizes.add(line)

        with pool.slot():
            before = place.session.cpu_seconds()
            done = place.session.run(
                [*place.command, image, "vmlinux"], env=place.env, log=log, on_line=listen, timeout=6 * 3600
            )
        objects = progress.done
    step.require(done, "compiling the kernel", log)
    return Compiled(
        done.seconds,
        frozenset(map(str, seen.warnings)),
        objects,
        place.session.cpu_seconds() - before,
        frozenset(sizes),
    )


def _expected_objects(cell: Cell) -> int | None:
    """Return the largest number of objects of a stored kernel with the same base and architecture, or None."""
    counts = [
        kernel.objects
        for kernel in built.all_kernels()
        if kernel.cell.get("base") == cell.names.base and kernel.arch == cell.arch
    ]
    return max(counts, default=0) or None


def _collect(arch: str, build_dir: Path, out: Path) -> dict[str, Mapping[str, Any]]:
    """Copy the results of a build; return name -> {size in bytes, sha256}."""
    sources = {
        "image": build_dir / architecture(arch).boot_image,
        "vmlinux": build_dir / "vmlinux",
        "System.map": build_dir / "System.map",
        "config": build_dir / ".config",
        "build.log": build_dir / "build.log",
    }
    kept: dict[str, Mapping[str, Any]] = {}
    for name, source in sources.items():
        if not source.is_file():
            raise UnderTest(f"make succeeded, but {source.name} is missing", "read the log", build_dir / "build.log")
        shutil.copyfile(source, out / name)
    modules = [f"{built.MODULES}/{path.name}" for path in sorted((out / built.MODULES).glob("*.ko"))]
    for name in (*sources, *modules):
        kept[name] = {"size": (out / name).stat().st_size, "sha256": store.hash_file(out / name)}
    (out / "files.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    return kept


def keep(place: Workplace, compiled: Compiled, out: Path) -> dict[str, Any]:
    """Copy the results of a build into the directory of a product; return the product's metadata."""
    ready, build_dir = place.ready, place.build_dir
    final = survival.values((build_dir / ".config").read_text())
    kept = _collect(ready.cell.arch, build_dir, out)
    return {
        "cell": asdict(ready.cell.names),
        "release": (build_dir / "include/config/kernel.release").read_text().strip(),
        "tree": str(ready.tree.key),
        "toolchain_manifest": dict(ready.toolchain.manifest),
        "layout": ready.cell.series.layout,
        "files": kept,
        "make_seconds": round(compiled.seconds, 1),
        "cpu_seconds": round(compiled.cpu_seconds, 1),
        "warnings": len(compiled.warnings),
        "frames": frames(compiled.sizes, int(final.get("FRAME_WARN", "0"))),
        "gate_text_sha256": gates.text_hash(out / "vmlinux", out / "System.map"),
        "objects": compiled.objects,
        "jobs": place.jobs,
        "ccache": asdict(cache.read(place.statistics)),
        "command": place.command,
    }
