"""Runs and the proof of KVM, with a session that plays QEMU."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core import process
from core.errors import InfraError, UnderTest, UserError
from core.process import Finished
from guest import agent, channel, guests, kvm, plan
from guest.channel import Type
from guest.guests import Start
from guest.plan import Plan
from tests.frames import frame

BOOT = b"[    0.000000] Linux version 7.1.8 (x)\n[    0.580008] Run /init as init process\n"
NO_WORKLOAD = 0xFFFFFFFF


def well(todo: Plan) -> bytes:
    """What a guest says that does all that its plan asks for."""
    said = [
        frame(Type.HELLO, NO_WORKLOAD, b"agent=1\narch=x86_64\nrelease=7.1.8\ndevice=yes\n_stext=0xffffffff81000000\n")
    ]
    said.append(frame(Type.MODULES, NO_WORKLOAD, b"m .text 0xffffffffc0000000\n"))
    for index, work in enumerate(todo.works):
        said.append(frame(Type.BEGIN, index, work.name.encode()))
        said.append(frame(Type.FACTS, index, f"pid={work.values['pid']}\nexit=0\n".encode()))
        for part in ("big", "small", "resumed") if work.name == "overflow" else ("main",):
            said.append(frame(Type.PART, index, f"name={part}\ncapacity=512\ncounted=1\n".encode()))
            said.append(frame(Type.WORDS, index, struct.pack("<2Q", 1, index)))
            said.append(frame(Type.INFO, index, struct.pack("<IIQ", 1, 3, 0)))
        if work.name == "exec":
            said.append(frame(Type.OUTPUT, index, b"hello"))
        said.append(frame(Type.END, index, struct.pack("<i", 0)))
    said.append(frame(Type.TOKEN, NO_WORKLOAD, todo.token.encode()))
    return b"".join(said)


class FakeSession:
    """A session in which compilers and QEMU are played; everything else runs."""

    name = "fake"

    def __init__(self, says: Callable[[Plan], bytes] = well, *, code: int = 0, timed_out: bool = False) -> None:
        self.says, self.code, self.timed_out = says, code, timed_out
        self.screen = BOOT
        self.booted: list[list[str]] = []

    def path(self, host_path: Path) -> str:
        return str(host_path)

    def run(self, argv: Sequence[str], *, timeout: float | None = None, **_more: object) -> Finished:
        if argv[0] == "test":
            return process.run(["true"])
        if argv[0] == "prlimit":
            argv = argv[2:]
        if not argv[0].startswith("qemu"):
            if argv[1] != "--version":
                Path(argv[argv.index("-o") + 1]).write_bytes(b"\x7fELF agent")
            return Finished(tuple(argv), 0, ("fake clang 1.0",), 0.1)
        if argv[1] == "--version":
            return Finished(tuple(argv), 0, ("QEMU 0.0",), 0.1)
        assert timeout is not None, "no guest without a bound"
        self.booted.append(list(argv))
        words = " ".join(argv)
        folder = Path(words.partition("id=console,path=")[2].partition(" ")[0]).parent
        todo = plan.from_json(json.loads((folder / "plan.json").read_text()))
        assert (folder / "initrd.cpio").stat().st_size > 0
        (folder / guests.CONSOLE).write_bytes(self.screen)
        (folder / guests.CHANNEL).write_bytes(self.says(todo))
        return Finished(tuple(argv), self.code, ("qemu's last words",), 1.5, self.timed_out)


@pytest.fixture
def kernel_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "image").write_bytes(b"bzImage")
    return tmp_path / "kernel"


def test_a_whole_run(kernel_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "prog"
    program.write_bytes(b"\x7fELF")
    todo = plan.draw([*plan.STANDARD, "exec", "getpid"])
    session = FakeSession()
    outcome = guests.boot(Start(kernel_dir, "x86_64", todo, program=program), session, tmp_path / "run")
    made = outcome.judge()
    assert (made.status, made.reasons) == ("passed", ())
    captures = guests.write_captures(outcome, "kit-1", "k" * 64)
    assert [c.name for c in captures] == [
        "getpid-0",
        "open-close",
        "fork",
        "overflow-big",
        "overflow-small",
        "overflow-resumed",
        "exec",
        "getpid-5",
    ]
    facts = json.loads(captures[1].facts.read_text())
    assert facts["plan"]["path"] == todo.works[1].values["path"]
    assert facts["facts"]["pid"] == todo.works[1].values["pid"]
    assert facts["info"] == {"version": 1, "flags": 3, "dropped": 0}
    assert facts["modules"] == {"m": {".text": "0xffffffffc0000000"}}
    assert (facts["layout"], facts["capacity"], facts["stext"]) == ("kit-1", 512, "0xffffffff81000000")
    assert captures[1].words.read_bytes() == struct.pack("<2Q", 1, 1)
    assert (tmp_path / "run" / "captures" / "exec-4.out").read_bytes() == b"hello"


def test_a_second_run_in_the_same_place_keeps_nothing_of_the_first(kernel_dir: Path, tmp_path: Path) -> None:
    guests.boot(Start(kernel_dir, "x86_64", plan.draw()), FakeSession(), tmp_path / "run")
    silent = FakeSession(lambda _plan: b"")
    outcome = guests.boot(Start(kernel_dir, "x86_64", plan.draw()), silent, tmp_path / "run")
    assert outcome.judge().status == "lost"
    assert guests.write_captures(outcome, "kit-1", "k") == []


def test_names_that_the_agent_would_never_send_become_no_files(kernel_dir: Path, tmp_path: Path) -> None:
    def evil(todo: Plan) -> bytes:
        part = frame(Type.PART, 0, b"name=main\ncapacity=512\n") + frame(Type.WORDS, 0, bytes(8))
        other = frame(Type.PART, 1, b"name=../x\ncapacity=512\n") + frame(Type.WORDS, 1, bytes(8))
        return frame(Type.BEGIN, 0, b"../../evil") + part + frame(Type.BEGIN, 1, b"getpid") + other

    outcome = guests.boot(Start(kernel_dir, "x86_64", plan.draw()), FakeSession(evil), tmp_path / "run")
    assert guests.write_captures(outcome, "kit-1", "k") == []
    assert not list(tmp_path.rglob("*evil*"))


def test_no_kernel(kernel_dir: Path, tmp_path: Path) -> None:
    (kernel_dir / "image").unlink()
    with pytest.raises(UserError, match="no kernel image"):
        guests.boot(Start(kernel_dir, "x86_64", plan.draw()), FakeSession(), tmp_path / "run")


def test_qemu_that_dies_is_the_machines_fault(kernel_dir: Path, tmp_path: Path) -> None:
    session = FakeSession(lambda _plan: b"", code=-6)
    session.screen = b""
    outcome = guests.boot(Start(kernel_dir, "x86_64", plan.draw()), session, tmp_path / "run")
    with pytest.raises(InfraError, match="SIGABRT"):
        outcome.judge().require()


def test_a_silent_guest_is_under_test(kernel_dir: Path, tmp_path: Path) -> None:
    session = FakeSession(lambda _plan: b"", code=-9, timed_out=True)
    session.screen = b""
    outcome = guests.boot(Start(kernel_dir, "x86_64", plan.draw()), session, tmp_path / "run")
    with pytest.raises(UnderTest, match="never said anything"):
        outcome.judge().require()


def test_time_limits_know_the_sanitizer(kernel_dir: Path, tmp_path: Path) -> None:
    limits: list[float] = []

    class Watching(FakeSession):
        def run(self, argv: Sequence[str], *, timeout: float | None = None, **more: object) -> Finished:
            if argv[0] == "prlimit" and timeout is not None:
                limits.append(timeout)
            return super().run(argv, timeout=timeout, **more)

    guests.boot(Start(kernel_dir, "x86_64", plan.draw()), Watching(), tmp_path / "run")
    (kernel_dir / "config").write_text("CONFIG_KASAN=y\n")
    guests.boot(Start(kernel_dir, "x86_64", plan.draw()), Watching(), tmp_path / "run")
    assert max(limits[:-1]) < limits[-1]


def test_the_agent_is_compiled_once(kernel_dir: Path, tmp_path: Path) -> None:
    session = FakeSession()
    one = agent.ensure(session, "x86_64", tmp_path / "work")
    assert agent.ensure(session, "x86_64", tmp_path / "work") == one
    assert agent.ensure(session, "arm64", tmp_path / "work") != one


def test_agent_and_host_have_the_same_frame_types() -> None:
    header = (agent.SOURCES / "agent.h").read_text()
    for kind in Type:
        assert f"FRAME_{kind.name} = {kind.value}," in header
    assert "K', 'D', 'F', 'F', 'R', 'A', 'M', 'E'" in (agent.SOURCES / "channel.c").read_text()
    assert channel.MAGIC == b"KDFFRAME"


def test_agent_and_plan_have_the_same_workloads() -> None:
    table = (agent.SOURCES / "workloads.c").read_text()
    for name in plan.NAMES:
        assert f'{{ "{name}", ' in table


@pytest.fixture
def kvm_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "impossible", lambda _arch: "")


def prove(kernel_dir: Path, session: FakeSession) -> kvm.Accelerator:
    return kvm.prove(kernel_dir, "x86_64", session, kernel_dir.parent / "run")


@pytest.mark.usefixtures("kvm_machine")
def test_kvm_that_boots_is_used_and_remembered(kernel_dir: Path) -> None:
    session = FakeSession()
    assert prove(kernel_dir, session).name == "kvm"
    assert session.booted[0][session.booted[0].index("-accel") + 1] == "kvm"
    assert prove(kernel_dir, session).name == "kvm"
    assert len(session.booted) == 1


@pytest.mark.usefixtures("kvm_machine")
@pytest.mark.parametrize(("code", "timed_out"), [(-9, True), (-6, False), (1, False)])
def test_kvm_that_boots_nothing_is_remembered_too(kernel_dir: Path, code: int, timed_out: bool) -> None:
    session = FakeSession(lambda _plan: b"", code=code, timed_out=timed_out)
    session.screen = b"Probing EDD (edd=off to disable)... ok\n"
    made = prove(kernel_dir, session)
    assert made.name == "tcg"
    assert "using TCG" in made.sentence
    assert prove(kernel_dir, session) == made
    assert len(session.booted) == 1


@pytest.mark.usefixtures("kvm_machine")
def test_a_kernel_that_dies_proves_nothing(kernel_dir: Path) -> None:
    session = FakeSession(lambda _plan: b"")
    session.screen = BOOT + b"[    1.0] Kernel panic - not syncing: x\n"
    assert prove(kernel_dir, session).name == "tcg"
    assert prove(kernel_dir, FakeSession()).name == "kvm"


@pytest.mark.usefixtures("kvm_machine")
@pytest.mark.parametrize("content", ["", "[]", '{"kvm": 3}', '{"kvm": {"x": {"works": "yes"}}}', "\x00"])
def test_a_damaged_memory_is_no_proof(kernel_dir: Path, content: str) -> None:
    memory = kernel_dir.parent / "home" / "host.json"
    memory.parent.mkdir()
    memory.write_text(content)
    assert prove(kernel_dir, FakeSession()).name == "kvm"


def test_another_architecture_needs_no_proof(kernel_dir: Path) -> None:
    other = "arm64" if kvm.platform.machine() == "x86_64" else "x86_64"
    session = FakeSession()
    made = kvm.prove(kernel_dir, other, session, kernel_dir.parent / "run")
    assert (made.name, session.booted) == ("tcg", [])
    assert f"runs no {other} guests" in made.sentence
