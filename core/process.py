"""Start programs; no other module does so.

Takes an argument list. Runs the program with its output in a log and returns how it ended. A program never outlives its
caller: its whole process group is killed on timeout, on an exception and on Ctrl-C, and the kernel kills it when the
caller is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import InfraError

TAIL_LINES = 40
AFTERMATH_SECONDS = 5.0
_ENDING = (signal.SIGINT, signal.SIGTERM)
# The kernel sends no signal if the parent died before the program asked for it, so a program with another parent exits.
_UNLESS_ORPHANED = '[ "$PPID" = "$1" ] && shift && exec "$@"'


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        argv: the program and its arguments.
        code: exit status, or minus the signal number that ended it.
        tail: the last lines of its merged output.
        seconds: wall time.
        timed_out: whether it was killed at its time limit.
        start: where its output begins in its log, bytes; -1 if it has no log.
    """

    argv: tuple[str, ...]
    code: int
    tail: tuple[str, ...]
    seconds: float
    timed_out: bool = False
    start: int = -1

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out


@dataclass(frozen=True)
class Captured:
    """The whole output of a small program."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str


def _launcher() -> list[str]:
    """Return the words to put before a command, so that the program is killed when this process is.

    `setpriv` asks the kernel for that (PR_SET_PDEATHSIG of prctl(2)). A shell then checks that the parent did not die
    before. Both become the program by execve(2), so process id, exit status and signals are the program's. None of our
    code runs between fork and exec, which would not be safe in a program with threads.

    Raises:
        InfraError: setpriv is not on this machine.
    """
    # The program's own PATH may contain neither setpriv nor the shell.
    setpriv = shutil.which("setpriv", path=os.defpath) or shutil.which("setpriv")
    if setpriv is None:
        raise InfraError("the program setpriv is not on this machine", "install the package util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _UNLESS_ORPHANED, "sh", str(os.getpid())]


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends, then raise them again for their handlers.

    Blocking the signals is not enough: another thread would take them, and the main thread would still run the handler.
    A signal without a handler is not delayed: it ends this process, and then the kernel ends the program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    received: list[int] = []
    before = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda caught, _frame: received.append(caught))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in received:
            signal.raise_signal(caught)


@contextlib.contextmanager
def _started(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; kill it and all its children when the block ends.

    The kernel also kills it when the thread that entered the block ends, so the same thread must leave the block.
    """
    command = [*_launcher(), *argv]
    process: subprocess.Popen[bytes] | None = None
    try:
        # A Ctrl-C between the start and the assignment would leave the program running.
        with _held():
            process = subprocess.Popen(command, cwd=cwd, env=_environment(env), start_new_session=True, **how)
        yield process
    finally:
        if process is not None:
            if process.poll() is None:
                kill_group(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # the program did not read all of its input
                        pipe.close()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends, for work that must not stop halfway. Keep the block short."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    received: list[int] = []
    before = {number: signal.signal(number, lambda caught, _frame: received.append(caught)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


@contextlib.contextmanager
def background(
    argv: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block does other work, with its output in a log; kill it when the block ends.

    Raises:
        InfraError: the program is not on this machine.
    """
    if _find(argv[0], env, cwd) is None:
        raise _missing(argv)
    with log.open("ab") as sink:
        sink.write(f"$ {shown(argv, env, cwd)}\n".encode())
        sink.flush()
        with _started(argv, cwd, env, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT) as process:
            yield process


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(env or {})}


def shown(argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return the command as a line that can be pasted into a shell."""
    words = [f"{k}={shlex.quote(v)}" for k, v in (env or {}).items()]
    line = " ".join([*words, shlex.join(argv)])
    return f"(cd {shlex.quote(str(cwd))} && {line})" if cwd else line


def _find(program: str, env: Mapping[str, str] | None, cwd: Path | None = None) -> str | None:
    """Return the path of a program; a relative path counts from its working directory, as in execve(2)."""
    if "/" in program and cwd is not None:
        program = str(cwd / program)
    return shutil.which(program, path=_environment(env).get("PATH"))


def _missing(argv: Sequence[str]) -> InfraError:
    return InfraError(
        f"the program {argv[0]} is not on this machine",
        "run ./invoke doctor: it names the package to install",
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all its children; return once it is reaped."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: Path | None = None,
) -> Finished:
    """Run a program to its end, with its merged output in a log.

    Args:
        argv: the program and its arguments.
        cwd: its working directory.
        env: variables to add to this process's environment; the logged command contains them.
        log: file to append the command and the output to.
        timeout: seconds of wall time after which the whole process group is killed.
        on_line: called with each line, without the line feed.
        stdin: file to use as standard input; empty input if None.

    Raises:
        InfraError: the program is not on this machine, or the log cannot be written.
    """
    started = time.monotonic()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with contextlib.ExitStack() as stack:
        sink: IO[bytes] | None = None
        start = -1
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            sink = stack.enter_context(log.open("ab"))
            sink.write(f"$ {shown(argv, env, cwd)}\n".encode())
            sink.flush()
            start = sink.tell()
        source = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        if _find(argv[0], env, cwd) is None:
            raise _missing(argv)
        how = {"stdin": source, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with _started(argv, cwd, env, **how) as process:
            timed_out = not _pump(process, sink, tail, on_line, started, timeout)
            if timed_out:
                kill_group(process)
    return Finished(tuple(argv), process.returncode, tuple(tail), time.monotonic() - started, timed_out, start)


def _pump(
    process: subprocess.Popen[bytes],
    sink: IO[bytes] | None,
    tail: deque[str],
    on_line: Callable[[str], None] | None,
    started: float,
    timeout: float | None,
) -> bool:
    """Copy the output until the program ends; return False if it ran out of time."""
    assert process.stdout is not None  # noqa: S101  (Popen was given PIPE)
    stream = process.stdout
    os.set_blocking(stream.fileno(), False)
    feed = LineFeed(tail, on_line)
    ended: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = None if timeout is None else timeout - (time.monotonic() - started)
            if left is not None and left <= 0:
                feed.end()
                return False
            ready = selector.select(min(1.0, left) if left is not None else 1.0)
            # A child that inherited the pipe must not keep us waiting after the program itself has ended.
            if ended is None and process.poll() is not None:
                ended = time.monotonic()
            if ended is not None and (not ready or time.monotonic() - ended > AFTERMATH_SECONDS):
                break
            if not ready:
                continue
            chunk = stream.read(1 << 16)
            if chunk is None:
                continue
            if not chunk:
                break
            if sink is not None:
                sink.write(chunk)
                sink.flush()
            feed.add(chunk)
    feed.end()
    while True:
        left = None if timeout is None else timeout - (time.monotonic() - started)
        try:
            process.wait(timeout=None if left is None else max(left, 0.01))
        except subprocess.TimeoutExpired:
            return False
        return True


class LineFeed:
    """Splits a byte stream into lines, for the tail and for `on_line`."""

    def __init__(self, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
        self._rest = b""
        self._tail = tail
        self._on_line = on_line

    def add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._give(line)

    def end(self) -> None:
        if self._rest:
            self._give(self._rest)
            self._rest = b""

    def _give(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._tail.append(text)
        if self._on_line is not None:
            self._on_line(text)


def foreground(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Run a program on the user's terminal and in its session, as sudo and interactive guests need it.

    Returns:
        The exit status.

    Raises:
        InfraError: the program is not on this machine.
    """
    if _find(argv[0], env) is None:
        raise _missing(argv)
    return subprocess.run(list(argv), env=_environment(env), check=False).returncode


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    text: str | None = None,
) -> Captured:
    """Run a small program and return all its output.

    Args:
        timeout: seconds of wall time.
        text: standard input of the program; empty input if None.

    Raises:
        InfraError: the program is not on this machine, or did not end in time.
    """
    if _find(argv[0], env, cwd) is None:
        raise _missing(argv)
    source = subprocess.PIPE if text is not None else subprocess.DEVNULL
    with _started(argv, cwd, env, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(None if text is None else text.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            raise InfraError(f"{argv[0]} did not end within {timeout:g} s: {shown(argv, env, cwd)}") from None
    return Captured(tuple(argv), process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
