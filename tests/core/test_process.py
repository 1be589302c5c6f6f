"""Programs are started, logged, timed out and never outlive their caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import process
from core.errors import InfraError

ROOT = Path(__file__).parent.parent.parent
# A shell starts background jobs with Ctrl-C ignored, and a test run may be one.
HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
# Any thread may take a signal; the ones of this program wait for it as idle workers do.
WITH_THREADS = """
import threading
for _ in range(4):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
threads = pytest.mark.parametrize("threads", ["", WITH_THREADS], ids=["alone", "threads"])


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


@threads
@pytest.mark.parametrize("call", ["run", "capture"])
def test_a_killed_parent_takes_its_program_along(call: str, threads: str, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"{threads}from core import process; process.{call}(['sh', '-c', 'echo $$ > {pids}; exec sleep 60'])"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    child = pid_in(pids)
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not alive(child))


@pytest.mark.parametrize("dies", [True, False])
def test_a_parent_that_dies_first_leaves_no_program(dies: bool, tmp_path: Path) -> None:
    """The kernel signals only what asked for it; a child whose parent is gone by then must not go on."""
    marker = tmp_path / "ran"
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, subprocess, sys\n"
        "from core import process\n"
        f"words = ['sh', '-c', 'while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; exec \"$@\"', 'sh']\n"
        f"child = subprocess.Popen([*words, *process._launcher(), 'touch', {str(marker)!r}])\n"
        f"print(child.pid, flush=True)\n"
        f"{'os._exit(0)' if dies else 'child.wait()'}\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(program)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.stdout.close()
    if dies:
        parent.wait()
    (tmp_path / "go").touch()
    assert wait_for(lambda: not alive(child))
    parent.wait()
    assert marker.exists() is not dies


@threads
def test_ctrl_c_while_a_program_is_started_ends_it(threads: str, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"""
import os, pathlib, signal, subprocess, time
from core import process
real = subprocess.Popen
def popen(*words, **more):
    made = real(*words, **more)
    while not pathlib.Path({str(pids)!r}).exists() or not pathlib.Path({str(pids)!r}).read_text().strip():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return made
subprocess.Popen = popen
process.run(['sh', '-c', 'sleep 60 & echo $! > {pids}; wait'])
"""
    done = subprocess.run(
        [sys.executable, "-c", HEARS_CTRL_C + threads + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert wait_for(lambda: not alive(pid_in(pids)))


@threads
def test_ctrl_c_ends_the_program(threads: str, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"from core import process; process.run(['sh', '-c', 'sleep 60 & echo $! > {pids}; wait'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C + threads + code], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    child = pid_in(pids)
    os.kill(parent.pid, signal.SIGINT)
    parent.wait(timeout=20)
    assert wait_for(lambda: not alive(child))


def test_ctrl_c_at_any_moment_leaves_nothing() -> None:
    """Ctrl-C comes at another moment of each start, and all that was started is gone before the program goes on."""
    mark = f"kdf-test-{os.getpid()}"
    code = f"""
import contextlib, os, pathlib, threading, time
from core import process
def left():
    words = [folder / "cmdline" for folder in pathlib.Path("/proc").iterdir() if folder.name.isdigit()]
    words.remove(pathlib.Path("/proc", str(os.getpid()), "cmdline"))
    for path in words:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if {mark!r} in path.read_text():
                yield path
for moment in range(40):
    bell = threading.Timer(moment * 0.0002, os.kill, (os.getpid(), signal.SIGINT))
    try:
        bell.start()
        process.run(['sh', '-c', 'sleep 60; :', {mark!r}])
        raise SystemExit("the program came to its end")
    except KeyboardInterrupt:
        pass
    end = time.monotonic() + 5  # what the program had started is killed with it, but not waited for
    while list(left()):
        if time.monotonic() > end:
            raise SystemExit(f"moment {{moment}} left a program")
"""
    done = subprocess.run(
        [sys.executable, "-c", HEARS_CTRL_C + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_of_a_thread_lives_as_long_as_that_thread_waits() -> None:
    """The kernel signals a child when the thread that started it ends; the end of another one must not matter."""
    done: list[process.Finished] = []
    waits = threading.Thread(target=lambda: done.append(process.run(["sleep", "0.5"])))
    ends = [threading.Thread(target=process.run, args=(["true"],)) for _ in range(3)]
    for thread in (*ends, waits):
        thread.start()
    for thread in (*ends, waits):
        thread.join()
    assert [one.code for one in done] == [0]


def test_a_timeout_in_a_thread_ends_the_whole_group(tmp_path: Path) -> None:
    done: list[process.Finished] = []
    line = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    thread = threading.Thread(target=lambda: done.append(process.run(["sh", "-c", line], timeout=0.5)))
    thread.start()
    thread.join()
    assert done[0].timed_out
    assert wait_for(lambda: not alive(pid_in(tmp_path / "pid")))


def test_a_program_leads_a_session_and_hears_signals() -> None:
    """What a program has of its own: its session and group; what it has of its caller: the signals that it hears."""
    # exec: while dash starts a program, its own mask blocks all signals for a moment.
    line = 'echo $$; cut -d" " -f5,6 /proc/$$/stat; exec grep -E "^Sig(Blk|Ign)" /proc/self/status'
    pid, ids, blocked, ignored = process.run(["sh", "-c", line]).tail
    assert ids.split() == [pid, pid]
    mine = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if "Sig" in line)
    assert blocked == f"SigBlk:\t{mine['SigBlk']}"
    # Python ignores SIGPIPE and SIGXFSZ for itself; a program must not.
    ours = {signal.SIGPIPE, signal.SIGXFSZ}
    assert int(ignored.split()[1], 16) == int(mine["SigIgn"], 16) & ~sum(1 << (number - 1) for number in ours)


def test_a_program_ignores_what_its_caller_ignores() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = process.run(["sh", "-c", "kill -INT $$; echo here"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.tail == ("here",)


def test_directory_and_environment_are_those_that_were_asked_for(tmp_path: Path) -> None:
    done = process.capture(["env", "-0"], env={"A": "b c\nd", "EMPTY": ""}, cwd=tmp_path)
    got = dict(line.split("=", 1) for line in done.out.split("\0") if line)
    wanted = {**os.environ, "A": "b c\nd", "EMPTY": ""}
    # PWD is where the program is; a name that is none to a shell does not reach it.
    assert got.pop("PWD", str(tmp_path)) == str(tmp_path)
    assert got == {name: value for name, value in wanted.items() if name.isidentifier() and name != "PWD"}
    with pytest.raises(FileNotFoundError):
        process.run(["true"], cwd=tmp_path / "nowhere")


def test_a_program_needs_nothing_of_its_own_path(tmp_path: Path) -> None:
    script = tmp_path / "here"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    assert process.run(["here"], env={"PATH": str(tmp_path)}).tail == ("here",)


def test_no_code_of_ours_runs_between_fork_and_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python documents preexec_fn as unsafe in a program with threads."""
    asked: list[object] = []
    real = subprocess.Popen

    def popen(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        asked.append(more.get("preexec_fn"))
        return real(*words, **more)

    monkeypatch.setattr(subprocess, "Popen", popen)
    assert process.run(["true"]).ok
    assert process.capture(["true"]).code == 0
    assert asked == [None, None]


def test_a_machine_without_the_launcher_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.shutil.which
    monkeypatch.setattr(process.shutil, "which", lambda name, **more: None if name == "setpriv" else real(name, **more))
    with pytest.raises(InfraError, match="setpriv is not on this machine") as caught:
        process.run(["true"])
    assert "util-linux" in caught.value.hint


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
