"""lit's report, read: what did not run is no pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UnderTest
from toolchain import irtests


def report(*tests: tuple[str, str]) -> str:
    return json.dumps(
        {"tests": [{"name": f"kcov-dataflow :: {n}", "code": code, "output": "said"} for n, code in tests]}
    )


def test_each_file_has_a_status() -> None:
    found = irtests.read(report(("llvm/a.ll", "PASS"), ("llvm/b.ll", "FAIL")), ["llvm/a.ll", "llvm/b.ll", "llvm/c.ll"])
    assert [(one.name, one.code, one.output) for one in found] == [
        ("llvm/a.ll", "PASS", ""),
        ("llvm/b.ll", "FAIL", "said"),
        ("llvm/c.ll", "MISSING", ""),
    ]


@pytest.mark.parametrize("code", ["FAIL", "UNSUPPORTED", "UNRESOLVED", "SKIPPED", "XPASS", "XFAIL", "MISSING"])
def test_only_a_pass_passes(code: str) -> None:
    with pytest.raises(UnderTest, match=f"1 of 2 IR and driver tests failed:\n  b: {code}"):
        irtests.require([irtests.IrTest("a", "PASS", ""), irtests.IrTest("b", code, "")], Path("log"))
    with pytest.raises(UnderTest, match="does not have IR"):
        irtests.require([], Path("log"))
    irtests.require([irtests.IrTest("a", "PASS", "")], Path("log"))
