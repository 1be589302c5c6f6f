"""Sessions: on the host, and in containers of the real engine on an image made from the host's own shell."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import engine, process, runtime
from core.errors import InfraError, UserError
from core.runtime import DockerSession, HostSession, Image, Mount

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("bash", "sh", "sleep", "id", "cat", "env", "ls", "touch", "pwd", "ps")


def test_the_host_is_itself(tmp_path: Path) -> None:
    with runtime.Runtime("host").open_session() as session:
        assert isinstance(session, HostSession)
        assert session.path(tmp_path) == str(tmp_path)
        done = session.run(["sh", "-c", "pwd; exit 4"], cwd=tmp_path, log=tmp_path / "log")
    assert done.code == 4
    assert done.tail == (str(tmp_path),)
    assert (tmp_path / "log").read_text().endswith(f"\n{tmp_path}\n")


def test_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no runtime dokcer \(did you mean docker\?\)"):
        runtime.choose("dokcer")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert runtime.choose("host") == runtime.Runtime("host")
    assert runtime.choose("auto") == runtime.Runtime("host")
    with pytest.raises(InfraError, match="no Docker engine answers"):
        runtime.choose("docker")


# About a second of work for any shell.
BUSY = ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]


def test_what_a_command_takes_of_the_cpu() -> None:
    with runtime.Runtime("host").open_session() as session:
        before = session.cpu_seconds()
        assert session.run(BUSY).ok
        assert session.cpu_seconds() > before


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["ninja", "-j4"], "ninja"),
        (["time", "-q", "-a", "-f", "%e %U", "-o", "/kdf/usage", "ninja", "-o"], "ninja"),
        (["time"], "time"),
    ],
)
def test_what_measures_a_program_is_not_what_was_running(argv: list[str], named: str) -> None:
    assert runtime._program(argv) == named


def test_inside_paths(tmp_path: Path) -> None:
    mounts = (Mount(tmp_path, "/kdf/tree"), Mount(tmp_path / "build", "/kdf/build", writable=True))
    session = DockerSession(None, "c" * 64, mounts)
    assert session.path(tmp_path) == "/kdf/tree"
    assert session.path(tmp_path / "a" / "b") == "/kdf/tree/a/b"
    assert session.path(tmp_path / "build" / "x.o") == "/kdf/build/x.o"
    with pytest.raises(ValueError, match="not below a mount"):
        session.path(tmp_path.parent)


def test_memory_and_jobs() -> None:
    assert 0 < runtime.available_memory() <= runtime.total_memory()
    assert 1 <= runtime.jobs() <= len(os.sched_getaffinity(0))
    assert runtime.jobs(1 << 60) == 1


def tool_archive() -> bytes:
    """A tar of a few of the host's programs and the libraries that they load."""
    files: set[Path] = set()
    for tool in TOOLS:
        where = shutil.which(tool)
        assert where is not None
        files.add(Path(where))
        loaded = subprocess.run(["ldd", where], capture_output=True, text=True, check=False).stdout
        files |= {Path(path) for path in re.findall(r"(/\S+) \(0x", loaded)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("tmp", "kdf", "proc", "dev", "sys", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for path in sorted(files):
            content = path.read_bytes()
            # Libraries are looked for in /lib and /usr/lib alike; a container from a tar has no such links.
            for place in {str(path), "/bin/sh"} if path.name == "sh" else {str(path)}:
                info = tarfile.TarInfo(place.lstrip("/"))
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    client = engine.client()
    name = f"kdf-test-{os.getpid()}"
    client.api.import_image_from_data(tool_archive(), repository=name, tag="latest")
    made = client.images.get(f"{name}:latest")
    yield Image(name, made.id, "0" * 64)
    client.images.remove(f"{name}:latest", force=True)
    client.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no other run's containers are swept."""
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "kdf-home"))
    return tmp_path


def containers(home: Path) -> list[Any]:
    client = engine.client()
    try:
        label = f"org.kcov-dataflow-kit.home={home / 'kdf-home'}"
        return list(client.containers.list(all=True, filters={"label": label}))
    finally:
        client.close()


@pytest.mark.e2e
def test_codes_output_and_log(image: Image, home: Path) -> None:
    log = home / "log"
    lines: list[str] = []
    with runtime.Runtime("docker").open_session(image=image) as session:
        done = session.run(
            # The engine carries two streams; their order to each other is kept only across a pause.
                ["sh", "-c", 'echo "$A"; sleep 0.5; echo e >&2; sleep 0.5; printf end; exit 3'],
            env={"A": "b c"}, log=log, on_line=lines.append,
        )  # fmt: skip
        assert (done.code, done.timed_out, done.tail) == (3, False, ("b c", "e", "end"))
        assert lines == list(done.tail)
        assert session.run(["sh", "-c", "kill -TERM $$"]).code == -signal.SIGTERM
        with pytest.raises(InfraError, match="no-such-program is not in the image"):
            session.run(["no-such-program"])
    text = log.read_text()
    assert re.match(r"\[[0-9a-f]{12}\] \$ A='b c' sh -c ", text)
    assert text.endswith("b c\ne\nend")
    assert containers(home) == []


@pytest.mark.e2e
def test_what_a_command_takes_of_a_containers_cpu(image: Image, home: Path) -> None:
    with runtime.Runtime("docker").open_session(image=image) as session:
        before = session.cpu_seconds()
        assert session.run(BUSY).ok
        assert session.cpu_seconds() > before + 0.1, "the loop takes longer on any machine"


@pytest.mark.e2e
def test_what_runs_ends_with_its_client_however_that_ends(image: Image, home: Path) -> None:
    code = (
        "from core import runtime; from core.runtime import Image\n"
        f"image = Image({image.name!r}, {image.ref!r}, {image.packages!r})\n"
        "with runtime.Runtime('docker').open_session(image=image) as session:\n"
        "    session.run(['sh', '-c', 'echo here; sleep 300'], on_line=lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and client.stdout.readline() == "here\n"
        assert [one.status for one in containers(home)] == ["running"]
        client.kill()
    until = time.monotonic() + 30
    while any(one.status == "running" for one in containers(home)) and time.monotonic() < until:
        time.sleep(0.2)
    assert [one.status for one in containers(home)] == ["exited"]
    with runtime.Runtime("docker").open_session(image=image):
        assert [one.status for one in containers(home)] == ["running"], "the next session removed what is left"


@pytest.mark.e2e
def test_a_timeout_ends_all_and_the_session_lives_on(image: Image, home: Path) -> None:
    with runtime.Runtime("docker").open_session(image=image) as session:
        started = time.monotonic()
        done = session.run(["sh", "-c", "sleep 300 & sleep 300"], timeout=1.0)
        assert done.timed_out
        assert not done.ok
        assert time.monotonic() - started < 20
        left = session.run(["ps", "-e", "-o", "args="])
        assert not any("300" in line for line in left.tail)
        assert session.run(["sh", "-c", "exit 0"], timeout=10).ok


@pytest.mark.e2e
def test_there_is_no_network_and_no_privilege(image: Image, home: Path) -> None:
    with runtime.Runtime("docker").open_session(image=image) as session:
        assert session.run(["ls", "/sys/class/net"]).tail == ("lo",)
        assert session.run(["id", "-u"]).tail == (str(os.getuid()),)
        assert session.run(["id", "-g"]).tail == (str(os.getgid()),)
        status: list[str] = []
        session.run(["cat", "/proc/self/status"], on_line=status.append)
        assert ["NoNewPrivs:", "1"] in [line.split() for line in status]


@pytest.mark.e2e
def test_mounts(image: Image, home: Path) -> None:
    (home / "tree").mkdir()
    (home / "build").mkdir()
    (home / "tree" / "f").write_text("content\n")
    mounts = [Mount(home / "tree", "/kdf/tree"), Mount(home / "build", "/kdf/build", writable=True)]
    with runtime.Runtime("docker").open_session(image=image, mounts=mounts) as session:
        assert session.run(["cat", session.path(home / "tree" / "f")]).tail == ("content",)
        assert not session.run(["touch", "/kdf/tree/f"]).ok
        assert session.run(["touch", "made"], cwd=home / "build").ok
    assert (home / "build" / "made").stat().st_uid == os.getuid()


@pytest.mark.e2e
def test_a_container_that_is_taken_away(image: Image, home: Path) -> None:
    with runtime.Runtime("docker").open_session(image=image) as session:

        def remove(_line: str) -> None:
            containers(home)[0].remove(force=True)

        with pytest.raises(InfraError):
            session.run(["sh", "-c", "echo x; sleep 300"], on_line=remove)
        with pytest.raises(InfraError, match="refused while running sh"):
            session.run(["sh", "-c", "exit 0"])


@pytest.mark.e2e
def test_an_error_in_a_listener_ends_the_command(image: Image, home: Path) -> None:
    def broken(_line: str) -> None:
        raise ZeroDivisionError

    with runtime.Runtime("docker").open_session(image=image) as session:
        with pytest.raises(ZeroDivisionError):
            session.run(["sh", "-c", "echo x; sleep 300"], on_line=broken)
        assert not any("300" in line for line in session.run(["ps", "-e", "-o", "args="]).tail)


@pytest.mark.e2e
def test_a_killed_run_is_swept_by_the_next(image: Image, home: Path) -> None:
    code = f"""
from core import runtime
with runtime.Runtime("docker").open_session(image=runtime.Image("t", {image.ref!r}, "")) as session:
    session.run(["sh", "-c", "echo up; sleep 300"], on_line=lambda line: print(line, flush=True))
"""
    client = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "up\n"
    (running,) = containers(home)
    with runtime.Runtime("docker").open_session(image=image):
        # The owner lives: its container is left alone.
        assert {one.id for one in containers(home)} > {running.id}
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()
    assert [one.id for one in containers(home)] == [running.id]
    with runtime.Runtime("docker").open_session(image=image):
        assert running.id not in {one.id for one in containers(home)}
    assert containers(home) == []


@pytest.mark.e2e
def test_an_image_that_is_not_there(image: Image, home: Path) -> None:
    absent = Image("x", "sha256:" + "0" * 64, "")
    with pytest.raises(InfraError, match="no such image"), runtime.Runtime("docker").open_session(image=absent):
        pass
    with pytest.raises(ValueError, match="needs an image"), runtime.Runtime("docker").open_session():
        pass
    assert process.run(["true"]).ok


def test_a_container_that_another_run_removes_meanwhile_is_no_failure() -> None:
    """docker-py lists, then inspects each; what is gone by then is an error unless it is told otherwise."""
    import docker.errors

    class Containers:
        def list(self, *, ignore_removed: bool = False, **_asked: object) -> list[object]:
            if not ignore_removed:
                raise docker.errors.NotFound("No such container")
            return []

    assert engine.sweep(SimpleNamespace(containers=Containers())) == 0


def test_an_engine_that_goes_away_leaves_the_log_of_what_ran(tmp_path: Path) -> None:
    def gone(*_asked: object, **_more: object) -> None:
        raise ConnectionError("the socket is closed")

    session = DockerSession(SimpleNamespace(api=SimpleNamespace(exec_create=gone)), "c0ffee", ())
    with pytest.raises(InfraError, match="the Docker engine went away while running ninja") as found:
        session.run(["ninja", "-j2"], log=tmp_path / "build.log")
    assert found.value.log == tmp_path / "build.log"
    assert (tmp_path / "build.log").read_text() == "[c0ffee] $ ninja -j2\n"
