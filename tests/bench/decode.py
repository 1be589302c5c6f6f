"""Decode and symbolise a million words, beside a plain Python pass over the same words in the same run.

Target of the issue "First record": at most 3 s. Prints JSON; ends with 1 if the target is missed.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dataflow import records, symbols
from tests.buffers import ENTRY, RETURN, Row, words

WORDS = 1_000_000
FUNCTIONS = 20_000
BASE = 0xFFFF_FFFF_8100_0000
TARGET_SECONDS = 3.0


def buffer(draw: random.Random) -> np.ndarray:
    rows: list[Row] = []
    used = 0
    while used < WORDS - 12:
        values = tuple(draw.getrandbits(64) for _ in range(draw.choice([1, 1, 1, 3, 8])))
        rows.append(Row(draw.choice([ENTRY, RETURN]), BASE + 64 * draw.randrange(FUNCTIONS), values))
        used += 3 + len(values)
    return np.array(words(rows), dtype=np.uint64)


def main() -> int:
    draw = random.Random(1)
    data = buffer(draw)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{BASE:x} T _stext"] + [f"{BASE + 64 * i:x} T function_{i}" for i in range(FUNCTIONS)]
        system_map = Path(folder) / "System.map"
        system_map.write_text("\n".join(lines) + "\n")
        start = time.perf_counter()
        for word in data.tolist():
            _ = word >> 32 & 0xFFFF
        baseline = time.perf_counter() - start
        start = time.perf_counter()
        table = records.decode(data, "kit-1")
        names = symbols.read(system_map)
        pcs = symbols.link_time(table.pc, names, BASE)
        labels = [names.label(int(pc)) for pc in pcs]
        seconds = time.perf_counter() - start
    assert len(labels) == len(table)
    print(
        json.dumps(
            {
                "words": len(data),
                "records": len(table),
                "seconds": round(seconds, 3),
                "baseline_seconds": round(baseline, 3),
                "ratio": round(seconds / baseline, 2),
                "target_seconds": TARGET_SECONDS,
            }
        )
    )
    return 0 if seconds <= TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
