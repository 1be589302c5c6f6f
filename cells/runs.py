"""Run a cell: build, boot, capture, check, and save the result.

Takes a cell and a runtime. Gives a Result; its folder has a `result.json` from the start. Never judges itself: the
verdict comes from `guest.verdict`, the checks of the records from `dataflow.checks`.
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
    """A kernel that was booted, and the results.

    Attributes:
        accelerator: a sentence about KVM or TCG.
        frames: the first frames of each splat of the verdict.
    """

    kernel: Kernel
    outcome: Outcome
    verdict: Verdict
    captures: Sequence[Capture]
    accelerator: str
    frames: Sequence[Sequence[Frame]] = ()

    def splats(self) -> list[result.Splat]:
        """Return the splats in the form of a result."""
        return [
            result.Splat(str(splat.kind), splat.title, splat.line, splat.during, [str(frame) for frame in frames])
            for splat, frames in zip(self.verdict.splats, self.frames, strict=True)
        ]


def of_guest(booted: Booted) -> dict[str, Any]:
    """Return what a result says about a guest's splats: found, allowed, and what only looks like trouble."""
    verdict = booted.verdict
    allowed = tuple(
        result.Allowed(rule.pattern, rule.reason, [splat.title for splat in splats])
        for rule, splats in verdict.allowed.items()
    )
    return {"splats": booted.splats(), "allowed": allowed, "noticed": verdict.noticed}


class Stages:
    """Measures the stages of a run.

    Attributes:
        seconds: name of a stage -> its wall time, seconds.
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
    """Create a directory for a run, named by time and label.

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
        modules: more kernel modules that the plan names.
        files: more files for the guest.
        exact: boot under TCG, with a clock that counts the guest's instructions.
        size: of the guest; the size that the RFC of June 2026 (LKML) uses by default.

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
        verdict = outcome.judge(cell.allow)
        symbolizer = session.path(toolchain.product.path / "bin" / "llvm-symbolizer")
        resolved = frames.resolve(verdict.splats, kernel.path, session, symbolizer)
    captures = guests.write_captures(outcome, kernel.layout, kernel.key)
    return Booted(kernel, outcome, verdict, captures, proved.sentence if proved else EXACT, resolved)


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
    """Run a cell completely: build, boot, run the standard workloads, check their records.

    Args:
        seed: seed of an earlier run, to repeat its draws.
        facts: more facts for the result.
        copy: a second path for result.json.
        control: if the kernel's configuration has no dataflow (a kernel to compare with), check only that it boots.
        boots_only: check only that the kernel boots, without workloads; the folder's name then begins with BOOT.
        smp, memory: processors of the guest, and its MB, as the user writes them; empty for the RFC's.

    Returns:
        The result, whatever its status; `Result.require` turns it into an exit code.

    Raises:
        KitError: the run could not be finished; result.json then has the reason.
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
        result = replace(result, facts={**result.facts, **facts_of(cell, booted), **own}, **of_guest(booted))
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
    """Return a plan with the standard workloads, and those of the sample modules if the kernel has them.

    Raises:
        UserError: the kernel cannot record anything.
    """
    require_sites(cell.profile.name, kernel.config, cell.instrument, lambda: _instrumented(kernel))
    modules = [path.name for path in kernel.modules]
    return plan.draw((*plan.STANDARD, *(plan.SAMPLES if modules else ())), seed=seed, modules=modules)


def facts_of(cell: Cell, booted: Booted) -> dict[str, Any]:
    """Return the facts about a guest for a result; if it hung, also the path of its memory dump."""
    return {
        "linux": booted.outcome.said.hello.get("release", ""),
        "kernel": str(booted.kernel.path),
        "toolchain": cell.toolchain.name,
        "accelerator": booted.accelerator,
        "qemu": list(booted.outcome.argv),
        **({"memory": str(booted.outcome.dump)} if booted.outcome.dump else {}),
    }


def _came_up(booted: Booted) -> list[Check]:
    """Return the one check of a guest that only boots."""
    asked, token = booted.outcome.plan.token, booted.outcome.said.token
    return [Check("the guest said its token at the end", token == asked, asked, str(token))]


def status_of(error: BaseException) -> str:
    """Return the status of a run that ended with an error."""
    return "failed" if isinstance(error, UnderTest) else "refused" if isinstance(error, UserError) else "lost"


def require_sites(
    profile: str, values: Mapping[str, str], instrument: Sequence[str], instrumented: Callable[[], int]
) -> None:
    """Refuse a kernel that cannot record anything, before it is booted for records.

    Args:
        values: the kernel's configuration.
        instrument: objects that the user opted in; the build checked that they have callbacks.
        instrumented: counts the instrumented functions; called only if nothing but a makefile can opt an object in.

    Raises:
        UserError: no object opts in.
    """
    if instrument or values.get("KCOV_DATAFLOW") != "y" or values.get("KCOV_DATAFLOW_INSTRUMENT_ALL") == "y":
        return
    if not instrumented():
        raise UserError(
            f"profile {profile} records in the objects that opt in, and none does",
            "choose objects: --instrument fs/open.o,net/; or use --profile all",
        )


def _instrumented(kernel: Kernel) -> int:
    from dataflow import sites, symbols

    mapped = symbols.read(kernel.system_map)
    return len(sites.load(kernel.vmlinux, mapped, ()).instrumented())


def check(booted: Booted) -> list[Check]:
    """Check the captures of a booted kernel.

    Raises:
        UnderTest: the kernel has no recording device, or a capture cannot be read.
    """
    from dataflow import checks

    checks.require_device(booted.outcome.said.hello)
    folder = booted.outcome.folder / guests.CAPTURES
    return [Check(f.name, f.ok, f.asked, f.got) for f in checks.examine(folder, booted.kernel.path)]
