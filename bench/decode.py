"""Time how a million words are decoded and symbolised, compared with a plain Python pass over the same words.

The target is at most 3 s, without drgn. The words are drawn records of 20,000 functions. With `--kernel DIR`, a kernel
product, they are of that kernel's functions, and its System.map is read. Prints JSON; exits with 1 if the target is
missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.buffers import ENTRY, RETURN, Row, words
from dataflow import decoding, symbols

WORDS = 1_000_000
FUNCTIONS = 20_000
BASE = 0xFFFF_FFFF_8100_0000
KASLR = 0x2100_0000
TARGET_SECONDS = 3.0
ROUNDS = 3


def buffer(draw: random.Random, functions: list[int]) -> np.ndarray:
    """Return records that fill at most WORDS words."""
    rows: list[Row] = []
    used = 0
    while used < WORDS - 12:
        values = tuple(draw.getrandbits(64) for _ in range(draw.choice([1, 1, 1, 3, 8])))
        rows.append(Row(draw.choice([ENTRY, RETURN]), KASLR + draw.choice(functions), values))
        used += 3 + len(values)
    return np.array(words(rows), dtype=np.uint64)


def measure(data: np.ndarray, system_map: Path) -> dict[str, float]:
    """Return the seconds of one round by step; the baseline reads each word once in plain Python."""
    clock = time.perf_counter
    start = clock()
    for word in data.tolist():
        _ = word >> 32 & 0xFFFF
    baseline = clock() - start
    start = clock()
    table = decoding.decode(data, "kit-1")
    table.flat()
    decoded = clock()
    names = symbols.read(system_map)
    read = clock()
    pcs = symbols.link_time(table.pc, names, names.stext + KASLR)
    labels = names.labels(pcs)
    end = clock()
    assert len(labels) == len(table)
    assert names.is_start(pcs).all()
    return {"baseline": baseline, "decode": decoded - start, "map": read - decoded, "symbolise": end - read}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", type=Path, help="directory with System.map")
    chosen: Path | None = parser.parse_args(argv).kernel
    with tempfile.TemporaryDirectory() as folder:
        system_map = Path(folder) / "System.map" if chosen is None else chosen / "System.map"
        if chosen is None:
            lines = [f"{BASE:x} T _stext"] + [f"{BASE + 64 * i:x} T function_{i}" for i in range(FUNCTIONS)]
            system_map.write_text("\n".join(lines) + "\n")
        functions: list[int] = symbols.read(system_map).addresses.tolist()
        data = buffer(random.Random(1), functions)
        best = min((measure(data, system_map) for _ in range(ROUNDS)), key=lambda found: sum(found.values()))
    baseline = best.pop("baseline")
    seconds = sum(best.values())
    print(
        json.dumps(
            {
                "words": len(data),
                "records": len(decoding.decode(data, "kit-1")),
                "functions": len(functions),
                "seconds": round(seconds, 3),
                "steps": {name: round(value, 3) for name, value in best.items()},
                "baseline_seconds": round(baseline, 3),
                "ratio": round(seconds / baseline, 2),
                "target_seconds": TARGET_SECONDS,
            }
        )
    )
    return 0 if seconds <= TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
