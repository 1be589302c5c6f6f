"""test.run that ends before its first test: its files for other readers say so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from junitparser import JUnitXml

from cells import tests
from core import store
from core.errors import InfraError, KitError, UnderTest
from core.runtime import Runtime
from kernel.cell import CellNames, resolve
from report import files

CELL = resolve(CellNames("plugin-19", "kit", "all", "tiny", "x86_64", "7.1.8"))


@pytest.mark.parametrize(
    ("error", "status", "ends"),
    [(UnderTest("a.c does not compile"), "failed", (1, 0)), (InfraError("the disk is full"), "lost", (0, 1))],
)
def test_a_kernel_that_was_not_built(
    error: KitError, status: str, ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_named: Any) -> None:
        raise error

    store.home().mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tests.kernels, "prepare", broken)
    with pytest.raises(type(error), match=error.message):
        tests.run(CELL, Runtime("host"), tests.Asked(kselftest=["size"]), ended=files.write)
    (folder,) = (store.home() / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == status
    read = JUnitXml.fromfile(str(folder / files.JUNIT))
    assert (read.tests, read.failures, read.errors) == (1, *ends)
    assert f"* {error.message}" in (folder / files.MARKDOWN).read_text()
