"""Boot a kernel with a plan, and keep the results.

Takes a directory with a kernel, a plan and a session. Gives an Outcome, and files in the run's directory: `plan.json`,
`qemu.log`, `console.log`, `channel.bin`, and two files for each capture. Never judges the guest (see guest.verdict).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core import store
from core.errors import UserError
from core.process import Finished
from core.runtime import Mount, Session
from guest import agent, channel, initramfs, plan, qemu, qmp, verdict
from guest.allow import Rule
from guest.channel import Channel, Info, Part, Ran
from guest.initramfs import Entry
from guest.plan import Plan
from guest.qemu import Size
from guest.verdict import Ended, Verdict

CONSOLE = "console.log"
CHANNEL = "channel.bin"
CAPTURES = "captures"
IMAGE = "image"
_INITRD, _LOG = "initrd.cpio", "qemu.log"

_KERNEL_INSIDE = "/kdf/kernel"
_RUN_INSIDE = "/kdf/run"
# Seconds that the agent waits for a test that it killed, and a few more to send its output.
_KILLING = 8.0
# Bytes that a guest may write to its console or its channel, each; QEMU is ended beyond them.
FILE_BYTES = 4 << 30
# Letters of a workload's or part's name: the longest of the agent's has 16.
_NAME_LETTERS = 64
# The device file of KVM; a container's session needs it.
DEVICES = ("/dev/kvm",)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        argv: QEMU's command line, with paths that QEMU sees.
        accelerator: `tcg` or `kvm`.
        ended: how QEMU ended.
        said: everything that the agent sent.
        folder: the run's directory.
        dump: file with the memory of a guest that ran out of time, or None.
        note: why there is no such file; empty if the guest ended in time.
    """

    plan: Plan
    argv: tuple[str, ...]
    accelerator: str
    ended: Ended
    said: Channel
    folder: Path
    dump: Path | None = None
    note: str = ""

    @property
    def console(self) -> Path:
        return self.folder / CONSOLE

    def judge(self, rules: Sequence[Rule] = ()) -> Verdict:
        """Return the verdict, from the three facts of this run.

        Args:
            rules: allow splats.
        """
        judgement = verdict.judge(self.ended, self.said, self.console, self.plan.token, rules)
        if judgement.passed or not (self.dump or self.note):
            return judgement
        kept = f"its memory is in {self.dump.name}" if self.dump else self.note
        return replace(judgement, reasons=(*judgement.reasons, kept))


@dataclass(frozen=True)
class Capture:
    """One capture on disk: NAME.words and NAME.json in the run's `captures/`."""

    name: str
    words: Path
    facts: Path


def mounts(kernel_dir: Path, outdir: Path) -> list[Mount]:
    """Return the mounts that a container's session needs for a run."""
    return [Mount(kernel_dir, _KERNEL_INSIDE), Mount(outdir, _RUN_INSIDE, writable=True)]


@dataclass(frozen=True)
class Start:
    """The kernel, the plan and the options of a boot.

    Attributes:
        kernel_dir: contains the image, and `config` if the time limit depends on sanitizers.
        plan: what the guest does; its modules must be among `modules`.
        files: further files of the guest.
        modules: kernel modules; each keeps its file name.
        program: the user's static program for the workload `exec`.
        accelerator: `tcg`, or `kvm` if guest.kvm proved it.
        image: name of the image in `kernel_dir`.
        append: further kernel parameters.
        size: memory and processors of the machine.
        timeout: wall seconds; if None, from the table of guest.qemu.
        exact: let the guest's clock count its instructions (`qemu.Machine`); QEMU then has no QMP socket.
        keep_memory: save the memory of a guest that runs out of time; `Outcome.dump` is the file.
        gdb: name of a socket in the run's directory, on which the guest waits for a debugger; empty for none.
    """

    kernel_dir: Path
    arch: str
    plan: Plan
    files: Sequence[Entry] = ()
    modules: Sequence[Path] = ()
    program: Path | None = None
    accelerator: str = "tcg"
    image: str = IMAGE
    append: Sequence[str] = ()
    size: Size = field(default_factory=Size)
    timeout: float | None = None
    exact: bool = False
    keep_memory: bool = True
    gdb: str = ""

    @property
    def seconds(self) -> float:
        """Return the wall seconds after which the guest is lost."""
        return self.timeout if self.timeout is not None else _limit(self.kernel_dir, self.accelerator, self.plan)


def boot(start: Start, session: Session, outdir: Path) -> Outcome:
    """Boot a kernel, let the agent carry out the plan, and read everything that the agent sends.

    Args:
        session: where QEMU and the agent's compiler run; it sees `kernel_dir` and `outdir` (see `mounts`).
        outdir: the run's directory; it is created if it does not exist, and files of an earlier run are replaced.

    Raises:
        UserError: there is no kernel image in `kernel_dir`, or a file cannot be read.
        InfraError: QEMU is not installed, or the session's engine stopped.
    """
    if not (start.kernel_dir / start.image).is_file():
        raise UserError(
            f"there is no kernel image {start.kernel_dir / start.image}",
            "build one: ./invoke kernel.build --profile all",
        )
    _lay_out(start, session, outdir)
    machine = _machine(start, session, outdir)
    argv = qemu.command(machine)
    done, ending = _run(argv, machine, start.seconds, session, outdir)
    (outdir / _INITRD).unlink(missing_ok=True)
    return Outcome(
        plan=start.plan,
        argv=tuple(argv),
        accelerator=start.accelerator,
        ended=Ended(done.code, done.timed_out or ending.out_of_time.is_set(), done.seconds, done.tail),
        said=channel.read(outdir / CHANNEL),
        folder=outdir,
        dump=ending.dump,
        note=ending.note,
    )


def _lay_out(start: Start, session: Session, outdir: Path) -> None:
    """Write the guest's files and its plan into the run's directory, and remove files of an earlier run."""
    with store.disk_errors(outdir):
        outdir.mkdir(parents=True, exist_ok=True)
        for stale in (CONSOLE, CHANNEL, _LOG):
            (outdir / stale).unlink(missing_ok=True)
    binary = agent.ensure(session, start.arch, outdir)
    own = initramfs.run_files(plan.as_lines(start.plan), start.program, start.modules, start.files)
    archives = initramfs.base(binary.read_bytes()) + own
    with store.disk_errors(outdir):
        (outdir / _INITRD).write_bytes(archives)
        store.write_text(outdir / "plan.json", plan.dump(start.plan))


def _machine(start: Start, session: Session, outdir: Path) -> qemu.Machine:
    watched = start.keep_memory and not start.exact
    return qemu.Machine(
        arch=start.arch,
        accelerator=start.accelerator,
        kernel=session.path(start.kernel_dir / start.image),
        initrd=session.path(outdir / _INITRD),
        console=session.path(outdir / CONSOLE),
        channel=session.path(outdir / CHANNEL),
        memory_mb=start.size.memory_mb,
        cpus=start.size.cpus,
        append=tuple(start.append),
        exact=start.exact,
        qmp=qmp.fits(session.path(outdir / qmp.SOCKET)) if watched else "",
        gdb=session.path(outdir / start.gdb) if start.gdb else "",
    )


def _run(
    argv: Sequence[str], machine: qemu.Machine, limit: float, session: Session, outdir: Path
) -> tuple[Finished, qmp.Ending]:
    """Run QEMU until it ends or its time is over; return how it ended, and the end of a guest that hung."""
    log = outdir / _LOG
    # The saved memory of a guest is a file of QEMU, too.
    most = FILE_BYTES + (machine.memory_mb << 20)
    argv = ["prlimit", f"--fsize={most}", *argv]
    if not machine.qmp:
        return session.run(argv, log=log, timeout=limit), qmp.Ending()
    with qmp.watching(outdir, limit, session.path(outdir), machine.memory_mb) as ending:
        # A QEMU that does not answer to QMP is killed after the longer time.
        return session.run(argv, log=log, timeout=limit + qmp.limits().seconds), ending


def _limit(kernel_dir: Path, accelerator: str, todo: Plan) -> float:
    config = kernel_dir / "config"
    sanitizer = qemu.sanitizer_of(config.read_text()) if config.is_file() else "none"
    tests = [work for work in todo.works if work.name == plan.TEST]
    # A test has its own limit, and the agent has some seconds to kill it.
    own = sum(work.number("timeout_ms") / 1000 + _KILLING for work in tests)
    return qemu.timeout(accelerator, sanitizer, len(todo.works) - len(tests)) + own


def capture_name(ran: Ran, part: Part, names: Mapping[str, int]) -> str:
    """Return the name of a capture: the workload, its index if it ran several times, and the part if not `main`."""
    own = f"{ran.name}-{ran.index}" if names[ran.name] > 1 else ran.name
    return own if part.name == "main" else f"{own}-{part.name}"


def write_captures(outcome: Outcome, layout: str, kernel_key: str) -> list[Capture]:
    """Write each received buffer as NAME.words and NAME.json into the run's `captures/`.

    Args:
        layout: the record layout of the kernel's series.
        kernel_key: the kernel's product key.

    Returns:
        The captures, in the order in which the workloads ran.
    """
    folder = outcome.folder / CAPTURES
    store.remove_tree(folder)
    with store.disk_errors(folder):
        folder.mkdir(parents=True)
        names: dict[str, int] = {}
        for ran in outcome.said.ran:
            names[ran.name] = names.get(ran.name, 0) + 1
        captures: list[Capture] = []
        for ran in outcome.said.ran:
            if not _safe(ran.name) or not all(_safe(part.name) for part in ran.parts):
                continue  # the agent has no such names, so the channel is damaged
            for part in ran.parts:
                name = capture_name(ran, part, names)
                capture = Capture(name, folder / f"{name}.words", folder / f"{name}.json")
                capture.words.write_bytes(part.words)
                store.write_json(capture.facts, _capture_json(outcome, ran, part, layout, kernel_key))
                captures.append(capture)
            if ran.output:
                (folder / f"{ran.name}-{ran.index}.out").write_bytes(ran.output)
    return captures


def _safe(name: str) -> bool:
    return 0 < len(name) <= _NAME_LETTERS and name.replace("-", "").isalnum() and name.isascii()


def _capture_json(outcome: Outcome, ran: Ran, part: Part, layout: str, kernel_key: str) -> dict[str, Any]:
    sent, works = outcome.said, outcome.plan.works
    modules: dict[str, dict[str, str]] = {}
    for (module, section), address in sent.modules.items():
        modules.setdefault(module, {})[section] = f"{address:#x}"
    return {
        "layout": layout,
        "workload": ran.name,
        "part": part.name,
        "capacity": part.capacity,
        "info": _info_json(part.info),
        "plan": plan.work_json(works[ran.index]) if ran.index < len(works) else {},
        "seed": outcome.plan.seed,
        "facts": dict(ran.facts),
        "end": ran.end,
        "stext": sent.hello.get("_stext", ""),
        "release": sent.hello.get("release", ""),
        "arch": sent.hello.get("arch", ""),
        "modules": modules,
        "kernel": kernel_key,
    }


def _info_json(info: Info | None) -> dict[str, int] | None:
    return None if info is None else {"version": info.version, "flags": info.flags, "dropped": info.dropped}
