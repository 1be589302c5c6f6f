"""Task kconfig.why: explain the value of one symbol."""

from __future__ import annotations

from typing import Any

from commands.cells import Asked, cell_command
from commands.tables import print_json


@cell_command(positional=["symbol"], defaults={"profile": "none"}, symbol="symbol, with or without CONFIG_")
def why(_c: Any, asked: Asked, symbol: str) -> None:
    """Show the value of a symbol in a configuration, and why. Example: ./invoke kconfig.why KASAN --base tiny"""
    from kernel.why import why

    answer = why(asked.cell, asked.runtime, symbol.removeprefix("CONFIG_"), guard=asked.guard)
    if asked.json:
        print_json(answer.as_json())
        return
    print(f"{answer.symbol} is {answer.value}")
    if answer.reason is not None:
        print(f"  asked {answer.asked} ({answer.origin}); {answer.reason.kind}: {answer.reason.sentence}")
        for step in answer.reason.chain:
            print(f"    {step.what}={step.value}, needs {step.needs}  {step.at}")
        if answer.reason.compiler is not None:
            print(f"  the test: {answer.reason.compiler.command}")
            print(f"  it said: {answer.reason.compiler.message}")
        tried = " ".join(answer.reason.suggestion)
        print(f"  tried, and it survives with: {tried}" if tried else "  no setting was found that makes it survive")
    for line in answer.facts:
        print(f"  {line}")
