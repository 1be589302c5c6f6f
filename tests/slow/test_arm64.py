"""A kernel for the other architecture, built here, booted by an emulator, its records checked value by value."""

from __future__ import annotations

import pytest

from tests.e2e.user import invoke

pytestmark = pytest.mark.slow


def test_arm64_records_hold() -> None:
    words = ("--profile", "all", "--base", "tiny", "--arch", "arm64", "--toolchain", "plugin-19", "--runtime", "docker")
    said = invoke("kernel.run", *words, "--json", timeout=7200)
    assert said.code == 0, said.err
    found = said.json()
    assert found["status"] == "passed"
    assert found["cell"]["arch"] == "arm64"
    assert len(found["checks"]) >= 46 and all(check["ok"] for check in found["checks"])
