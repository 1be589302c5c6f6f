"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_PARAMETERS = 10
PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the packages, those inside functions and classes too, with where it is."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_no_function_takes_too_much() -> None:
    many = []
    for position, node in functions():
        taken = node.args
        names = [argument.arg for argument in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
        names += [argument.arg for argument in (taken.vararg, taken.kwarg) if argument]
        if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
            many.append(f"{position}: {len(names)} parameters")
    assert not many, "make one value of what belongs together"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kconfig/differences.py", "def planted() -> None:\n    from kernel import kernels\n\n    print(kernels)\n"),
        ("core/errors.py", "from sources import catalogue\n"),
        ("guest/plan.py", "def planted() -> None:\n    from guest import guests\n\n    print(guests)\n"),
    ],
)
def test_an_import_that_does_not_belong_turns_the_contracts_red(file: str, line: str, tmp_path: Path) -> None:
    """Upwards, out of the lowest room, and in a circle within a room: also inside a function."""
    for path in (*PACKAGES, "pyproject.toml"):
        source = ROOT / path
        if source.is_dir():
            shutil.copytree(source, tmp_path / path, ignore=lambda _folder, names: [n for n in names if _unread(n)])
        else:
            shutil.copy(source, tmp_path / path)
    with (tmp_path / file).open("a") as text:
        text.write(f"\n\n{line}")
    words = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 1, done.stdout.decode()
    assert b"1 broken" in done.stdout


def _unread(name: str) -> bool:
    return "." in name and not name.endswith(".py")


def test_nothing_cites_what_a_reader_does_not_have() -> None:
    """A comment or a page names what is in the repository, or has a public address."""
    absent = re.compile(
        r"(?<![/\w])(?:\.\./)?(?:spec/[a-z-]+\.md|spec/kcov|shared/[a-z])|\bmeasured\.md|\b[Tt]he issue\b|\bissue \d"
    )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split() if name.endswith((".py", ".md", ".yaml", ".c", ".h", ".cpp"))]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        if file.exists() and file.name not in ("test_house.py", "style.md")
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if absent.search(line)
    ]
    assert found == []
