"""What the end-to-end tests share: `./invoke` as a user calls it, on the home that the machine keeps between runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


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
