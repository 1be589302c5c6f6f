"""Run commands in a container of a Docker engine, or on the host itself.

A session is a container, or the host, for one piece of work with one set of mounts. Each step is one `run` with its own
exit status. In a container all paths are fixed, so products do not depend on where the home is. A container has the
user's own uid, a memory limit, and no network unless the caller asks for it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from core import engine, process
from core.errors import InfraError, UserError, nearest
from core.process import TAIL_LINES, Finished, LineFeed, shown
from core.store import home

NAMES = ("auto", "docker", "host")


@dataclass(frozen=True)
class Image:
    """A container image and its packages.

    Attributes:
        name: its name in `toolchain/images/images.yaml`.
        ref: engine id, `sha256:...`.
        packages: sha256 of the sorted list of installed packages with versions; keys contain this part.
    """

    name: str
    ref: str
    packages: str


@dataclass(frozen=True)
class Mount:
    """A host directory or file that a session sees at `inside`."""

    host: Path
    inside: str
    writable: bool = False


class Session(Protocol):
    """A place to run commands in."""

    @property
    def name(self) -> str:
        """`docker` or `host`."""

    def path(self, host_path: Path) -> str:
        """Return the path at which this session sees a host path.

        Raises:
            ValueError: it is not below a mount.
        """

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a command to its end; paths in `argv` and `env` are inside paths, `cwd` and `log` are host paths."""

    def cpu_seconds(self) -> float:
        """Return the CPU seconds (user and system) of all commands so far.

        On the host this includes other children of this process, so only a difference is meaningful.
        """


@dataclass(frozen=True)
class HostSession:
    """Runs commands directly on the host."""

    name: str = "host"

    def path(self, host_path: Path) -> str:
        return str(host_path.absolute())

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        return process.run(argv, cwd=cwd, env=env, log=log, timeout=timeout, on_line=on_line)

    def cpu_seconds(self) -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime


@dataclass(frozen=True)
class DockerSession:
    """Runs each command as one exec in a long-lived container."""

    client: Any
    container: str
    mounts: tuple[Mount, ...]
    name: str = field(default="docker")

    def path(self, host_path: Path) -> str:
        real = host_path.absolute()
        for mount in sorted(self.mounts, key=lambda m: -len(str(m.host))):
            if real == mount.host.absolute():
                return mount.inside
            if real.is_relative_to(mount.host.absolute()):
                return str(PurePosixPath(mount.inside) / real.relative_to(mount.host.absolute()))
        raise ValueError(f"{host_path} is not below a mount of this session")

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        started = time.monotonic()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        feed = LineFeed(tail, on_line)
        timed_out = threading.Event()

        def out_of_time() -> None:
            timed_out.set()
            self.kill_all()

        timer = threading.Timer(timeout, out_of_time) if timeout is not None else None
        with contextlib.ExitStack() as stack:
            sink, start = None, -1
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                sink = stack.enter_context(log.open("ab"))
                sink.write(f"[{self.container[:12]}] $ {shown(argv, env)}\n".encode())
                sink.flush()
                start = sink.tell()
            stack.enter_context(engine.errors(f"running {_program(argv)}", log))
            api = self.client.api
            made = api.exec_create(
                self.container,
                list(argv),
                environment=dict(env or {}),
                workdir=self.path(cwd) if cwd else None,
                user=f"{os.getuid()}:{os.getgid()}",
            )
            if timer is not None:
                timer.daemon = True
                timer.start()
                stack.callback(timer.cancel)
            done = False
            try:
                for chunk in api.exec_start(made["Id"], stream=True):
                    if sink is not None:
                        sink.write(chunk)
                        sink.flush()
                    feed.add(chunk)
                feed.end()
                code = api.exec_inspect(made["Id"])["ExitCode"]
                done = True
            finally:
                if not done:
                    self.kill_all()
        if code is None:
            raise InfraError(f"the container stopped while running {_program(argv)}", "run the same command again", log)
        # If the engine cannot start a program, the engine prints the error. A shell prints its own if one is missing.
        if code in (126, 127) and (not tail or tail[-1].startswith("OCI runtime exec failed")):
            raise InfraError(f"the program {argv[0]} is not in the image", "report this: the image is ours", log)
        # The engine, like a shell, reports "ended by signal n" as 128 + n; `Finished.code` has -n.
        code = -(code - 128) if 128 < code < 160 else code
        return Finished(tuple(argv), code, tuple(tail), time.monotonic() - started, timed_out.is_set(), start)

    def cpu_seconds(self) -> float:
        with engine.errors("reading what a container used"):
            stats = self.client.api.stats(self.container, stream=False, one_shot=True)
        # Docker Engine API, ContainerStats: nanoseconds.
        return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def kill_all(self) -> None:
        """Kill everything in the container but its first process."""
        with contextlib.suppress(Exception):  # the engine itself may be gone
            made = self.client.api.exec_create(
                self.container, ["sh", "-c", "kill -KILL -1"], user=f"{os.getuid()}:{os.getgid()}"
            )
            self.client.api.exec_start(made["Id"], detach=True)


def _program(argv: Sequence[str]) -> str:
    """Return the program of a command line, without GNU time (time(1)) before it."""
    words = iter(argv)
    for word in words:
        if word in ("-f", "-o"):
            next(words, "")
        elif word != "time" and not word.startswith("-"):
            return word
    return argv[0]


def available_memory() -> int:
    """Return the bytes of memory that new work can use (MemAvailable of proc(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def total_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def jobs(memory_each: int = 1 << 30) -> int:
    """Return how many compilers to run at once: one per core, fewer if memory is short.

    Args:
        memory_each: bytes of memory for each compiler.
    """
    return max(1, min(len(os.sched_getaffinity(0)), available_memory() // memory_each))


def tell(line: str) -> None:
    """Print a line to standard error."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Runtime:
    """The choice of docker or host, and what may be done there.

    Attributes:
        name: `docker` or `host`; the only part that keys and results contain.
        install: whether missing host packages may be installed.
        say: called with each line that the user should see during the work.
    """

    name: str
    install: bool = True
    say: Callable[[str], None] = field(default=tell, compare=False)

    @contextlib.contextmanager
    def open_session(
        self,
        *,
        image: Image | None = None,
        mounts: Sequence[Mount] = (),
        network: bool = False,
        devices: Sequence[str] = (),
        memory: int | None = None,
    ) -> Iterator[Session]:
        """Open a session; when the block ends, the session and all its commands end too.

        Args:
            image: the image of the container; needed for docker.
            mounts: what a container sees; the host sees everything.
            network: whether a container has a network.
            devices: device files that a container may use if they exist.
            memory: limit in bytes; 90% of the machine's memory by default.

        Raises:
            InfraError: the engine refused or went away.
        """
        if self.name == "host":
            yield HostSession()
            return
        if image is None:
            raise ValueError("a docker session needs an image")
        client = engine.client()
        engine.sweep(client)
        containers: list[Any] = []
        held: Any = None
        try:
            # A Ctrl-C before the container is in the list would mean that nobody removes it.
            with process.deferred(), engine.errors("making a container"):
                container = _container(client, image, mounts, devices, network=network, memory=memory)
                containers.append(container)
            with engine.errors("starting a container"):
                held = container.attach_socket(params={"stdin": 1, "stream": 1})
                container.start()
            yield DockerSession(client, container.id, tuple(mounts))
        finally:
            for container in containers:
                with contextlib.suppress(Exception):  # the next session removes it if this fails
                    container.remove(force=True, v=True)
            if held is not None:
                held.close()
            client.close()


def _container(
    client: Any, image: Image, mounts: Sequence[Mount], devices: Sequence[str], *, network: bool, memory: int | None
) -> Any:
    """Create the container of a session without starting it."""
    existing = [device for device in devices if Path(device).exists()]
    # containers.run would ask a registry for an image that the engine does not have.
    return client.containers.create(
        image.ref,
        # Process 1 reads until its input ends. That happens when this program ends in any way; then the container stops
        # with all that runs in it. bash also reaps orphans of the steps.
        ["bash", "-c", "trap 'exit 0' TERM; while read -r _; do :; done"],
        stdin_open=True,
        network_mode="bridge" if network else "none",
        user=f"{os.getuid()}:{os.getgid()}",
        environment={"HOME": "/tmp", "LC_ALL": "C.UTF-8"},  # noqa: S108  (inside the container)
        volumes={str(m.host.absolute()): {"bind": m.inside, "mode": "rw" if m.writable else "ro"} for m in mounts},
        devices=[f"{device}:{device}:rwm" for device in existing],
        group_add=sorted({str(Path(device).stat().st_gid) for device in existing}),
        mem_limit=memory or int(total_memory() * 0.9),
        labels={f"{engine.LABEL}.home": str(home()), f"{engine.LABEL}.owner": engine.process_mark(os.getpid())},
        security_opt=["no-new-privileges"],
    )


def choose(name: str = "auto", preferred: str = "", *, install: bool = True) -> Runtime:
    """Choose the runtime: `auto` means the preferred one, else docker, else (no engine answers) the host.

    Args:
        name: `auto`, `docker` or `host`.
        preferred: the runtime for which the store has products, or empty; only `auto` uses it.
        install: whether missing host packages may be installed.

    Raises:
        UserError: there is no such runtime.
        InfraError: the name is docker and no engine answers.
    """
    if name not in NAMES:
        raise UserError(f"there is no runtime {name}{nearest(name, NAMES)}")
    if name == "host" or (name == "auto" and preferred == "host"):
        return Runtime("host", install)
    try:
        engine.client().close()
    except InfraError:
        if name == "docker":
            raise
        return Runtime("host", install)
    return Runtime("docker", install)


def foreground(session: Session, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str = "") -> int:
    """Run a program of a session on the user's own terminal.

    Args:
        cwd: working directory, an inside path; the session's default if empty.

    Returns:
        The exit status.

    Raises:
        InfraError: there is no terminal, or the engine's own client is not on this machine.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InfraError("this needs a terminal", "without a terminal, give a command with -c")
    if not isinstance(session, DockerSession):
        return process.foreground(argv, env=env)
    variables = [word for name, value in (env or {}).items() for word in ("-e", f"{name}={value}")]
    directory = ["-w", cwd] if cwd else []
    user = f"{os.getuid()}:{os.getgid()}"
    # Only here we use the engine's own client, because it handles terminals, their size and their signals.
    return process.foreground(["docker", "exec", "-it", "-u", user, *directory, *variables, session.container, *argv])
