"""Time `kconfig.check` and the reader of Kconfig, compared with the tree's own olddefconfig on the same configuration.

Uses a real tree and real compiler tests, in Docker. Rounds of the three are interleaved, so that other work on the
machine affects all of them. Prints JSON; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from core.arch import host_arch
from core.runtime import Runtime
from kconfig import symbols
from kernel import kernels
from kernel.cell import Cell, CellNames, resolve
from kernel.workplace import Workplace, open_workplace
from sources import catalogue

BEYOND, RATIO = 1.0, 1.3  # seconds of the check beyond olddefconfig; the reader as a multiple of olddefconfig


def measure(cell: Cell, rounds: int) -> dict[str, float]:
    """Return medians in seconds of wall time: olddefconfig, the reader, and the check from names to verdict."""
    taken: dict[str, list[float]] = {"olddefconfig": [], "reader": [], "check": []}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        taken[name].append(time.monotonic() - started)

    runtime = Runtime("docker")
    kernels.check_config(cell, runtime).require()  # the tree, the toolchain, the base and scripts/kconfig are made here
    ready = kernels.prepare(cell, runtime)
    for number in range(rounds + 1):
        with open_workplace(ready) as workplace:

            def conf(workplace: Workplace = workplace) -> None:
                done = workplace.session.run(
                    [*workplace.command, "olddefconfig"], env={**workplace.env, "LC_ALL": "C"}, log=workplace.log
                )
                assert done.ok, workplace.log

            if number == 0:  # compiles the reader, and warms what all three read
                symbols.load(workplace.session, workplace.build_dir, workplace.command, workplace.log, workplace.env)
                continue
            timed("olddefconfig", conf)
            timed("reader", lambda p=workplace: symbols.load(p.session, p.build_dir, p.command, p.log, p.env))  # type: ignore[misc]
        timed("check", lambda: kernels.check_config(cell, runtime).require())
    return {name: statistics.median(values) for name, values in taken.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", default="kasan-all")
    parser.add_argument("--base", default="defconfig")
    parser.add_argument("--arch", default=host_arch())
    parser.add_argument("--toolchain", default="plugin-19")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    cell = resolve(CellNames(args.toolchain, "kit", args.profile, args.base, args.arch, catalogue.default_linux()))
    medians = measure(cell, args.rounds)
    beyond, ratio = medians["check"] - medians["olddefconfig"], medians["reader"] / medians["olddefconfig"]
    print(
        json.dumps(
            {
                "cell": f"{args.profile} {args.base} {args.arch} {args.toolchain}",
                "rounds": args.rounds,
                "seconds": {name: round(value, 3) for name, value in medians.items()},
                "check_beyond_olddefconfig_seconds": round(beyond, 3),
                "target_beyond_seconds": BEYOND,
                "reader_of_olddefconfig": round(ratio, 3),
                "target_reader_of_olddefconfig": RATIO,
            },
            indent=2,
        )
    )
    return 0 if beyond <= BEYOND and ratio <= RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
