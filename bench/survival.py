"""Time the comparison of a request with a configuration, compared with a plain read of the same lines.

Prints JSON; exits with 1 if the comparison takes 50 ms or more, the target for a configuration of 12,000 lines.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from kconfig import survival
from kconfig.fragment import Asked
from kconfig.profiles import Request

LINES, ASKED, ROUNDS, TARGET = 12_000, 200, 9, 0.05


def best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several rounds."""
    times = []
    for _round in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> int:
    text = "".join(f"CONFIG_SYMBOL_{i}=y\n# CONFIG_OTHER_{i} is not set\n" for i in range(LINES // 2))
    asked = tuple(Asked(f"SYMBOL_{i}", "y", "bench", i + 1) for i in range(ASKED))
    request = Request("bench", "tiny", "x86_64", "7.1.8", "tinyconfig", "", asked)
    assert survival.compare(request, text) == []
    plain = best(lambda: [line.partition("=") for line in text.split("\n")])
    compared = best(lambda: survival.compare(request, text))
    print(
        json.dumps(
            {
                "lines": LINES,
                "asked": ASKED,
                "plain_read_seconds": round(plain, 5),
                "compare_seconds": round(compared, 5),
                "compare_of_plain_read": round(compared / plain, 2),
                "target_seconds": TARGET,
            },
            indent=2,
        )
    )
    return 0 if compared < TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
