"""Time what the front program adds to a compiler call, compared with the compiler itself in the same run.

The target is at most 5 ms per call. The programs compile an empty file in turn, and the medians are compared. Prints
JSON; exits with 1 if the target is missed. Needs clang-19 and llvm-config-19 on the host.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.runtime import HostSession
from toolchain import plugin
from toolchain.toolchains import PASS_FOLDER

CALLS = 60
TARGET_MS = 5.0
# A compiler call of a kernel build has about this many words.
WORDS = [f"-DWORD_{n}=value" for n in range(120)]


def one(compiler: str, source: Path, *more: str) -> float:
    start = time.perf_counter()
    subprocess.run([compiler, "-c", str(source), "-o", "/dev/null", *WORDS, *more], check=True)
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "toolchain"
        root.mkdir()
        plugin.build(HostSession(), 19, PASS_FOLDER, root)
        source = Path(folder) / "empty.c"
        source.write_text("")
        front, real = str(root / "bin" / "clang"), "/usr/lib/llvm-19/bin/clang"
        flag = "-fsanitize-coverage=dataflow-args,dataflow-ret"
        times: dict[str, list[float]] = {"real": [], "front": [], "front_with_pass": []}
        for _ in range(CALLS):
            times["real"].append(one(real, source))
            times["front"].append(one(front, source))
            times["front_with_pass"].append(one(front, source, flag))
    median = {name: statistics.median(values) for name, values in times.items()}
    cost = median["front"] - median["real"]
    print(
        json.dumps(
            {
                "calls": CALLS,
                **{f"{name}_ms": round(value, 2) for name, value in median.items()},
                "front_costs_ms": round(cost, 2),
                "loading_the_pass_costs_ms": round(median["front_with_pass"] - median["front"], 2),
                "ratio": round(median["front"] / median["real"], 3),
                "target_ms": TARGET_MS,
            }
        )
    )
    return 0 if cost <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
