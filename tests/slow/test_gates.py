"""Generation G1 on real kernels: our series with gates, built, booted, every value checked; and under stress."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from core import step
from core.runtime import Runtime
from dataflow import image, symbols
from kernel import compilation, kernels
from kernel.cell import CellNames, resolve
from kernel.workplace import open_workplace
from tests.e2e.user import first_record, invoke

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parent.parent / "gates"
# Gates are patched under KASAN and lockdep, beside probes, tracers and live patches. Modules have gates, too.
STRESSED = (
    "PROVE_LOCKING=y", "MODULES=y", "MODULE_UNLOAD=y", "KPROBES=y", "FTRACE=y", "FUNCTION_TRACER=y", "PERF_EVENTS=y",
    "KPROBE_EVENTS=y", "LIVEPATCH=y", "UNWINDER_ORC=y", "NR_CPUS=4",
)  # fmt: skip
# A probe becomes a jump of so many bytes if the kernel can (arch/x86/include/asm/text-patching.h, JMP32_INSN_SIZE).
JUMP = 5
CELL = resolve(CellNames("plugin-19-g1", "kit-g1", "kasan-all", "tiny", "x86_64", "7.1.8", sets=STRESSED))


def test_values_of_the_first_record() -> None:
    assert first_record("kit-g1", "plugin-19-g1", "an instrumented function's start")


def test_the_frame_pointer_unwinder_does_not_go_with_gates() -> None:
    unwinder = ("--set", "UNWINDER_GUESS=n", "--set", "UNWINDER_FRAME_POINTER=y")
    cell = ("--base", "tiny", "--series", "kit-g1", "--toolchain", "plugin-19-g1", "--runtime", "docker")
    said = invoke("kconfig.check", "all", *cell, *unwinder)
    assert said.code == 1, said.err
    assert "KCOV_DATAFLOW_ARGS=y needs UNWINDER_FRAME_POINTER=n, which is y" in said.err


def gate_of(function: str) -> tuple[int, int]:
    """How far behind a function's start its first gate is, and the instruction before that, in the stressed kernel."""
    kernel = kernels.build(CELL, Runtime("docker")).path
    mapped = symbols.read(kernel / "System.map")
    start = mapped.address(function)
    assert start is not None
    places = image.gates(kernel / "vmlinux")
    gate = int(places[(places >= start) & (places < mapped.end(start))].min())
    code = image.vmlinux(kernel / "vmlinux").read(start, gate - start)
    before = [one.address for one in Cs(CS_ARCH_X86, CS_MODE_64).disasm(code, start)][-1]
    # Else a jump in its place would not reach the gate, and the test would prove nothing.
    assert start < before < gate < before + JUMP
    return gate - start, before - start


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of tests/gates, static, with its module in it, for the kernel that is stressed."""
    kernels.build(CELL, Runtime("docker"))
    made = tmp_path_factory.mktemp("gates") / "stress"
    with open_workplace(kernels.prepare(CELL, Runtime("docker"))) as place:
        folder = place.build_dir / "gates"
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
        if not (place.build_dir / "vmlinux").is_file():
            place.configure()
            compilation.compile_all(place)
        inside = place.session.path(folder)
        clang = f"{place.session.path(place.ready.toolchain.product.path)}/bin/clang"
        program = [clang, "-O2", "-Wall", "-static", f"-Wa,-I{inside}", f"{inside}/stress.c", "-o", f"{inside}/stress"]
        for words, env in (*place.module_steps(folder), (program, place.env)):
            step.require(place.session.run(words, env=env, log=place.log), f"making {words[-1]}", place.log)
        shutil.copy(folder / "stress", made)
    return made


@pytest.mark.parametrize(
    ("work", "more"),
    [
        ("cycles 10000", ("--smp", "4")), ("module 50", ("--smp", "2")), ("probes", ("--smp", "2")),
        ("patches 6", ("--smp", "2")),
    ],
)  # fmt: skip
def test_under_stress(stress: Path, work: str, more: tuple[str, ...]) -> None:
    sets = [word for one in STRESSED for word in ("--set", one)]
    cell = ("--profile", "kasan-all", "--base", "tiny", "--series", "kit-g1", "--runtime", "docker")
    if work == "probes":
        work += " {} {}".format(*gate_of("do_sys_openat2"))
    said = invoke(
        "test.run", *cell, "--toolchain", "plugin-19-g1", *sets, *more, "--exec", f"{stress} {work}", "--json"
    )
    assert said.code == 0, said.err
    result = said.json()
    assert result["status"] == "passed", result
