"""Tasks kernel.*: build a kernel, and take it all the way to verified records."""

from __future__ import annotations

from typing import Any

from commands.cells import MEMORY_HELP, SMP_HELP, Asked, cell_command
from commands.tables import human_size, print_json, print_table


@cell_command()
def build(_c: Any, asked: Asked) -> None:
    """Build a kernel. Example: ./invoke kernel.build --profile dataflow --base tiny --instrument fs/open.o"""
    import time

    from kernel import kernels

    begun = int(time.time())
    made = kernels.build(asked.cell, asked.runtime, guard=asked.guard)
    if asked.json:
        print_json(made.as_json())
        return
    cache = made.cache
    total = cache.hits + cache.misses
    rate = f"{100 * cache.hits / total:.0f}% of {total} compilations" if total else "nothing compiled"
    rate += f" ({cache.remote} out of what machines share)" if cache.remote else ""
    # A kernel from the store: print the figures of its build, and the day of it.
    stored = made.made < begun
    since = time.strftime(" (in the store since %Y-%m-%d %H:%M)", time.localtime(made.made)) if stored else ""
    print(
        f"Linux {made.release}{since}: image {human_size(made.sizes['image'])}, "
        f"make {made.make_seconds} s with {made.jobs} jobs, ccache hits {rate}, {made.warnings} warnings"
    )
    if made.gate_text:
        print(f"gates: sha256 of their text {made.gate_text}")
    if made.frames:
        print("frames of functions: " + ", ".join(f"{n} over {limit} bytes" for limit, n in made.frames.items()))
    print(made.path)


@cell_command(boots=True, seed="seed of an earlier run, to repeat its draws", smp=SMP_HELP, memory=MEMORY_HELP)
def run(_c: Any, asked: Asked, seed: str = "", smp: str = "", memory: str = "") -> None:
    """Build, boot, capture and verify, in one command. Example: ./invoke kernel.run --profile all --base tiny"""
    from cells import runs

    result = runs.run(asked.cell, asked.runtime, seed=seed, guard=asked.guard, smp=smp, memory=memory)
    if asked.json:
        print_json(result.as_json())
    else:
        print(result.as_text())
    result.require()


@cell_command(
    boots=True,
    boot="also boot each prefix and check its records",
    cold="ignore ccache, and also build the whole series from nothing, for the ratio",
)
def each(_c: Any, asked: Asked, boot: bool = False, cold: bool = False) -> None:
    """Build every prefix of a series. Example: ./invoke kernel.each --series kit --profile all --base tiny --boot"""
    from cells import prefixes

    def show(row: prefixes.Row) -> None:
        if not asked.json:
            failed = f": {row.reason.splitlines()[0]}" if row.reason else ""
            print(f"prefix {row.prefix} {row.patch or '(no patch)'}: {row.status}{failed}", flush=True)

    series = prefixes.run(asked.cell, asked.runtime, boot=boot, cold=cold, guard=asked.guard, told=show)
    if asked.json:
        print_json(series.as_json())
    else:
        rows = prefixes.table(series.rows)
        print_table(rows, tuple(rows[0]))
        symbols = sorted({symbol for row in series.rows for symbol in row.not_yet})
        if symbols:
            print(f"not yet: {', '.join(symbols)}")
        print(f"make took {series.cpu_seconds:.0f} s of CPU in all", end="")
        print(f", {series.ratio:.2f} of one build from nothing ({series.cold} s)" if series.ratio else "")
        print(series.folder / prefixes.FILE)
    series.require()


@cell_command(
    boots=True,
    good="number of patches, or revision, that is good",
    bad="number of patches, or revision, that is bad",
    git="git repository whose commits are searched instead of the patches of the series",
    boot="also count a kernel as bad if it does not boot or records wrong values",
)
def bisect(_c: Any, asked: Asked, good: str = "", bad: str = "", git: str = "", boot: bool = False) -> None:
    """Find the patch or commit that breaks. Example: ./invoke kernel.bisect --profile all --good 0 --bad 6 --boot"""
    from dataclasses import asdict

    from cells import bisection

    def show(name: str, verdict: str) -> None:
        if not asked.json:
            print(f"{name}: {verdict}", flush=True)

    search = bisection.run(
        asked.cell,
        asked.runtime,
        good,
        bad,
        repository=git,
        boot=boot,
        guard=asked.guard,
        told=show,
    )
    if asked.json:
        print_json(asdict(search))
    elif not search.between:
        patch = f" ({search.patch})" if search.patch else ""
        print(f"the first bad one is {search.first_bad}{patch}: {search.reason}")
    search.require()
