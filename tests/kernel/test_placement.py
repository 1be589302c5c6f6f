"""`auto` takes the runtime whose kernel or toolchain the store has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from commands import cells
from core import engine, runtime, store
from core.errors import InfraError, UserError
from core.store import Product
from kernel import axes, placement
from kernel.cell import CellNames
from toolchain import llvm, toolchains

CELL = CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8", ("fs/open.o",), (), ("A=y",))
UNNAMED = replace(CELL, toolchain="")


@pytest.fixture(autouse=True)
def current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "current", lambda _spec: {"patches": ["now"]})


def toolchain(name: str, where: str, **more: Any) -> Product:
    return store.make("toolchain", {"name": name, "runtime": where, "packages": "p1", **more}, lambda _tmp: {})


def kernel(cell: CellNames, toolchain_key: str) -> Product:
    return store.make("kernel", {**asdict(cell), "toolchain": toolchain_key}, lambda _tmp: {"cell": asdict(cell)})


def test_an_empty_store_prefers_nothing() -> None:
    assert placement.runtime_for(CELL) == placement.runtime_for(UNNAMED) == ("", "")


@pytest.mark.parametrize("where", ["host", "docker"])
def test_the_toolchain_of_one_runtime_is_taken(where: str) -> None:
    toolchain("plugin-19", where)
    assert placement.runtime_for(CELL) == placement.runtime_for(UNNAMED) == (where, "the toolchain is there")
    assert placement.runtime_for(replace(CELL, toolchain="plugin-23")) == ("", "")
    assert placement.runtime_for(replace(CELL, toolchain="no-such")) == ("", "")
    toolchain("plugin-19", "host" if where == "docker" else "docker")
    assert placement.runtime_for(CELL) == placement.runtime_for(UNNAMED) == ("", "")


@pytest.mark.parametrize("cell", [CELL, UNNAMED])
def test_the_kernel_decides_before_the_toolchain(cell: CellNames) -> None:
    on_host, _in_docker = toolchain("plugin-19", "host"), toolchain("plugin-19", "docker")
    kernel(replace(CELL, sets=()), on_host.key)
    kernel(CELL, "a toolchain that is gone")
    assert placement.runtime_for(cell) == ("", "")
    kernel(CELL, on_host.key)
    assert placement.runtime_for(cell) == ("host", "the kernel is there")


def test_kernels_of_both_runtimes_leave_it_open() -> None:
    for where in ("host", "docker"):
        kernel(CELL, toolchain("plugin-19", where).key)
    assert placement.runtime_for(CELL) == ("", "")


def test_a_kernel_of_a_toolchain_among_other_packages_counts() -> None:
    inputs: Mapping[str, Any] = {"patches": ["now"], "kind": "patched"}
    made, _other = toolchain("llvm-23", "host", **inputs), toolchain("llvm-23", "docker", **inputs)
    store.make("fit", {"toolchain": made.key, "packages": "p2", "runtime": "host"}, lambda _tmp: {})
    elsewhere = toolchains.Toolchain("llvm-23", made, runtime.Runtime("host"), None, "p2").key
    assert elsewhere != made.key
    kernel(replace(CELL, toolchain="llvm-23"), elsewhere)
    assert placement.runtime_for(UNNAMED) == ("host", "the kernel is there")


def test_an_old_state_of_a_compiler_of_an_hour_does_not_count() -> None:
    cell = replace(CELL, toolchain="llvm-23")
    toolchain("llvm-23", "docker", patches=["then"])
    assert placement.runtime_for(cell) == ("", "")
    toolchain("llvm-23", "docker", patches=["now"], targets=["x86_64"])
    assert placement.runtime_for(cell) == ("docker", "the toolchain is there")
    assert placement.runtime_for(replace(cell, arch="arm64")) == ("", "")


class Engine:
    def close(self) -> None: ...


def no_engine() -> Engine:
    raise InfraError("no Docker engine answers")


def test_the_choice_follows_the_store_and_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "client", Engine)
    assert [runtime.choose("auto", preferred).name for preferred in ("", "docker", "host")] == [
        "docker",
        "docker",
        "host",
    ]
    # What was named is what is taken.
    assert runtime.choose("docker", "host").name == "docker"
    assert runtime.choose("host", "docker").name == "host"
    monkeypatch.setattr(engine, "client", no_engine)
    assert [runtime.choose("auto", preferred).name for preferred in ("", "docker", "host")] == ["host"] * 3
    with pytest.raises(InfraError, match="no Docker engine answers"):
        runtime.choose("docker", "host")
    with pytest.raises(UserError, match="no runtime dokcer"):
        runtime.choose("dokcer", "host")


def test_a_toolchain_that_one_runtime_has_is_used_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "client", Engine)
    assert placement.of_toolchain("plugin-19").name == "docker"
    toolchain("plugin-19", "host")
    assert placement.of_toolchain("plugin-19").name == "host"
    assert placement.of_toolchain("plugin-19", "docker").name == "docker"
    assert placement.of_toolchain("plugin-23").name == "docker"
    toolchain("plugin-19", "docker")
    assert placement.of_toolchain("plugin-19").name == "docker"


@pytest.mark.parametrize(
    ("stored", "asked", "client", "line"),
    [
        ("", "auto", Engine, "runtime docker"),
        ("host", "auto", Engine, "runtime host: the toolchain is there"),
        ("docker", "auto", Engine, "runtime docker: the toolchain is there"),
        ("docker", "auto", no_engine, "runtime host"),
        ("host", "docker", Engine, "runtime docker"),
    ],
)
def test_the_first_line_has_the_reason(
    stored: str,
    asked: str,
    client: Any,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine, "client", client)
    if stored:
        toolchain("plugin-19", stored)
    got: list[cells.Asked] = []

    @cells.cell_command()
    def show(_c: Any, asked: cells.Asked) -> None:
        """Example: ./invoke show"""
        got.append(asked)

    words = {axis.name: axis.default for axis in axes.AXES} | {
        "profile": "all",
        "base": "tiny",
        "arch": "x86_64",
        "runtime": asked,
    }
    show.body(None, **words)
    assert capsys.readouterr().out == f"{got[0].cell.names}, {line}\n"
    assert got[0].cell.names.toolchain == "plugin-19"
    assert got[0].runtime.name == line.split()[1].rstrip(":")
