"""Programs are started, logged, timed out and never outlive their caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import process
from core.errors import InfraError


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return what()


def pid_in(path: Path) -> int:
    assert wait_for(lambda: path.exists() and path.read_text().strip().isdigit())
    return int(path.read_text())


def test_output_code_and_tail() -> None:
    lines: list[str] = []
    done = process.run(["sh", "-c", "echo one; echo two >&2; printf three; exit 7"], on_line=lines.append)
    assert (done.code, done.ok, done.timed_out) == (7, False, False)
    assert done.tail == ("one", "two", "three") == tuple(lines)


def test_a_signal_is_a_negative_code() -> None:
    assert process.run(["sh", "-c", "kill -TERM $$"]).code == -signal.SIGTERM


def test_the_tail_is_bounded_and_bytes_are_replaced() -> None:
    done = process.run(["sh", "-c", r"i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); done; printf 'a\377b\r\n'"])
    assert len(done.tail) == process.TAIL_LINES
    assert done.tail[-1] == "a\ufffdb"


def test_much_output_without_a_newline() -> None:
    done = process.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])
    assert done.ok
    assert [len(line) for line in done.tail] == [3_000_000]


def test_stdin_is_empty_or_a_file(tmp_path: Path) -> None:
    assert process.run(["cat"], timeout=10).tail == ()
    (tmp_path / "in").write_text("hello\n")
    assert process.run(["cat"], stdin=tmp_path / "in").tail == ("hello",)


def test_the_log_can_be_pasted(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    folder = tmp_path / "a dir"
    folder.mkdir()
    argv = ["sh", "-c", 'echo "$WORD $1 in $(basename "$PWD")"', "-", "it's; rm -rf $HOME"]
    process.run(argv, log=log, env={"WORD": "two words"}, cwd=folder)
    first, second = log.read_text().splitlines()
    assert second == "two words it's; rm -rf $HOME in a dir"
    assert first.startswith("$ ")
    pasted = subprocess.run(["sh", "-c", first[2:]], capture_output=True, text=True, check=True)
    assert pasted.stdout.splitlines() == [second]


def test_the_log_grows_while_the_program_runs(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    seen: list[str] = []
    process.run(["sh", "-c", "echo a; sleep 0.3; echo b"], log=log, on_line=lambda _line: seen.append(log.read_text()))
    assert seen[0].endswith("\na\n")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    for call in (process.run, process.capture, process.foreground):
        with pytest.raises(InfraError, match="the program no-such-program is not on this machine"):
            call(["no-such-program"])
    with pytest.raises(InfraError, match="not on this machine"):
        process.run(["sh"], env={"PATH": str(tmp_path)})


def test_a_relative_program_counts_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "config"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    assert process.run(["scripts/config"], cwd=tmp_path).tail == ("here",)
    assert process.capture(["scripts/config"], cwd=tmp_path).out == "here\n"


@pytest.mark.parametrize("noise", ["", "yes > /dev/null & "])
def test_a_timeout_ends_the_whole_group(noise: str, tmp_path: Path) -> None:
    pids = tmp_path / "grandchild"
    started = time.monotonic()
    done = process.run(["sh", "-c", f"{noise}sh -c 'sleep 60 & echo $! > {pids}; wait' & wait"], timeout=1.0)
    assert done.timed_out
    assert not done.ok
    assert time.monotonic() - started < 10
    assert wait_for(lambda: not alive(pid_in(pids)))


def test_a_program_that_closes_its_output_is_timed_out_too() -> None:
    done = process.run(["sh", "-c", "exec >&- 2>&-; sleep 60"], timeout=0.5)
    assert done.timed_out
    assert done.seconds < 10


def test_an_error_in_a_listener_ends_the_program(tmp_path: Path) -> None:
    pids = tmp_path / "pid"

    def broken(_line: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process.run(["sh", "-c", f"echo $$ > {pids}; echo x; sleep 60"], on_line=broken)
    assert not alive(pid_in(pids))


@pytest.mark.parametrize("left_behind", ["sleep 60 &", "yes &"])
def test_a_child_that_keeps_the_pipe_does_not_keep_us(left_behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "AFTERMATH_SECONDS", 0.2)
    started = time.monotonic()
    done = process.run(["sh", "-c", f"echo it; {left_behind} exit 0"], timeout=60)
    assert done.ok
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("call", ["run", "capture"])
def test_a_killed_parent_takes_its_program_along(call: str, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"from core import process; process.{call}(['sh', '-c', 'echo $$ > {pids}; exec sleep 60'])"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent.parent)
    child = pid_in(pids)
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not alive(child))


def test_ctrl_c_while_a_program_is_started_ends_it(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"""
import os, pathlib, signal, subprocess, time
from core import process
signal.signal(signal.SIGINT, signal.default_int_handler)
real = subprocess.Popen
def popen(*words, **more):
    made = real(*words, **more)
    while not pathlib.Path({str(pids)!r}).exists() or not pathlib.Path({str(pids)!r}).read_text().strip():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    return made
subprocess.Popen = popen
process.run(['sh', '-c', 'sleep 60 & echo $! > {pids}; wait'])
"""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    assert wait_for(lambda: not alive(pid_in(pids)))


def test_ctrl_c_ends_the_program(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    # A shell starts background jobs with Ctrl-C ignored, and a test run may be one.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; from core import process; process.run(['sh', '-c', 'sleep 60 & echo $! > {pids}; wait'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent.parent, stderr=subprocess.DEVNULL
    )
    child = pid_in(pids)
    os.kill(parent.pid, signal.SIGINT)
    parent.wait(timeout=20)
    assert wait_for(lambda: not alive(child))


def test_capture_keeps_both_streams() -> None:
    said = process.capture(["sh", "-c", "cat; echo e >&2; exit 3"], text="in")
    assert (said.code, said.out, said.err) == (3, "in", "e\n")
    with pytest.raises(InfraError, match=r"did not end within 0\.2 s: sleep 60"):
        process.capture(["sleep", "60"], timeout=0.2)


def test_foreground_gives_the_status() -> None:
    assert process.foreground(["sh", "-c", 'exit "$CODE"'], env={"CODE": "5"}) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_that_is_not_left_half_done(number: int) -> None:
    before = signal.getsignal(number)
    done = []
    with pytest.raises(KeyboardInterrupt), process.deferred():
        os.kill(os.getpid(), number)
        done.append(1)
    assert done == [1]
    assert signal.getsignal(number) is before
    with pytest.raises(ValueError, match="mine"), process.deferred():
        raise ValueError("mine")
    assert signal.getsignal(number) is before
