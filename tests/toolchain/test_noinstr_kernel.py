"""Kernel objects with noinstr code, before objtool: no callback in it, for x86-64 and arm64.

The tree is the unpatched one: the flags take the place of KCOV's, on every object that KCOV instruments.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core import runtime
from core.runtime import Mount, Session
from sources import catalogue
from tests import mutants
from toolchain import noinstr, plugin, specs, toolchains

pytestmark = pytest.mark.e2e
PASS = Path(plugin.__file__).parent / "pass"
FLAGS = "-fsanitize-coverage=dataflow-args,dataflow-ret"
CONFIG = """
CONFIG_64BIT=y
CONFIG_SMP=y
CONFIG_PRINTK=y
CONFIG_PREEMPT=y
CONFIG_IA32_EMULATION=y
CONFIG_DEBUG_KERNEL=y
CONFIG_DEBUG_INFO_DWARF5=y
CONFIG_DEBUG_FS=y
CONFIG_KCOV=y
CONFIG_KCOV_INSTRUMENT_ALL=y
CONFIG_BUG=y
"""
# Objects of Linux 7.1.8 that KCOV instruments and that have code in one of the sections.
OBJECTS = {
    "x86_64": [
        "arch/x86/kernel/traps.o",
        "arch/x86/kernel/nmi.o",
        "arch/x86/kernel/process.o",
        "arch/x86/kernel/irq.o",
        "arch/x86/kernel/alternative.o",
        "arch/x86/mm/fault.o",
        "kernel/time/timekeeping.o",
    ],
    "arm64": [
        "arch/arm64/kernel/alternative.o",
        "arch/arm64/kernel/patching.o",
        "arch/arm64/kernel/proton-pack.o",
        "arch/arm64/kernel/stacktrace.o",
        "arch/arm64/mm/mmu.o",
        "kernel/context_tracking.o",
        "kernel/time/timekeeping.o",
        "kernel/time/sched_clock.o",
    ],
}


class Kernel:
    """One build directory in one session."""

    def __init__(self, session: Session, tools: Path, tree: Path, folder: Path, arch: str) -> None:
        self.session, self.tools, self.tree, self.folder, self.arch = session, tools, tree, folder, arch

    def make(self, *words: str) -> None:
        said: list[str] = []
        llvm = f"{self.session.path(self.tools)}/bin/"
        argv = ["make", "-C", self.session.path(self.tree), f"O={self.session.path(self.folder)}", f"ARCH={self.arch}",
                f"LLVM={llvm}", "KBUILD_BUILD_TIMESTAMP=2026-01-01", "OBJECT_FILES_NON_STANDARD=y", *words]  # fmt: skip
        ended = self.session.run(argv, on_line=said.append, timeout=1800)
        assert ended.ok, "\n".join(said[-40:])

    def configure(self) -> None:
        self.make("tinyconfig")
        with (self.folder / ".config").open("a") as config:
            config.write(CONFIG)
        self.make("olddefconfig")

    def compile(self, objects: Sequence[str], flags: str) -> noinstr.Scan:
        """Compile some objects (objtool is kept off them by OBJECT_FILES_NON_STANDARD) and scan just these."""
        self.make(f"-j{min(4, runtime.jobs())}", f"CFLAGS_KCOV={flags}", *objects)
        found = [noinstr.scan_object(self.folder / name) for name in objects]
        scans = [f for f in found if f is not None]
        offences = tuple(o for s in scans for o in s[2])
        return noinstr.Scan(len(scans), sum(s[0] for s in scans), sum(s[1] for s in scans), offences)


@pytest.fixture(params=sorted(OBJECTS))
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    tree = Path(os.environ.get("KDF_TEST_LINUX") or catalogue.source_tree(catalogue.load()[0]).path / "src")
    tools = toolchains.ensure(specs.spec("plugin-19"), runtime.choose())
    folder = tmp_path / "build"
    folder.mkdir()
    mounts = [Mount(tree, "/kdf/tree"), Mount(folder, "/kdf/build", writable=True), Mount(PASS, "/kdf/pass")]
    with toolchains.open_session(tools, mounts) as session:
        made = Kernel(session, tools.product.path, tree, folder, request.param)
        made.configure()
        yield made


def test_no_callback_in_noinstr_code(kernel: Kernel) -> None:
    objects = OBJECTS[kernel.arch]
    found = kernel.compile(objects, FLAGS)
    assert found.offences == ()
    assert found.objects == found.instrumented == len(objects)
    assert found.protected == len(objects)


def test_the_scan_would_see_them(kernel: Kernel) -> None:
    """The control: a pass that ignores the attribute and the sections (mutant 6) is caught in the same objects."""
    folder = kernel.folder / "faulty"
    broken = mutants.build(kernel.session, 19, PASS, folder, 6)
    flags = f"-fpass-plugin={kernel.session.path(broken)}"
    found = kernel.compile(OBJECTS[kernel.arch][:2], flags)
    assert sum(o.callbacks for o in found.offences) > 0
