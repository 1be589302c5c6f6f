"""What the end-to-end tests share: `./invoke` as a user calls it, on the home that the machine keeps between runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def invoke(*words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 3000) -> Said:
    """Run `./invoke` to its end; a traceback in what it says is a failure whatever the test asks."""
    done = subprocess.run(
        [str(ROOT / "invoke"), *words],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


# Facts of a standard run that no generation of callbacks may lose.
FIRST_RECORD = (
    "getpid: __x64_sys_getpid returned the drawn pid",
    "open-close: do_sys_openat2 got the drawn flags | O_LARGEFILE",
    "open-close: do_sys_openat2 got the drawn mode",
    "open-close: do_sys_openat2 returned the descriptor",
    "open-close: the sequence steps by 1",
    "open-close: value counts equal vmlinux's tables",
    "fork: the child's mode is not in the parent's records",
    "overflow: after zeroing word 0 it records on",
)


def first_record(series: str, toolchain: str, pc: str) -> list[Any]:
    """Build and boot `all` on tiny with a series, check each value, and return the calls of open-close as shown.

    `pc` is what the generation's pcs are, in the words of the check.
    """
    cell = ("--profile", "all", "--base", "tiny", "--series", series, "--runtime", "docker")
    said = invoke("kernel.run", *cell, "--toolchain", toolchain, "--json")
    assert said.code == 0, said.err
    result = said.json()
    held = {c["name"]: c["ok"] for c in result["checks"]}
    assert result["status"] == "passed"
    assert all(held.values())
    for name in (*FIRST_RECORD, f"open-close: every pc is {pc}"):
        assert held.get(name) is True, name
    shown = invoke("dataflow.show", "--run", result["folder"], "--workload", "open-close", "--json")
    calls = [json.loads(line) for line in shown.out.splitlines()]
    assert [c["function"] for c in calls if c["function"] == "do_sys_openat2"]
    return calls
