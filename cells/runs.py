"""Run a cell: build, boot, capture, check, and keep the result.

What comes in is a cell and a runtime; what goes out is a Result whose folder holds `result.json` from the first moment.
Nothing is judged here: the verdict is the guest's room, the checks are the records' room.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cells import provenance, result
from cells.result import BOOT, Check, Result, finish
from core import store
from core.errors import KitError, UnderTest, UserError
from core.runtime import Runtime
from guest import frames, guests, initramfs, kvm, plan
from guest.frames import Frame
from guest.guests import Capture, Outcome, Start
from guest.initramfs import Entry
from guest.plan import Plan
from guest.qemu import Size, size_of
from guest.verdict import Verdict
from kernel import kernels, pool
from kernel.built import Kernel
from kernel.cell import Cell
from toolchain import toolchains

EXACT = "TCG with -icount: guest time is the number of instructions"


@dataclass(frozen=True)
class Booted:
    """A kernel that was booted, with what came of it.

    Attributes:
        frames: of each splat of the verdict, the first ones.
    """

    kernel: Kernel
    outcome: Outcome
    verdict: Verdict
    captures: Sequence[Capture]
    accelerator: str
    frames: Sequence[Sequence[Frame]] = ()

    def splats(self) -> list[result.Splat]:
        """What went wrong in the kernel, as results tell it."""
        return [
            result.Splat(str(one.kind), one.title, one.line, one.during, [str(frame) for frame in frames])
            for one, frames in zip(self.verdict.splats, self.frames, strict=True)
        ]


class Stages:
    """A clock for the stages of a run.

    Attributes:
        seconds: name of a stage -> its wall time.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def end(self, name: str) -> None:
        """End a stage; the next one begins."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now


def new_folder(label: str) -> Path:
    """A directory for a run, named by time and label.

    Raises:
        InfraError: the disk is full or read-only.
    """
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", label)
    runs = store.home() / "runs"
    with store.disk_errors(runs):
        runs.mkdir(exist_ok=True)
        for count in range(100):
            stamp = time.strftime("%Y%m%d-%H%M%S")
            folder = runs / (f"{stamp}-{words}" if not count else f"{stamp}-{words}-{count}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise AssertionError("a hundred runs of one name in one second")


def boot(
    cell: Cell,
    kernel: Kernel,
    runtime: Runtime,
    todo: Plan,
    folder: Path,
    *,
    program: Path | None = None,
    modules: Sequence[Path] = (),
    files: Sequence[Entry] = (),
    exact: bool = False,
    size: Size | None = None,
) -> Booted:
    """Boot a kernel with a plan and write its captures.

    Args:
        program: the user's static program for the workload `exec`.
        modules: further kernel modules that the plan names.
        files: further files of the guest.
        exact: under TCG, with a clock that counts the guest's instructions.
        size: of the machine; the RFC's by default.

    Raises:
        UnderTest: the guest failed or never reported.
        InfraError: QEMU or the engine failed.
    """
    toolchain = toolchains.ensure(cell.toolchain, runtime, targets=(cell.arch,))
    with toolchains.open_session(toolchain, guests.mounts(kernel.path, folder), devices=guests.DEVICES) as session:
        proved = kvm.prove(kernel.path, cell.arch, session, folder) if not exact else None
        loaded = [path for path in kernel.modules if f"/{initramfs.MODULES_PATH}/{path.name}" in todo.modules]
        start = Start(
            kernel.path,
            cell.arch,
            todo,
            files,
            [*loaded, *modules],
            program,
            proved.name if proved else "tcg",
            exact=exact,
            size=size or Size(),
        )
        with pool.slot():
            outcome = guests.boot(start, session, folder)
        made = outcome.judge()
        symbolizer = session.path(toolchain.product.path / "bin" / "llvm-symbolizer")
        found = frames.resolve(made.splats, kernel.path, session, symbolizer)
    captures = guests.write_captures(outcome, kernel.layout, kernel.key)
    return Booted(kernel, outcome, made, captures, proved.sentence if proved else EXACT, found)


def run(
    cell: Cell,
    runtime: Runtime,
    *,
    seed: str = "",
    guard: bool = True,
    facts: Mapping[str, Any] | None = None,
    copy: Path | None = None,
    control: bool = False,
    boots_only: bool = False,
    smp: str = "",
    memory: str = "",
) -> Result:
    """Take a cell all the way: build, boot, the standard workloads, their checks.

    Args:
        seed: of an earlier run, to repeat its draws.
        facts: what else the result is to tell.
        copy: a second place for result.json.
        control: of a kernel whose configuration has no dataflow, one to compare with, ask only that it boots.
        boots_only: ask that of any kernel, and let it do nothing; the folder's name then begins with BOOT.
        smp, memory: processors of the guest, and its MB, as the user says them; empty for the RFC's.

    Returns:
        The result, whatever its status; `Result.require` turns it into an exit code.

    Raises:
        KitError: it could not be carried through; result.json then holds the reason.
    """
    size_of(smp, memory)
    folder = new_folder(f"{BOOT if boots_only else ''}{cell.label}")
    result = Result(folder, asdict(cell.names), runtime.name, facts=facts or {}, copy=copy).save()
    stages = Stages()
    try:
        kernel = kernels.build(cell, runtime, guard=guard)
        stages.end("build")
        provenance.write(folder, kernel, runtime, result.started)
        todo = plan.draw([], seed=seed) if boots_only else _standard(cell, kernel, seed)
        booted = boot(cell, kernel, runtime, todo, folder, size=size_of(smp, memory, kernel.config))
        stages.end("boot")
        own = {"seed": booted.outcome.plan.seed, **({"device": booted.outcome.said.device} if boots_only else {})}
        result = replace(result, facts={**result.facts, **facts_of(cell, booted), **own})
        booted.verdict.require(booted.outcome.console)
        only_boots = boots_only or (control and not kernel.records)
        checks = _came_up(booted) if only_boots else check(booted)
        stages.end("check")
        wrong = [f"{c.name}: asked {c.asked}, got {c.got}" for c in checks if not c.ok]
        return finish(result, "failed" if wrong else "passed", reasons=wrong, checks=checks, stages=stages.seconds)
    except (KitError, KeyboardInterrupt) as error:
        finish(result, status_of(error), reasons=[str(error) or type(error).__name__], stages=stages.seconds)
        raise


def _standard(cell: Cell, kernel: Kernel, seed: str) -> Plan:
    """The standard workloads, and the sample modules' if the kernel has them.

    Raises:
        UserError: the kernel could not record anything.
    """
    require_sites(cell.profile.name, kernel.config, cell.instrument, lambda: _instrumented(kernel))
    modules = [path.name for path in kernel.modules]
    return plan.draw((*plan.STANDARD, *(plan.SAMPLES if modules else ())), seed=seed, modules=modules)


def facts_of(cell: Cell, booted: Booted) -> dict[str, Any]:
    """Collect what a result tells of a guest; of one that hung, where its memory is as well."""
    return {
        "linux": booted.outcome.said.hello.get("release", ""),
        "kernel": str(booted.kernel.path),
        "toolchain": cell.toolchain.name,
        "accelerator": booted.accelerator,
        "qemu": list(booted.outcome.argv),
        **({"memory": str(booted.outcome.dump)} if booted.outcome.dump else {}),
    }


def _came_up(booted: Booted) -> list[Check]:
    """The one check of a guest that only boots."""
    asked, token = booted.outcome.plan.token, booted.outcome.said.token
    return [Check("the guest said its token at the end", token == asked, asked, str(token))]


def status_of(error: BaseException) -> str:
    """The status of a run that ended with an error."""
    return "failed" if isinstance(error, UnderTest) else "refused" if isinstance(error, UserError) else "lost"


def require_sites(
    profile: str, values: Mapping[str, str], instrument: Sequence[str], instrumented: Callable[[], int]
) -> None:
    """Refuse a kernel that could not record anything, before it is booted for records.

    Args:
        values: its configuration.
        instrument: objects that were opted in; that they have callbacks was looked at when they were built.
        instrumented: counts the functions that report; only asked where makefiles alone could opt something in.

    Raises:
        UserError: no object opts in.
    """
    if instrument or values.get("KCOV_DATAFLOW") != "y" or values.get("KCOV_DATAFLOW_INSTRUMENT_ALL") == "y":
        return
    if not instrumented():
        raise UserError(
            f"profile {profile} records in the objects that opt in, and none does",
            "name some: --instrument fs/open.o,net/; or take the profile all",
        )


def _instrumented(kernel: Kernel) -> int:
    from dataflow import sites, symbols

    mapped = symbols.read(kernel.system_map)
    return len(sites.load(kernel.vmlinux, mapped, ()).instrumented())


def check(booted: Booted) -> list[Check]:
    """The checks of a booted kernel's captures.

    Raises:
        UnderTest: the kernel has no recording device, or a capture cannot be read.
    """
    from dataflow.check import examine, require_device

    require_device(booted.outcome.said.hello)
    folder = booted.outcome.folder / guests.CAPTURES
    return [Check(f.name, f.ok, f.asked, f.got) for f in examine(folder, booted.kernel.path)]
