"""Cells side by side: real processes that do nothing, a real pool of slots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci import job, schedule
from ci.job import State
from ci.matrices import MatrixCell, Time
from ci.plans import Planned
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Runtime
from kernel import pool
from kernel.cell import Cell

SHORT = Time("short", 1, 1000)
# What stands in for cell.run: writes its result, as it is told, and ends so.
_CELL = """
import json, os, pathlib, sys, time
place, status, code, seconds = sys.argv[1:5]
file = pathlib.Path(place); file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps({"status": "running"}))
print("one line", flush=True)
log = file.with_name("span"); began = time.time()
time.sleep(float(seconds))
log.write_text(f"{began} {time.time()}")
if status:
    file.write_text(json.dumps({"status": status, "reasons": ["because\\nof it"]}))
sys.exit(int(code))
"""


def planned(name: str, *, required: bool = True, time_: Time = SHORT, last: dict[str, Any] | None = None) -> Planned:
    cell = MatrixCell(name, Cell("t", "s", name, "tiny", "x86_64", "7.1.8"), required, time_)
    done = last or {}
    state = State("k", None, {**done, "facts": {"key": "k"}} if done else {})
    return Planned(cell, state, 1.0)


@pytest.fixture(autouse=True)
def plain_cells(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int, float]]:
    """What each cell does: status in its result, exit code, seconds."""
    does: dict[str, tuple[str, int, float]] = {}
    real = schedule.process.background

    def background(argv: list[str], **how: Any) -> Any:
        name = argv[4]
        status, code, seconds = does.get(name, ("passed", 0, 0.1))
        file = job.place(name) / "result.json"
        return real([sys.executable, "-c", _CELL, str(file), status, str(code), str(seconds)], **how)

    monkeypatch.setattr(schedule.process, "background", background)
    monkeypatch.setattr(schedule, "_sweep", lambda: None)
    monkeypatch.setattr(schedule, "_GRACE_SECONDS", 3.0)
    return does


def span(name: str) -> tuple[float, float]:
    first, last = (job.place(name) / "span").read_text().split()
    return float(first), float(last)


def test_one_that_fails_stops_no_other(tmp_path: Path, plain_cells: dict[str, Any]) -> None:
    plain_cells.update(b=("failed", 1, 0.1), c=("lost", 3, 0.1))
    found = schedule.run("m", [planned(name) for name in "abcd"], Runtime("docker"), tmp_path)
    assert [(one.cell.id, one.status, one.code) for one in found.outcomes] == [
        ("a", "passed", 0), ("b", "failed", 1), ("c", "lost", 3), ("d", "passed", 0),
    ]  # fmt: skip
    assert found.outcomes[1].reason == "because"
    with pytest.raises(UnderTest, match="2 of 4 cells did not pass: b, c"):
        found.require()
    told = json.loads((tmp_path / schedule.FILE).read_text())
    assert [one["status"] for one in told["cells"]] == ["passed", "failed", "lost", "passed"]
    assert 0 <= told["idle"] <= 1


def test_what_is_optional_or_the_machines_fault(tmp_path: Path, plain_cells: dict[str, Any]) -> None:
    plain_cells.update(b=("failed", 1, 0.1))
    schedule.run("m", [planned("a"), planned("b", required=False)], Runtime("docker"), tmp_path).require()
    plain_cells.update(c=("lost", 3, 0.1))
    (tmp_path / "2").mkdir()
    with pytest.raises(InfraError, match="1 of 2"):
        schedule.run("m", [planned("a"), planned("c")], Runtime("docker"), tmp_path / "2").require()


def test_a_refused_request_is_the_users_error_unless_something_worse_happened(
    tmp_path: Path, plain_cells: dict[str, Any]
) -> None:
    plain_cells.update(b=("refused", 2, 0.1), c=("lost", 3, 0.1))
    found = schedule.run("m", [planned("a"), planned("b")], Runtime("docker"), tmp_path)
    assert found.outcomes[1].status == "refused"
    with pytest.raises(UserError, match="1 of 2 cells did not pass: b"):
        found.require()
    (tmp_path / "2").mkdir()
    with pytest.raises(InfraError, match="2 of 2"):
        schedule.run("m", [planned("b"), planned("c")], Runtime("docker"), tmp_path / "2").require()


@pytest.mark.parametrize("status", ["running", "failed", ""])
def test_an_exit_code_alone_is_no_pass(status: str, tmp_path: Path, plain_cells: dict[str, Any]) -> None:
    plain_cells["a"] = (status, 0, 0.1)
    (outcome,) = schedule.run("m", [planned("a")], Runtime("docker"), tmp_path).outcomes
    assert outcome.status == "lost"
    assert "its result says" in outcome.reason


def test_a_finished_cell_is_not_started(tmp_path: Path) -> None:
    done = planned("a", last={"status": "passed"})
    broken = planned("b", last={"status": "failed"})
    killed = planned("c", last={"status": "running"})
    found = schedule.run("m", [done, broken, killed], Runtime("docker"), tmp_path)
    assert [one.status for one in found.outcomes] == ["up to date: passed", "up to date: failed", "passed"]
    assert not job.place("a").exists() and not job.place("b").exists()
    with pytest.raises(UnderTest, match="1 of 3 cells did not pass: b"):
        found.require()


@pytest.mark.parametrize(("memory", "together"), [(4_000, True), (2_500, False)])
def test_memory_decides_how_many_run(
    memory: int, together: bool, tmp_path: Path, plain_cells: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "available_memory", lambda: memory << 20)
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    plain_cells.update(a=("passed", 0, 1.0), b=("passed", 0, 1.0))
    schedule.run("m", [planned("a"), planned("b")], Runtime("docker"), tmp_path).require()
    first, second = sorted(span(name) for name in "ab")
    assert (second[0] < first[1]) is together


def test_on_the_host_one_after_the_other(tmp_path: Path, plain_cells: dict[str, Any]) -> None:
    plain_cells.update(a=("passed", 0, 0.5), b=("passed", 0, 0.5))
    schedule.run("m", [planned("a"), planned("b")], Runtime("host"), tmp_path).require()
    first, second = sorted(span(name) for name in "ab")
    assert first[1] <= second[0]


def test_one_that_takes_too_long_is_given_up(
    tmp_path: Path, plain_cells: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_cells["a"] = ("passed", 0, 60.0)
    began = schedule.time.monotonic()
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr(schedule.time, "monotonic", lambda: began + next(clock))
    (outcome,) = schedule.run("m", [planned("a")], Runtime("docker"), tmp_path).outcomes
    assert (outcome.status, outcome.reason) == ("lost", "given up after 1 minutes")


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard even where these tests were put into the background by a script, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_all_and_says_what_is_left(tmp_path: Path, plain_cells: dict[str, Any], heard: None) -> None:
    plain_cells.update(a=("passed", 0, 0.0), b=("passed", 0, 60.0))

    def stop() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and not (job.place("b") / "result.json").exists():
            time.sleep(0.05)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        schedule.run("m", [planned("a"), planned("b")], Runtime("docker"), tmp_path)
    thread.join()
    told = {one["id"]: one["status"] for one in json.loads((tmp_path / schedule.FILE).read_text())["cells"]}
    assert told == {"a": "passed", "b": "running"}
    left = subprocess.run(["pgrep", "-f", str(job.place("b"))], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[pool.Pool]:
    with pool.opened(tmp_path, 2) as made:
        yield made


def test_slots_are_taken_and_put_back(shared: pool.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.current() is None
    for name, value in shared.variables().items():
        monkeypatch.setenv(name, value)
    assert pool.current() == shared
    got = threading.Event()

    def third() -> None:
        with pool.slot():
            got.set()

    with pool.slot():
        with pool.slot():
            thread = threading.Thread(target=third)
            thread.start()
            assert not got.wait(0.3), "there were two slots"
        assert got.wait(5.0)
    thread.join()
    assert pool.refill(shared) == 0


def test_slots_of_killed_makes_come_back(shared: pool.Pool) -> None:
    end = os.open(shared.pipe, os.O_RDWR)
    os.read(end, 1)
    os.close(end)
    assert pool.refill(shared) == 1
    assert pool.refill(shared) == 0


@pytest.mark.parametrize("said", ["x", "4", "0:/tmp", "4:/nowhere"])
def test_a_pool_that_is_none(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pool.VARIABLE, said)
    with pytest.raises(InfraError, match="does not name a job pool"):
        pool.current()
