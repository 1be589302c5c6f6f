"""A guest that hangs leaves its memory; a person in a guest, and at a debugger."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from core import store
from core.runtime import Runtime
from guest import guests, plan, qmp
from guest.guests import Start
from guest.verdict import Status
from kernel import kernels
from kernel.cell import CellNames, resolve
from tests.e2e.user import ROOT, invoke
from toolchain import toolchains

pytestmark = pytest.mark.e2e

CELL = resolve(CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8"))
NAMED = ("--profile", "all", "--base", "tiny", "--toolchain", "plugin-19", "--runtime", "docker")


def test_a_guest_that_hangs_leaves_its_memory(tmp_path: Path) -> None:
    kernel = kernels.build(CELL, Runtime("docker"))
    source, program = tmp_path / "hangs.c", tmp_path / "hangs"
    source.write_text("int main(void) { for (;;); }\n")
    subprocess.run(["gcc", "-static", "-o", str(program), str(source)], check=True)
    # As deep as a path may be that no address of a socket holds.
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    made = toolchains.ensure(CELL.toolchain, Runtime("docker"))
    with toolchains.open_session(made, guests.mounts(kernel.path, folder)) as session:
        todo = plan.draw(["exec"])
        outcome = guests.boot(Start(kernel.path, "x86_64", todo, program=program, timeout=25), session, folder)
    found = outcome.judge()
    assert found.status is Status.LOST
    assert found.during == "workload exec"
    assert "its memory is in guest.dump" in found.reasons, outcome.note
    assert "triple fault" not in " ".join(found.reasons)
    assert outcome.dump is not None and outcome.dump.stat().st_size > 1 << 20
    assert not (folder / qmp.SOCKET).exists()

    store.write_json(folder / "result.json", {"facts": {"kernel": str(kernel.path)}})
    said = invoke("guest.crash", str(folder), "--command", "ps")
    assert said.code == 0, said.err
    assert re.search(r"^>.* kdf\.exec$", said.out, re.MULTILINE), "the program that hung runs on the processor"


def test_what_has_no_memory_is_refused(tmp_path: Path) -> None:
    said = invoke("guest.crash", str(tmp_path), "--command", "ps")
    assert said.code == 2
    assert "is not a run that booted a kernel" in said.err


def test_gdb_stops_the_kernel_before_it_runs() -> None:
    said = invoke("guest.gdb", *NAMED, "--command", "hbreak start_kernel; continue; bt 1; list", timeout=300)
    assert said.code == 0, said.err
    assert re.search(r"Breakpoint 1, start_kernel \(\) at /kdf/tree/init/main\.c:\d+", said.out)
    assert "void start_kernel(void)" in said.out, "the sources are there"


def test_each_processor_that_was_asked_for_is_there() -> None:
    said = invoke("guest.boot", *NAMED, "--smp", "2", "--json")
    assert said.code == 0, said.err
    console = Path(json.loads(said.out)["folder"]) / guests.CONSOLE
    assert b"Brought up 1 node, 2 CPUs" in console.read_bytes()
    more = invoke("guest.boot", *NAMED, "--smp", "4")
    assert more.code == 2
    assert "would use 2 of 4 processors" in more.err and "--set NR_CPUS=4" in more.err


def test_a_shell_in_the_guest(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("from outside\n")
    words = [str(ROOT / "invoke"), "guest.shell", *NAMED, "--files", str(tmp_path / "notes")]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(words[0], words)  # noqa: S606
    seen = b""

    def wait_for(text: bytes) -> None:
        nonlocal seen
        until = time.monotonic() + 240
        while text not in seen:
            assert time.monotonic() < until, seen.decode(errors="replace")
            if select.select([terminal], [], [], 1)[0]:
                try:
                    seen += os.read(terminal, 1 << 16)
                except OSError:
                    break
        assert text in seen, seen.decode(errors="replace")
        seen = seen.partition(text)[2]

    wait_for(b"all # ")
    os.write(terminal, b"cat notes; ls /sys/kernel/debug/kcov_dataflow; echo $((40 + 2))\r")
    wait_for(b"from outside")
    wait_for(b"/sys/kernel/debug/kcov_dataflow")
    wait_for(b"42")
    # Ctrl-C is the guest's, and ends what runs in it.
    os.write(terminal, b"sleep 1000\r")
    time.sleep(2)
    os.write(terminal, b"\x03")
    wait_for(b"all # ")
    os.write(terminal, b"exit\r")
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_shell_needs_a_terminal() -> None:
    said = invoke("guest.shell", *NAMED, timeout=300)
    assert said.code == 3
    assert "needs a terminal" in said.err
