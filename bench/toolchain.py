"""Measure what compilers from source cost: steps, CPU time, rebuilds, and the kernel that they compile.

All ratios are within one run. The toolchain must be built already (`./invoke toolchain.build`). Parts:

    same     a second `toolchain.build` of one key
    steps    steps of our recipe and of the RFC's two, by CMake; two minutes
    rebuild  after a changed pass; two to three minutes
    warm     an empty build directory, the cache warm; two minutes
    kernel   compiling objects of the tiny kernel; needs --unpatched, a compiler of the same recipe without our patches
    faster   what --lto and --pgo cost and win: compiling the same with those of the store
    cold     the RFC's later recipe from nothing: an hour, so only if it is named

Prints JSON; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import store
from core.arch import host_arch
from core.runtime import Image, Mount, Runtime, Session, jobs
from core.store import Product
from kconfig import config
from kernel import kernels
from kernel.cell import CellNames, resolve
from kernel.workplace import make_command
from sources import catalogue
from toolchain import content, image, llvm, recipe, share, specs, toolchains

_DOCKER = Runtime("docker")
ROOT = Path(__file__).parent.parent.parent
PARTS = ("same", "steps", "rebuild", "warm", "kernel", "faster", "cold")
TARGETS = {
    "same_seconds": 1.0,
    "cpu_of_rfc": 0.75,
    "rebuild_cpu_of_cold": 0.06,
    "warm_wall_of_cold": 0.08,
    "kernel_off_cpu_of_unpatched": 1.02,
}
# The later recipe of the RFC without its tests, and the one of the mail: all targets, only clang, no linker.
_PLAIN = {"CMAKE_BUILD_TYPE": "Release", "LLVM_INCLUDE_TESTS": "OFF", "CLANG_INCLUDE_TESTS": "OFF"}
_PLAIN |= {"LLVM_INCLUDE_BENCHMARKS": "OFF", "CMAKE_C_COMPILER": "clang-19", "CMAKE_CXX_COMPILER": "clang++-19"}
RECIPES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "rfc": ({**_PLAIN, "LLVM_ENABLE_PROJECTS": "clang;lld", "LLVM_TARGETS_TO_BUILD": "X86;AArch64"}, "all"),
    "mail": ({**_PLAIN, "LLVM_ENABLE_PROJECTS": "clang"}, "clang"),
}
# Of the tiny kernel: large and small objects of three folders.
OBJECTS = ("kernel/fork.o", "kernel/signal.o", "kernel/sys.o", "mm/memory.o", "mm/mmap.o", "fs/namei.o", "fs/open.o")
_SOURCE, _BUILD, _CCACHE = "/kdf/source", "/kdf/build", "/kdf/ccache"


@dataclass(frozen=True)
class Built:
    """The toolchain under measurement.

    Attributes:
        place: its build directory, with `source` and `build`.
        cold_wall, cold_cpu: seconds of the longest run of Ninja in its build directory: the build from nothing. If that
            was interrupted it is too small, and every ratio to it too large.
        all_cpu: CPU seconds of all runs that led to it: too large rather than too small.
    """

    plan: llvm.Plan
    image: Image
    place: Path
    cold_wall: float
    cold_cpu: float
    all_cpu: float
    steps: int


def look(name: str) -> Built:
    """Return what is known about a toolchain that was built here."""
    own = specs.spec(name)
    own_recipe = recipe.load(llvm.RECIPE)
    made = image.ensure(own_recipe.image)
    plan = llvm.read_plan(own, recipe.choose(own_recipe, llvm.host_arch()), own_recipe)
    place = llvm.build_directory(plan, made.packages, _DOCKER)
    rows = [[float(word) for word in line.split()] for line in (place / "build/usage.txt").read_text().splitlines()]
    wall, user, system, _largest = max(rows)
    facts = share.built(name, _DOCKER).metadata["build"]
    return Built(plan, made, place, wall, user + system, facts["cpu_seconds"], facts["steps"])


@contextmanager
def session_of(
    built: Built, source: Path, build: Path, ccache: Path | None
) -> Iterator[tuple[Session, dict[str, str]]]:
    """Open the place in which the toolchain was compiled, with a build directory of ours."""
    mounts = [Mount(source, _SOURCE), Mount(build, _BUILD, writable=True)]
    env = {"CCACHE_DISABLE": "1"}
    if ccache is not None:
        mounts.append(Mount(ccache, _CCACHE, writable=True))
        # Compile as toolchain.llvm does, else the cache has nothing.
        env = {
            "CCACHE_DIR": _CCACHE,
            "CCACHE_MAXSIZE": "10G",
            "CCACHE_COMPILERCHECK": f"string:{built.image.packages}",
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_BASEDIR": "/kdf",
            "CCACHE_SLOPPINESS": "pch_defines,time_macros",
        }
    with _DOCKER.open_session(image=built.image, mounts=mounts) as session:
        yield session, env


def timed(session: Session, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[float, float, list[str]]:
    """Return wall and CPU seconds of a command that must succeed, and its lines."""
    lines: list[str] = []
    shell = 'TIMEFORMAT="TIMED %R %U %S"; time "$@" 2>&1'
    done = session.run(["bash", "-c", shell, "bash", *argv], cwd=cwd, env=env, on_line=lines.append)
    if not done.ok:
        raise SystemExit(f"{' '.join(argv)} failed:\n" + "\n".join(lines[-20:]))
    found = re.search(r"TIMED ([\d.]+) ([\d.]+) ([\d.]+)", "\n".join(lines[-3:]))
    assert found is not None
    return float(found[1]), float(found[2]) + float(found[3]), lines


def same(built: Built) -> dict[str, Any]:
    """Time a second `toolchain.build` of one key, the start of Python included."""
    seconds = []
    for _round in range(3):
        start = time.perf_counter()
        words = [str(ROOT / "invoke"), "toolchain.build", "--name", built.plan.spec.name, "--runtime", "docker"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        seconds.append(time.perf_counter() - start)
    return {"same_seconds": round(min(seconds), 2)}


def configure(built: Built, name: str, build: Path, source: Path) -> list[str]:
    """Run CMake for a recipe of RECIPES and return the outputs of its steps."""
    variables, target = RECIPES[name]
    words = [f"-D{key}={value}" for key, value in variables.items()]
    with session_of(built, source, build, None) as (session, env):
        timed(session, ["cmake", "-G", "Ninja", *words, f"{_SOURCE}/llvm"], build, env)
        # A dry run of an empty build directory lists every step (ninja -n); -v shows the command, not a description.
        _wall, _cpu, lines = timed(session, ["ninja", "-n", "-v", target], build, env)
    return [line for line in lines if re.match(r"\[\d+/\d+\] ", line)]


def outputs(lines: Sequence[str]) -> list[str]:
    """Return what the steps of a dry run make: the operand of -o, else the whole command."""
    names = []
    for line in lines:
        match = re.search(r" -o (\S+)", line)
        names.append(match[1] if match else line.partition("] ")[2])
    return names


def costs(build: Path) -> dict[str, float]:
    """Return the seconds of each step, of its longest run (.ninja_log: start, end in ms, mtime, output, hash)."""
    seconds: dict[str, float] = {}
    for line in (build / ".ninja_log").read_text().splitlines()[1:]:
        start, end, _mtime, output, _hash = line.split("\t")
        seconds[output] = max(seconds.get(output, 0.0), (int(end) - int(start)) / 1000)
    return seconds


def kind(output: str) -> str:
    """Return the kind of a step. Steps of a kind cost about the same: objects of a library, links of tools, others."""
    if output.endswith(".o"):
        # The targets' back ends are alike: what is not built here costs what the host's does.
        return re.sub(r"/Target/[^/]+/", "/Target/X86/", str(Path(output.partition("CMakeFiles/")[0])) + "/")
    return "link" if output.startswith("bin/") else "rest"


def estimate(wanted: Sequence[str], known: Mapping[str, float]) -> tuple[float, float]:
    """Return seconds of steps, from the same step here or the mean of its kind, and the share of such means."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for output, seconds in known.items():
        by_kind[kind(output)].append(seconds)
    objects = [seconds for output, seconds in known.items() if output.endswith(".o")]
    total = guessed = 0.0
    for output in wanted:
        if output in known:
            total += known[output]
            continue
        alike = by_kind.get(kind(output)) or objects
        seconds = sum(alike) / len(alike)
        total += seconds
        guessed += seconds
    return total, guessed / total


def steps(built: Built) -> dict[str, Any]:
    """Return the steps of our recipe and the others, and the estimated cost of the others."""
    figures: dict[str, Any] = {"steps": {"ours": built.steps}}
    source = catalogue.source_tree(built.plan.spec.source).path / "src"
    known = costs(built.place / "build")
    ours = sum(known.values())
    for name in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            lines = configure(built, name, Path(folder), source)
        figures["steps"][name] = len(lines)
        seconds, guessed = estimate(outputs(lines), known)
        figures[f"estimated_cpu_of_{name}"] = round(ours / seconds, 3)
        figures[f"guessed_share_of_{name}"] = round(guessed, 3)
    return figures


def rebuild(built: Built) -> dict[str, Any]:
    """Time Ninja after a real change of the pass, and restore the source."""
    place = next(iter(sorted(to for to in built.plan.copies.values() if to.endswith(".cpp"))))
    file = built.place / "source" / place
    before = file.read_bytes()
    ccache = store.home() / "ccache-llvm"
    new = f'\nextern const char kdf_bench[];\nconst char kdf_bench[] = "{secrets.token_hex(8)}";\n'
    found = {}

    def write(content: bytes) -> None:
        beside = file.with_name(f".{file.name}.bench")
        beside.write_bytes(content)
        beside.replace(file)

    with store.lock(f"build-{built.place.name}"):
        try:
            with session_of(built, built.place / "source", built.place / "build", ccache) as (session, env):
                ninja = ["ninja", f"-j{jobs(5 << 28)}", "distribution"]
                timed(session, ninja, built.place / "build", env)
                write(before + new.encode())
                wall, cpu, lines = timed(session, ninja, built.place / "build", env)
                found = {
                    "rebuild_steps": sum(1 for line in lines if line.startswith("[")),
                    "rebuild_wall_seconds": wall,
                    "rebuild_cpu_of_cold": round(cpu / built.cold_cpu, 4),
                }
                write(before)
                timed(session, ninja, built.place / "build", env)
        finally:
            if file.read_bytes() != before:
                write(before)
    return found


def warm(built: Built) -> dict[str, Any]:
    """Time CMake and Ninja in an empty build directory with a warm cache."""
    ccache = store.home() / "ccache-llvm"
    with tempfile.TemporaryDirectory(dir=built.place.parent) as folder:
        build = Path(folder)
        with session_of(built, built.place / "source", build, ccache) as (session, env):
            words = {**built.plan.variables(), "LLVM_PARALLEL_LINK_JOBS": "4"}
            cmake = ["cmake", "-G", "Ninja", *recipe.arguments(words), f"{_SOURCE}/llvm"]
            first, _cpu, _lines = timed(session, cmake, build, env)
            parallel = f"-j{jobs(5 << 28)}"
            second, cpu, _lines = timed(session, ["ninja", parallel, "distribution"], build, env)
    return {
        "warm_wall_seconds": round(first + second, 1),
        "warm_cpu_seconds": round(cpu, 1),
        "warm_wall_of_cold": round((first + second) / built.cold_wall, 4),
    }


@dataclass(frozen=True)
class Variant:
    """A compiler and what it compiles.

    Attributes:
        profile: of the kernel.
        root: directory with `bin/clang`.
    """

    profile: str
    root: Path


def compile_times(built: Built, variants: Mapping[str, Variant], rounds: int) -> dict[str, float]:
    """Return variant -> CPU seconds of compiling OBJECTS of the tiny kernel.

    Takes turns between the variants for each object, and uses the best round of each. Whole builds differ by more than
    the effect to be measured.
    """
    cell = resolve(CellNames(built.plan.spec.name, "kit", "none", "tiny", host_arch(), catalogue.default_linux()))
    ready = {name: kernels.prepare(cell.with_profile(variant.profile), _DOCKER) for name, variant in variants.items()}
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    first = next(iter(ready.values()))
    tree = first.tree.path / "linux"
    with tempfile.TemporaryDirectory(dir=store.home()) as folder:
        root = Path(folder)
        mounts = [Mount(tree, "/kdf/tree"), Mount(root, _BUILD, writable=True)]
        mounts += [Mount(variant.root, f"/kdf/of/{name}") for name, variant in variants.items()]
        with toolchains.open_session(first.toolchain, mounts) as session:
            commands = {}
            for name, variant in ready.items():
                build = root / name
                build.mkdir()
                words = make_command(variant, session, tree, build, len(os.sched_getaffinity(0)))
                words = [word.replace("CC=ccache ", "CC=") for word in words]
                commands[name] = [word.replace(toolchains.INSIDE, f"/kdf/of/{name}") for word in words]
                config.make_config(session, tree, build, commands[name], variant.request, root / "configure.log")
                timed(session, [*commands[name], "prepare"], build, {})
                timed(session, [*commands[name], *OBJECTS], build, {})
            for number in range(rounds):
                # There and back, so that a machine that becomes slower or faster affects all variants.
                order = list(commands) if number % 2 == 0 else list(reversed(commands))
                for file in OBJECTS:
                    for name in order:
                        _wall, cpu, _lines = timed(session, ["sh", "-c", saved(root / name, file)], root / name, {})
                        seconds[name, file].append(cpu)
    return {name: sum(min(seconds[name, file]) for file in OBJECTS) for name in variants}


def kernel(built: Built, unpatched: Path, rounds: int) -> dict[str, Any]:
    """Return CPU times of compiling the kernel: unpatched, patched with the feature off, patched with `all`."""
    mine = share.built(built.plan.spec.name, _DOCKER).path
    variants = {"unpatched": Variant("none", unpatched), "off": Variant("none", mine), "all": Variant("all", mine)}
    best = compile_times(built, variants, rounds)
    return {
        "kernel_objects": len(OBJECTS),
        "kernel_cpu_seconds": {name: round(value, 2) for name, value in best.items()},
        "kernel_off_cpu_of_unpatched": round(best["off"] / best["unpatched"], 4),
        "kernel_all_cpu_of_unpatched": round(best["all"] / best["unpatched"], 4),
    }


def faster(built: Built, rounds: int) -> dict[str, Any]:
    """Return what --lto and --pgo cost and gain: CPU time of the builds, and of the kernel that they compile."""
    by_key = {product.key: product for product in store.products()}
    usual = share.built(built.plan.spec.name, _DOCKER)
    wanted = content.plain(usual.metadata["inputs"])
    names_of: dict[str, Product] = {}
    for product in by_key.values():
        inputs = product.metadata["inputs"]
        if product.kind == "toolchain" and "build" in product.metadata and content.plain(inputs) == wanted:
            words = [inputs["variables"].get("LLVM_ENABLE_LTO", "").lower(), "pgo" if "profile" in inputs else ""]
            names_of["-".join(word for word in words if word) or "plain"] = product
    if len(names_of) < 2 or "plain" not in names_of:
        raise SystemExit(f"the store has {', '.join(names_of) or 'nothing'}: build plain, --lto thin or --pgo first")
    best = compile_times(built, {name: Variant("all", product.path) for name, product in names_of.items()}, rounds)
    cost = {name: product.metadata["build"]["cpu_seconds"] for name, product in names_of.items()}
    trained = [product for product in by_key.values() if product.kind == "profile"]
    for product in trained[-1:]:
        counting = by_key[product.metadata["inputs"]["training"]]
        cost["counting"], cost["training"] = counting.metadata["build"]["cpu_seconds"], product.metadata["cpu_seconds"]
    return {
        "faster_build_cpu_seconds": cost,
        "faster_bytes": {name: store.size_of(product.path) for name, product in names_of.items()},
        "faster_kernel_cpu_seconds": {name: round(value, 2) for name, value in best.items()},
        "faster_kernel_cpu_of_plain": {name: round(value / best["plain"], 3) for name, value in best.items()},
    }


def saved(build: Path, file: str) -> str:
    """Return the compiler call of an object as Kbuild saves it (scripts/Kbuild.include, savedcmd), without objtool."""
    path = build / file
    line = (path.parent / f".{path.name}.cmd").read_text().splitlines()[0]
    return line.partition(" := ")[2].partition(" ; ")[0].replace("$$", "$").replace("$(pound)", "#")


def cold(built: Built) -> dict[str, Any]:
    """Time the RFC's later recipe from nothing, without a cache: the CPU time that ours is compared with."""
    source = catalogue.source_tree(built.plan.spec.source).path / "src"
    with tempfile.TemporaryDirectory(dir=built.place.parent) as folder:
        build = Path(folder)
        configure(built, "rfc", build, source)
        with session_of(built, source, build, None) as (session, env):
            wall, cpu, _lines = timed(session, ["ninja", f"-j{jobs(5 << 28)}", "all"], build, env)
    return {
        "rfc_wall_seconds": wall,
        "rfc_cpu_seconds": round(cpu, 1),
        "cpu_of_rfc": round(built.all_cpu / cpu, 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="llvm-23")
    parser.add_argument("--parts", default=",".join(PARTS[:4]), help=f"of {','.join(PARTS)}")
    parser.add_argument("--unpatched", type=Path, help="directory with bin/clang, for the part kernel")
    parser.add_argument("--rounds", type=int, default=6, help="of the parts kernel and faster")
    asked = parser.parse_args(argv)
    parts = asked.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if "kernel" in parts and asked.unpatched is None:
        parser.error("the part kernel needs --unpatched")
    built = look(asked.name)
    figures: dict[str, Any] = {"cold_wall_seconds": built.cold_wall, "cold_cpu_seconds": round(built.cold_cpu, 1)}
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "same": lambda: same(built),
        "steps": lambda: steps(built),
        "rebuild": lambda: rebuild(built),
        "warm": lambda: warm(built),
        "kernel": lambda: kernel(built, asked.unpatched, asked.rounds),
        "faster": lambda: faster(built, asked.rounds),
        "cold": lambda: cold(built),
    }
    for part in parts:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        figures.update(work[part]())
    missed = [name for name, limit in TARGETS.items() if name in figures and figures[name] > limit]
    print(json.dumps({**figures, "targets": TARGETS, "missed": missed}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
