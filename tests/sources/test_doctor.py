"""Test the report of the doctor on machines that have and lack things."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from core import engine, host, runtime, store
from core.errors import InfraError
from sources import doctor, origins
from sources.doctor import DEGRADED, MISSING, OK, Report, Row


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InfraError("no Docker engine answers") from ConnectionError("connection refused")

    monkeypatch.setattr(engine, "client", refuse)
    monkeypatch.setattr(host, "missing", lambda _needs: [])


def row(name: str, packages: list[str] | None = None) -> Row:
    return next(row for row in doctor.examine(packages or []).rows if row.name == name)


def test_a_whole_report() -> None:
    report = doctor.examine(["bc"])
    names = [row.name for row in report.rows]
    assert names == ["python", "cores", "memory", "disk of the home", "engine", "kvm", "apt origin", "packages"]
    assert report.ready
    values = json.loads(json.dumps(report.as_json()))
    assert values["ready"] is True
    assert set(values["rows"][0]) == {"name", "status", "value", "advice"}
    for row in report.rows:
        assert row.value in report.as_text()


def test_no_engine_is_said_with_its_reason() -> None:
    result = row("engine")
    assert result.status == DEGRADED
    assert "connection refused" in result.value


def test_missing_packages_come_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "missing", lambda needs: [need for need in needs if need.package != "bc"])
    report = doctor.examine(["bc", "flex", "bison"])
    result = report.rows[-1]
    assert (result.status, report.ready) == (MISSING, False)
    assert result.value == "2 of 3 are not installed: flex bison"
    assert result.advice.endswith("apt-get install -y --no-install-recommends bison flex")


def test_no_apt_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "apt_origins", list)
    assert row("apt origin").status == DEGRADED


@pytest.mark.parametrize(
    ("proofs", "status", "expected"),
    [
        ([(True, 100.0)], OK, "proved: it booted"),
        ([(True, 100.0), (False, 200.0)], DEGRADED, "broken: it booted"),
        ([(False, 100.0), (True, 200.0)], OK, "proved"),
        ([(True, -1e9)], DEGRADED, "proves nothing"),  # before the machine booted anew
        ([], DEGRADED, "proves nothing"),
    ],
)
def test_kvm_is_what_a_boot_proved(
    proofs: list[tuple[bool, float]], status: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(doctor, "_KVM", device)
    now = time.time()
    monkeypatch.setattr(doctor, "_boot_time", lambda: now)
    entries = {f"k{i}": {"works": w, "when": now + at, "sentence": "it booted"} for i, (w, at) in enumerate(proofs)}
    store.write_json(store.home() / "host.json", {"kvm": entries})
    result = row("kvm")
    assert result.status == status
    assert expected in result.value


@pytest.mark.parametrize("text", ["", "[]", '{"kvm": 3}', '{"kvm": {"a": 1}}', '{"kvm": {"a": {"works": "yes"}}}'])
def test_a_memory_that_cannot_be_read_is_none(text: str) -> None:
    (store.home() / "host.json").write_text(text)
    assert doctor._proofs() == []


def test_no_kvm_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_KVM", tmp_path / "none")
    assert row("kvm").status == DEGRADED
    assert doctor._boot_time() > 1e9


def test_little_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "available_memory", lambda: 10**9)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    monkeypatch.setattr(doctor, "_NEEDED_GB", 10**9)
    for name in ("memory", "cores", "disk of the home"):
        assert row(name).status == DEGRADED
        assert row(name).advice


def test_the_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report((Row("a [b]", OK, "value [/c]", ""), Row("d", MISSING, "e", "do [f]")))
    assert report.as_text() == "a [b]  ok        value [/c]\nd      missing   e\n                 do: do [f]"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    text = report.as_text()
    for word in ("a [b]", "value [/c]", "missing", "do [f]"):
        assert word in text
