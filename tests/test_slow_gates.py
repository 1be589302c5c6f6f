"""Generation G1 on a real kernel: our series with gates, built, booted, every value checked."""

from __future__ import annotations

import json

import pytest

from tests.e2e import invoke

pytestmark = pytest.mark.slow

CELL = ("--profile", "all", "--base", "tiny", "--series", "kit-g1", "--runtime", "docker")
ASKED = (
    "getpid: __x64_sys_getpid returned the drawn pid",
    "open-close: do_sys_openat2 got the drawn flags | O_LARGEFILE",
    "open-close: do_sys_openat2 got the drawn mode",
    "open-close: do_sys_openat2 returned the descriptor",
    "open-close: every pc is in an instrumented function",
    "open-close: the sequence steps by 1",
    "open-close: value counts equal vmlinux's tables",
    "fork: the child's mode is not in the parent's records",
    "overflow: after zeroing word 0 it records on",
)


def test_values_of_the_first_record() -> None:
    said = invoke("kernel.run", *CELL, "--toolchain", "plugin-19-g1", "--json")
    assert said.code == 0, said.err
    result = said.json()
    held = {c["name"]: c["ok"] for c in result["checks"]}
    assert result["status"] == "passed"
    assert all(held.values())
    for name in ASKED:
        assert held.get(name) is True, name
    shown = invoke("dataflow.show", "--run", result["folder"], "--workload", "open-close", "--json")
    calls = [json.loads(line) for line in shown.out.splitlines()]
    assert [c["function"] for c in calls if c["function"] == "do_sys_openat2"]
