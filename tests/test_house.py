"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_PARAMETERS = 10


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the packages, those inside functions and classes too, with where it is."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_no_function_takes_too_much() -> None:
    many = []
    for place, node in functions():
        taken = node.args
        names = [one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
        names += [one.arg for one in (taken.vararg, taken.kwarg) if one]
        if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
            many.append(f"{place}: {len(names)} parameters")
    assert not many, "make one value of what belongs together"
