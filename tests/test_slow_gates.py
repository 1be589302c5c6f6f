"""Generation G1 on real kernels: our series with gates, built, booted, every value checked; and under stress."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core import process
from dataflow import image, symbols
from kernel import build as kernels
from kernel import compiled
from kernel.cell import Cell
from tests.e2e import invoke

pytestmark = pytest.mark.slow

CELL = ("--profile", "all", "--base", "tiny", "--series", "kit-g1", "--runtime", "docker")
ASKED = (
    "getpid: __x64_sys_getpid returned the drawn pid",
    "open-close: do_sys_openat2 got the drawn flags | O_LARGEFILE",
    "open-close: do_sys_openat2 got the drawn mode",
    "open-close: do_sys_openat2 returned the descriptor",
    "open-close: every pc is in an instrumented function",
    "open-close: the sequence steps by 1",
    "open-close: value counts equal vmlinux's tables",
    "fork: the child's mode is not in the parent's records",
    "overflow: after zeroing word 0 it records on",
)


def test_values_of_the_first_record() -> None:
    said = invoke("kernel.run", *CELL, "--toolchain", "plugin-19-g1", "--json")
    assert said.code == 0, said.err
    result = said.json()
    held = {c["name"]: c["ok"] for c in result["checks"]}
    assert result["status"] == "passed"
    assert all(held.values())
    for name in ASKED:
        assert held.get(name) is True, name
    shown = invoke("dataflow.show", "--run", result["folder"], "--workload", "open-close", "--json")
    calls = [json.loads(line) for line in shown.out.splitlines()]
    assert [c["function"] for c in calls if c["function"] == "do_sys_openat2"]


# Gates are patched under KASAN and lockdep, beside probes and the function tracer, and modules have them, too.
STRESSED = (
    "PROVE_LOCKING=y", "MODULES=y", "MODULE_UNLOAD=y", "KPROBES=y", "FTRACE=y", "FUNCTION_TRACER=y", "PERF_EVENTS=y",
    "KPROBE_EVENTS=y", "NR_CPUS=4",
)  # fmt: skip
SOURCES = Path(__file__).parent / "gates"


CELL = Cell("plugin-19-g1", "kit-g1", "kasan-all", "tiny", "x86_64", "7.1.8", sets=STRESSED)


def gate_of(function: str) -> int:
    """How far behind the start of a function its first gate is, bytes, in the kernel that is stressed."""
    kernel = kernels.build(CELL, "docker").path
    mapped = symbols.read(kernel / "System.map")
    start = mapped.address(function)
    assert start is not None
    places = image.gates(kernel / "vmlinux")
    return int(places[(places >= start) & (places < mapped.end(start))].min()) - start


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of tests/gates, static, with its module in it, for the kernel that is stressed."""
    kernels.build(CELL, "docker")
    made = tmp_path_factory.mktemp("gates") / "stress"
    with kernels.workplace(kernels.prepare(CELL, "docker")) as place:
        folder = place.build_dir / "gates"
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
        if not (place.build_dir / "vmlinux").is_file():
            place.configure()
            compiled.compile_all(place)
        inside = place.session.path(folder)
        clang = f"{place.session.path(place.ready.toolchain.product.path)}/bin/clang"
        program = [clang, "-O2", "-Wall", "-static", f"-Wa,-I{inside}", f"{inside}/stress.c", "-o", f"{inside}/stress"]
        for words, env in (*place.module_steps(folder), (program, place.env)):
            process.require(place.session.run(words, env=env, log=place.log), f"making {words[-1]}", place.log)
        shutil.copy(folder / "stress", made)
    return made


@pytest.mark.parametrize(
    ("work", "more"),
    [("cycles 10000", ("--smp", "4")), ("module 50", ("--smp", "2")), ("probes", ("--smp", "2"))],
)  # fmt: skip
def test_under_stress(stress: Path, work: str, more: tuple[str, ...]) -> None:
    sets = [word for one in STRESSED for word in ("--set", one)]
    cell = ("--profile", "kasan-all", "--base", "tiny", "--series", "kit-g1", "--runtime", "docker")
    if work == "probes":
        work += f" {gate_of('do_sys_openat2')}"
    said = invoke(
        "test.run", *cell, "--toolchain", "plugin-19-g1", *sets, *more, "--exec", f"{stress} {work}", "--json"
    )
    assert said.code == 0, said.err
    result = said.json()
    assert result["status"] == "passed", result
