"""Runs on disk, made by hand for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cells.result import Check, Result, Splat
from cells.suites import Suite
from guest.ktap import Test
from kernel.cell import CellNames

INITMEM = "[    {:.6f}] Freeing unused kernel image (initmem) memory: 600K\n"


def save(
    folder: Path,
    *,
    status: str = "passed",
    checks: Mapping[str, bool] | None = None,
    tests: Mapping[str, str] | None = None,
    reasons: Sequence[str] = (),
    splats: Sequence[Splat] = (),
    boot_seconds: float = 0.0,
    **cell: Any,
) -> Result:
    """A run with a result.json, and a console if it booted.

    Args:
        checks: name -> whether it holds.
        tests: name -> status, of a suite `s`.
    """
    words = {"toolchain": "plugin-19", "series": "kit", "profile": "all", "base": "tiny", "arch": "x86_64"}
    made = CellNames(**{**words, "linux": "7.1.8", **cell})
    content = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(made).items()}
    suites = [Suite("s", "exec", tuple(Test(name, state, "") for name, state in tests.items()))] if tests else []
    folder.mkdir(parents=True, exist_ok=True)
    if boot_seconds:
        (folder / "console.log").write_text(INITMEM.format(boot_seconds))
    return Result(
        folder,
        content,
        "docker",
        status,
        list(reasons),
        [Check(name, ok, "asked", "got") for name, ok in (checks or {}).items()],
        {"boot": 2.0},
        {},
        1_795_000_000,
        suites,
        list(splats),
        [],
        [],
    ).save()
