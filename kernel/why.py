"""Explain why a symbol has its value in the configuration of a cell.

Takes a cell and a symbol. Gives an `Answer`. Configures as a build does, but never compiles.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from core.runtime import Runtime
from kconfig import reason, survival, symbols
from kconfig.fragment import Asked
from kconfig.survival import Lost
from kernel import kernels
from kernel.cell import Cell
from kernel.workplace import open_workplace


@dataclass(frozen=True)
class Answer:
    """The value of a symbol, and the reasons.

    Attributes:
        value: its value in the configuration; `absent` if it has no line there.
        asked: the requested value; y if the cell does not request the symbol.
        origin: where it was requested.
        reason: why the value differs from the requested one; None if it does not.
        facts: its definition, dependencies, selects and choice, one line each; empty if the reader failed.
    """

    symbol: str
    value: str
    asked: str
    origin: str
    reason: reason.Reason | None
    facts: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the answer as JSON values."""
        return asdict(self)


def why(cell: Cell, runtime: Runtime, symbol: str, *, guard: bool = True) -> Answer:
    """Configure a cell and explain one symbol.

    Raises:
        UserError: the request is wrong.
        UnderTest: the configuration cannot be made at all.
        InfraError: the machine failed, or the reader could not be built.
    """
    ready = kernels.prepare(cell, runtime, guard=guard)
    asked = next(
        (request for request in ready.request.asked if request.symbol == symbol), Asked(symbol, "y", "this question", 0)
    )
    with open_workplace(ready) as place:
        final = place.configure().config
        value = survival.values(final.read_text()).get(symbol, survival.ABSENT)
        graph = symbols.load(place.session, place.build_dir, place.command, place.log, place.env)
        lost = [] if survival.granted(asked.value, value) else [Lost(asked, value)]
        reasons = reason.explain(
            place.session, place.build_dir, place.command, ready.request, lost, place.log, place.env, graph=graph
        )
    return Answer(symbol, value, asked.value, asked.origin, reasons[0] if reasons else None, facts(graph, symbol))


def facts(graph: symbols.Graph, name: str) -> tuple[str, ...]:
    """Return what the tree's Kconfig files define for a symbol, one line each."""
    symbol = graph.symbols.get(name)
    if symbol is None:
        return ()
    lines = [f"{symbol.type}, defined at {file}:{line}" for file, line in symbol.places]
    lines += [f"depends on {symbols.show(symbol.depends)} [={_tri(graph, symbol.depends)}]"] if symbol.depends else []
    lines += [
        f"can be set at {p.at} if {symbols.show(p.condition)} [={_tri(graph, p.condition)}]" for p in symbol.prompts
    ]
    lines += [] if symbol.prompts else ["has no prompt: only selects and defaults set it"]
    lines += [f"default {symbols.show(d.value)} at {d.at}" for d in symbol.defaults if graph.value(d.condition)]
    lines += [f"selected by {symbols.show(t)}" for t in reason.terms(symbol.selected) if graph.value(t)]
    lines += [f"member of a choice with {', '.join(n for n in symbol.choice if n != name)}"] if symbol.choice else []
    return tuple(lines)


def _tri(graph: symbols.Graph, expr: symbols.Expr) -> str:
    return "nmy"[graph.value(expr)]
