"""invoke kernel.*: build a kernel, and take it all the way to verified records."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command
from commands.common import human_size, print_json


@cell_command()
def build(_c: Any, asked: Asked) -> None:
    """Build a kernel. Example: ./invoke kernel.build --profile dataflow --base tiny --instrument fs/open.o"""
    from kernel import build as kernels

    made = kernels.build(asked.cell, asked.where, install=asked.install, guard=asked.guard)
    if asked.json:
        print_json({"path": str(made.path), **made.metadata})
        return
    facts = made.metadata
    cache = facts["ccache"]
    total = cache["hits"] + cache["misses"]
    rate = f"{100 * cache['hits'] / total:.0f}% of {total} compilations" if total else "nothing compiled"
    print(
        f"Linux {facts['release']}: image {human_size(facts['files']['image']['size'])}, "
        f"make {facts['make_seconds']} s with {facts['jobs']} jobs, ccache hits {rate}, {facts['warnings']} warnings"
    )
    if facts.get("frames"):
        print("frames of functions: " + ", ".join(f"{n} over {limit} bytes" for limit, n in facts["frames"].items()))
    print(made.path)


@cell_command(seed="repeat the draws of an earlier run")
def run(_c: Any, asked: Asked, seed: str = "") -> None:
    """Build, boot, capture and verify, in one command. Example: ./invoke kernel.run --profile all --base tiny"""
    from ci import run as cells

    result = cells.run(asked.cell, asked.where, seed=seed, install=asked.install, guard=asked.guard)
    if asked.json:
        print_json(result.as_json())
    else:
        print(result.as_text())
    result.require()
