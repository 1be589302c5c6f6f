"""Run tests in a guest: selftests of the tree, KUnit, a user's own program.

Takes a cell and the tests to run. Gives a Result with suites, and `result.json` in the run's folder. `cells.suites`
judges the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cells import inspection, provenance, runs, suites, ticker
from cells.result import Check, Result, finish
from cells.runs import Booted, Stages
from cells.suites import Suite
from core.arch import host_arch
from core.errors import KitError, UserError
from core.runtime import Runtime
from guest import initramfs, plan
from guest.initramfs import Entry
from guest.ktap import LOST, SKIPPED, Test
from guest.plan import Plan, Program
from guest.qemu import size_of
from kernel import kernels, selftests
from kernel.cell import Cell
from kernel.selftests import Target

KUNIT_FRAGMENT = Path(selftests.__file__).parent / "kunit.config"
_FOLDER = "kdf/tests"
# Time limit of the user's own program, seconds of guest time.
_EXEC_SECONDS = 300.0
# Scripts for these interpreters run in busybox's shell, which takes what Debian's dash takes.
_SHELLS = ("/bin/sh", "/usr/bin/sh")
_BUSYBOX = "bin/busybox"
_WITH_APPLETS = f'/bin/busybox --install -s /bin; export PATH=/bin; cd /{_FOLDER}/exec; exec sh "$@"'


@dataclass(frozen=True)
class Asked:
    """The tests to run.

    Attributes:
        kselftest: targets of tools/testing/selftests.
        kunit: whether to build KUnit's suites in and run them.
        program: the user's own program or script with its arguments; empty if there is none.
        required: patterns of tests that must pass; a skipped one counts as failed.
        smp, memory: processors of the guest, and its MB, as the user writes them; empty for the defaults.
    """

    kselftest: Sequence[str] = ()
    kunit: bool = False
    program: Sequence[str] = ()
    required: Sequence[str] = ()
    smp: str = ""
    memory: str = ""


@dataclass(frozen=True)
class _Job:
    """A program to run in the guest, and the suite that it belongs to."""

    suite: str
    name: str
    program: Program


def run(
    cell: Cell,
    runtime: Runtime,
    asked: Asked,
    *,
    guard: bool = True,
    told: Callable[[str], None] | None = None,
    ended: Callable[[Result], None] = lambda _result: None,
) -> Result:
    """Build a kernel and its tests, boot it, run them, and judge.

    Args:
        told: called with a line for each finished test, while the guest runs.
        ended: called with the final result, also if an error ends the run.

    Returns:
        The result, whatever its status; `Result.require` turns it into an exit code.

    Raises:
        UserError: there is nothing to run, or a target or program does not exist.
        UnderTest: the kernel does not build.
        InfraError: the machine failed.
    """
    if not (asked.kselftest or asked.kunit or asked.program):
        raise UserError("there is nothing to run", "add --kselftest TARGETS, --kunit or --exec FILE")
    size_of(asked.smp, asked.memory)
    own = own_program(asked.program, cell.arch) if asked.program else None
    if asked.kunit:
        cell = cell.with_fragment(KUNIT_FRAGMENT)
    result = Result(runs.new_folder(f"test-{cell.label}"), asdict(cell.names), runtime.name).save()
    stages = Stages()
    try:
        ready = kernels.prepare(cell, runtime, guard=guard)
        selftests.check_names(ready.tree.path / "linux", asked.kselftest)
        kernel = kernels.build(cell, runtime, guard=guard)
        stages.end("build")
        provenance.write(result.folder, kernel, runtime, result.started)
        targets = selftests.build(ready, kernel, asked.kselftest)
        stages.end("selftests")
        load = _load(targets, own)
        if own and own.busybox:
            load.files.extend(_busybox(inspection.busybox(runtime, result.folder)))
        size = size_of(asked.smp, asked.memory, kernel.config)
        with ticker.watching(result.folder, [job.program.title for job in load.jobs], told, kunit=asked.kunit):
            booted = runs.boot(
                cell, kernel, runtime, load.plan, result.folder, modules=load.modules, files=load.files, size=size
            )
        stages.end("guest")
        ran = _suites(targets, load.jobs, booted, kunit=asked.kunit)
        status, reasons = suites.judge(booted.verdict, ran, _required(asked, booted))
        result = replace(result, suites=ran, facts=runs.facts_of(cell, booted), **runs.of_guest(booted))
        done = finish(result, status, reasons=reasons, checks=_checks(booted, ran), stages=stages.seconds)
    except (KitError, KeyboardInterrupt) as error:
        reasons = [str(error) or type(error).__name__]
        ended(finish(result, runs.status_of(error), reasons=reasons, stages=stages.seconds))
        raise
    ended(done)
    return done


@dataclass(frozen=True)
class _Load:
    """Programs to run, files and kernel modules for the guest."""

    jobs: list[_Job]
    files: list[Entry]
    modules: list[Path]

    @property
    def plan(self) -> Plan:
        return plan.tests([job.program for job in self.jobs], modules=[path.name for path in self.modules])


def _load(targets: Sequence[Target], own: Own | None) -> _Load:
    jobs = [job for target in targets for job in _jobs(target)]
    files = [entry for target in targets for entry in _files(target)]
    if own:
        jobs.append(_Job("exec", own.name, own.program))
        files += own.files
    return _Load(jobs, files, [path for target in targets for path in target.modules()])


@dataclass(frozen=True)
class Own:
    """A user's program as a test of the guest, and the files that it needs there.

    Attributes:
        busybox: whether it also needs busybox.
    """

    program: Program
    files: list[Entry]
    busybox: bool = False

    @property
    def name(self) -> str:
        """Return the name of the program's file."""
        return self.program.title.removeprefix("exec/")


def own_program(words: Sequence[str], arch: str) -> Own:
    """Return a user's program with the files that it needs in the guest.

    Args:
        words: a program and its arguments: a static program, a script for a shell, or a script for another interpreter
            that is a static program on this machine.
        arch: of the guest.

    Raises:
        UserError: the program does not exist, or the guest cannot run it.
    """
    path = Path(words[0])
    if not path.is_file():
        raise UserError(f"there is no program {path}")
    inside, title = f"{_FOLDER}/exec/{path.name}", f"exec/{path.name}"
    files = [initramfs.regular(inside, path.read_bytes(), executable=True)]
    interpreter = _interpreter(path)
    if not interpreter:
        _require_static(path)
        return Own(Program(title, f"/{inside}", tuple(words[1:]), _EXEC_SECONDS), files)
    script = f"{path} is a script for {interpreter[0]}"
    if arch != host_arch():
        raise UserError(
            f"{script}, and this machine cannot provide one for {arch}", f"use a static {arch} program instead"
        )
    if interpreter[0] in _SHELLS:
        arguments = ("sh", "-c", _WITH_APPLETS, "sh", *interpreter[1:], f"/{inside}", *words[1:])
        return Own(Program(title, f"/{_BUSYBOX}", arguments, _EXEC_SECONDS), files, busybox=True)
    if not Path(interpreter[0]).is_file():
        raise UserError(f"{script}, which does not exist", "install it, or write the script for /bin/sh")
    if why := initramfs.lacking(Path(interpreter[0])):
        raise UserError(f"{script}, which {why}", "write it for /bin/sh: the guest then has busybox")
    # It does not get its own path: the guest may have mounted something there.
    shell = f"{_FOLDER}/exec/bin/{Path(interpreter[0]).name}"
    files.append(initramfs.regular(shell, Path(interpreter[0]).read_bytes(), executable=True))
    return Own(Program(title, f"/{shell}", (*interpreter[1:], f"/{inside}", *words[1:]), _EXEC_SECONDS), files)


def _busybox(content: bytes) -> list[Entry]:
    return [initramfs.directory("bin"), initramfs.regular(_BUSYBOX, content, executable=True)]


def _interpreter(path: Path) -> list[str]:
    """Return the interpreter of a script and its one argument, if any; empty if the file is not a script."""
    with path.open("rb") as source:
        first = source.readline(256)
    return first[2:].decode("utf-8", "replace").strip().split(maxsplit=1) if first.startswith(b"#!") else []


def _needs(path: Path) -> str:
    """Return why the guest cannot run a program; empty if it is a static ELF program."""
    if interpreter := _interpreter(path):
        return f"is a script for {interpreter[0]}, which the guest does not have"
    return initramfs.lacking(path)


def _require_static(path: Path) -> None:
    if why := _needs(path):
        raise UserError(f"{path} {why}", "link it statically: cc -static")


def _jobs(target: Target) -> list[_Job]:
    """Return the programs of a target that the guest can run."""
    return [
        _Job(
            target.name,
            path.name,
            Program(f"{target.name}/{path.name}", f"/{_FOLDER}/{target.name}/{path.name}", (), target.seconds()),
        )
        for path in target.programs()
        if not _needs(path)
    ]


def _files(target: Target) -> list[Entry]:
    if target.product is None:
        return []
    folder = target.product.path / selftests.PROGRAMS
    return [
        initramfs.regular(
            f"{_FOLDER}/{target.name}/{path.relative_to(folder)}",
            path.read_bytes(),
            executable=bool(path.stat().st_mode & 0o100),
        )
        for path in target.files()
    ]


def _suites(targets: Sequence[Target], jobs: Sequence[_Job], booted: Booted, *, kunit: bool) -> list[Suite]:
    ran = {program.index: program for program in booted.outcome.said.ran}
    results: dict[tuple[str, str], tuple[Test, tuple[str, ...]]] = {
        (job.suite, job.name): suites.of_program(job.name, ran.get(index)) for index, job in enumerate(jobs)
    }
    collected = []
    for target in targets:
        if target.product is None:
            collected.append(suites.not_built(target.name, target.reason, target.log, target.lacks))
            continue
        tests = [
            results.get((target.name, path.name), (Test(path.name, SKIPPED, f"it {_needs(path)}"), ()))
            for path in target.programs()
        ]
        problems = tuple(f"{test.name}: {problem}" for test, own in tests for problem in own)
        collected.append(
            Suite(target.name, "kselftest", tuple(test for test, _ in tests), problems=problems, lacks=target.lacks)
        )
    if kunit:
        collected.append(suites.of_console(booted.outcome.console))
    for (suite, _name), (test, problems) in results.items():
        if suite == "exec":
            collected.append(Suite("exec", "exec", (test,), problems=problems))
    return collected


def _required(asked: Asked, booted: Booted) -> list[str]:
    """Return the patterns of tests that must pass: the user's, the own program, the series' if there is a device."""
    required = list(asked.required)
    if asked.program:
        required.append("exec/*")
    if booted.outcome.said.device and "kcov_dataflow" in asked.kselftest:
        required.append("kcov_dataflow/user_ioctl*")
    return required


def _checks(booted: Booted, ran: Sequence[Suite]) -> list[Check]:
    """Return one check for the guest and one for each suite."""
    checks = [Check("guest", booted.verdict.passed, "passed", str(booted.verdict.status))]
    for suite in ran:
        counts = suite.counts()
        got = (
            ", ".join(f"{count} {status}" for status, count in counts.items() if count) if suite.built else "not built"
        )
        ok = suite.built and not counts["failed"] and not counts[LOST]
        checks.append(
            Check(f"{suite.kind} {suite.name}".replace("kunit kunit", "kunit"), ok, "none failed or lost", got)
        )
    return checks
