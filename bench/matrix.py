"""Measure what a matrix of six cells costs, compared with one cold build of `all`.

Works in a home of its own below the usual one, which lends it sources, trees, toolchains and images. Kernels and the
compiler cache are its own and empty at the start. In order:

    alone    the cell `all`, nothing compiled before: the baseline, and the share of its time outside make and QEMU
    cold     ci.run of the six cells, again with nothing compiled before
    same     cell.run of a cell that is up to date, the start of Python included
    warm     ci.run of the six cells of a source with one changed file in fs/, the cache as `cold` left it

Takes about half an hour on four quiet processors. Prints JSON; exits with 1 if a target is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ci import job, matrices
from core import store
from core.runtime import DockerSession, Runtime
from sources import catalogue

ROOT = Path(__file__).parent.parent.parent
TARGETS = {
    "cold_of_one_build": 3.0,
    "warm_of_one_build": 0.5,
    "idle_cold": 0.1,
    "same_seconds": 0.5,
    "outside_share": 0.03,
}
CHANGED = "fs/open.c"
ALONE = "plugin-19_kit_all_tiny_x86_64_7.1.8"
# What the usual home lends. None of it depends on what is measured.
_LENT = ("agent", "base", "image", "reader", "selftests", "source", "toolchain", "tree")
_MATRIX = """\
defaults: {{toolchain: plugin-19, series: kit, base: tiny, arch: x86_64, linux: "7.1.8", time: short}}
times:
  short: {{minutes: 120, memory_mb: 2500}}
matrices:
  cold: &cells
    about: the six
    axes:
      profile: [none, kcov, dataflow, all, kasan, kasan-all]
    options:
      - where: {{profile: dataflow}}
        instrument: [fs/open.o, fs/namei.o, kernel/sys.o]
  warm:
    about: the six, of another source
    axes:
      profile: [none, kcov, dataflow, all, kasan, kasan-all]
      linux: ["{linux}"]
    options:
      - where: {{profile: dataflow}}
        instrument: [fs/open.o, fs/namei.o, kernel/sys.o]
"""


def lend(usual: Path, home: Path) -> None:
    """Fill a home with links to all products of another home that are not kernels."""
    for kind in _LENT:
        (home / "store" / kind).mkdir(parents=True)
        for product in (usual / "store" / kind).glob("[0-9a-f]*"):
            (home / "store" / kind / product.name).symlink_to(product)
    (home / "downloads").symlink_to(usual / "downloads")


def changed_source(folder: Path) -> Path:
    """Return a Linux source with one more variable in CHANGED; all other files are those of the store."""
    source = catalogue.source_tree(catalogue.default_linux()).path / "src"
    subprocess.run(["cp", "-al", f"{source}/.", str(folder)], check=True)
    file = folder / CHANGED
    text = file.read_text()
    file.unlink()  # or the store's own would change
    file.write_text(f"{text}\nint kdf_bench_touched;\n")
    return folder


def program(home: Path, file: Path, *words: str) -> tuple[int, float, str]:
    """Run one of our commands in a home; return exit code, wall seconds and output."""
    env = {**os.environ, "KDF_HOME": str(home), matrices.VARIABLE: str(file)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "commands.program", *words], env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    return done.returncode, time.perf_counter() - start, done.stdout


def must(done: tuple[int, float, str], what: str) -> tuple[float, str]:
    """Return seconds and output of a command that must have succeeded."""
    code, seconds, out = done
    if code:
        raise SystemExit(f"{what} ended with {code}")
    return seconds, out


def alone() -> dict[str, Any]:
    """Run the cell in this process, so that time in its containers can be separated from our own."""
    inside: dict[str, float] = {}
    usual = DockerSession.run

    def watched(self: DockerSession, argv: Any, **how: Any) -> Any:
        start = time.perf_counter()
        try:
            return usual(self, argv, **how)
        finally:
            name = "qemu" if "qemu-system" in argv[0] else argv[0].rpartition("/")[2]
            inside[name] = inside.get(name, 0.0) + time.perf_counter() - start

    DockerSession.run = watched  # type: ignore[method-assign]
    start = time.perf_counter()
    try:
        done = job.do(matrices.find_cell(ALONE), Runtime("docker"), again=True)
    finally:
        DockerSession.run = usual  # type: ignore[method-assign]
    whole = time.perf_counter() - start
    job.require(done)
    counted = sum(seconds for name, seconds in inside.items() if name in ("make", "qemu"))
    return {
        "one_build_seconds": round(done["stages"]["build"], 1),
        "one_cell_seconds": round(whole, 1),
        "inside_seconds": {name: round(seconds, 1) for name, seconds in sorted(inside.items())},
        "outside_share": round(1 - counted / whole, 4),
    }


def costs(home: Path) -> dict[str, float]:
    """Return profile -> CPU seconds of make for the kernels in a home."""
    metadata = [json.loads(file.read_text()) for file in (home / "store/kernel").glob("*/metadata.json")]
    return {kernel["cell"]["profile"]: kernel["cpu_seconds"] for kernel in metadata}


def run_matrix(home: Path, file: Path, name: str, baseline: float) -> dict[str, Any]:
    """Run a matrix and return its times, the start of Python included.

    Args:
        baseline: seconds of one build.
    """
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    seconds, out = must(program(home, file, "ci.run", "--matrix", name, "--runtime", "docker", "--json"), name)
    whole, share = round(seconds, 1), round(seconds / baseline, 2)
    return {f"{name}_seconds": whole, f"{name}_of_one_build": share, f"idle_{name}": json.loads(out)["idle"]}


def measure(usual: Path, folder: Path) -> dict[str, Any]:
    """Run all parts in a temporary folder."""
    file = folder / "matrix.yaml"
    file.write_text(_MATRIX.format(linux=f"path:{changed_source(folder / 'linux')}"))
    os.environ[matrices.VARIABLE] = str(file)
    homes = {name: folder / name for name in ("first", "second")}
    for home in homes.values():
        lend(usual, home)
    os.environ["KDF_HOME"] = str(homes["first"])
    print("measuring: alone", file=sys.stderr, flush=True)
    figures = alone()
    shutil.rmtree(homes["first"])
    baseline = figures["one_build_seconds"]
    home = homes["second"]
    figures |= run_matrix(home, file, "cold", baseline)
    figures["cpu_seconds"] = costs(home)
    figures["cold_cpu_of_one"] = round(sum(figures["cpu_seconds"].values()) / figures["cpu_seconds"]["all"], 2)
    times = [must(program(home, file, "cell.run", ALONE, "--runtime", "docker"), ALONE)[0] for _ in range(5)]
    figures["same_seconds"] = round(min(times), 2)
    figures |= run_matrix(home, file, "warm", baseline)
    return figures


def main() -> int:
    usual = store.home()
    if not any(usual.glob("store/toolchain/*")):
        raise SystemExit(f"{usual} has no toolchain yet: run ./invoke kernel.run --profile all --base tiny first")
    with tempfile.TemporaryDirectory(dir=usual, prefix="bench-") as folder:
        (Path(folder) / "linux").mkdir()
        figures = measure(usual, Path(folder))
    missed = [name for name, limit in TARGETS.items() if figures[name] is None or figures[name] > limit]
    print(json.dumps({**figures, "targets": TARGETS, "missed": missed}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
