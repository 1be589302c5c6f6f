"""Architectures: one table has their facts, and no other module names one."""

from __future__ import annotations

import ast
import platform
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from core import arch
from core.errors import InfraError, UserError
from dataflow import machine
from kconfig import fragment
from toolchain import recipe
from toolchain.llvm import RECIPE

ROOT = Path(__file__).parents[2]
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
LITERAL = re.compile(r"x86_64|x86-64|\barm64|aarch64|amd64|bzImage|ttyS0|ttyAMA0|\b__(x64|x86|arm64)_")
# What may name an architecture, and why.
EXCEPTIONS = {
    "core/arch.py": "the table",
    "dataflow/machine.py": "instructions: its rows are held to the table below",
    "bench/matrix.py": "an experiment of one fixed cell",
    "bench/survival.py": "an experiment of one fixed request, which reads no kernel",
}


def literals(path: Path) -> Iterator[str]:
    """Texts of a module that name an architecture; docstrings and comments may, as examples."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield from (f"line {node.lineno}: {node.value}" for _ in LITERAL.finditer(node.value))


def test_only_the_table_names_an_architecture() -> None:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(paths) > 100
    found = {name: lines for path in paths if (lines := list(literals(path))) and (name := str(path.relative_to(ROOT)))}
    assert {name: lines for name, lines in found.items() if name not in EXCEPTIONS} == {}
    assert sorted(EXCEPTIONS) == sorted(found), "an exception that nothing needs any more"


def test_a_planted_literal_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text('"""Runs on x86_64."""\nIMAGES = {"arm64": f"arch/x86/boot/bzImage"}  # x86_64\n')
    assert [line.partition(":")[0] for line in literals(planted)] == ["line 2", "line 2"]


def test_each_fact_tells_architectures_apart() -> None:
    for field in fields(arch.Architecture):
        values = [getattr(row, field.name) for row in arch.TABLE.values()]
        assert len(set(values)) == len(values), field.name
    assert list(arch.TABLE) == list(arch.ARCHES)


def test_the_other_rooms_know_the_same_architectures() -> None:
    assert tuple(machine.RULES) == arch.ARCHES
    assert sorted(recipe.load(RECIPE).targets) == sorted(arch.ARCHES)
    for name in arch.ARCHES:
        assert (fragment.FOLDER / f"guest-{name}.config").is_file()


@pytest.mark.parametrize("name", arch.ARCHES)
def test_it_is_found_by_each_of_its_names(name: str) -> None:
    row = arch.architecture(name)
    assert arch.check_arch(name) == name
    assert arch.of_machine(row.machine) is row
    assert arch.of_elf(row.elf_machine) is row


def test_a_name_that_is_not_in_the_table() -> None:
    with pytest.raises(UserError, match=r"there is no architecture arm46 \(did you mean arm64\?\)"):
        arch.check_arch("arm46")
    assert arch.of_machine("vax") is None
    assert arch.of_elf("EM_VAX") is None


@pytest.mark.parametrize(("printed", "name"), [("x86_64", "x86_64"), ("aarch64", "arm64")])
def test_this_machine(printed: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: printed)
    assert arch.host_arch() == arch.of_host("nothing is for").name == name


def test_a_machine_that_is_not_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(UserError, match="this machine is a vax"):
        arch.host_arch()
    with pytest.raises(InfraError, match="no LLVM is built for a machine vax"):
        arch.of_host("no LLVM is built for")
