"""Explain why symbols were lost: the chain to the symbol that blocks each, and settings that were tried and help.

Takes the lost symbols of `kconfig.survival`. Gives one `Reason` for each. Never raises because a reason is not found:
the verdict does not depend on this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import KitError
from core.runtime import Session
from kconfig import survival, symbols, trial
from kconfig.profiles import Request
from kconfig.survival import Lost
from kconfig.symbols import TRI, Expr, Graph, Symbol

_DEPTH = 12
_FIXED = 1000  # cost of a need that no setting can meet; a symbol that the user can set costs 1


@dataclass(frozen=True)
class Step:
    """One symbol (or comparison) of a chain: its value, the value that it needs, and its definition as FILE:LINE."""

    what: str
    value: str
    needs: str
    at: str


@dataclass(frozen=True)
class Reason:
    """The reason why a symbol was lost.

    Attributes:
        kind: `unknown`, `undefined here`, `unmet dependency`, `y->m`, `choice`, `compiler test`, `selected`,
            `invisible`, `range`, `type`, `modules` or `unexplained`.
        chain: from the lost symbol to the one that blocks it.
        suggestion: settings with which the symbol survived when they were tried; empty if no settings helped.
    """

    symbol: str
    kind: str
    sentence: str
    chain: tuple[Step, ...] = ()
    suggestion: tuple[str, ...] = ()
    compiler: trial.Compiler | None = None

    def __str__(self) -> str:
        parts = [self.sentence]
        # In a longer chain, each symbol would repeat the same test.
        if self.compiler is not None and len(self.chain) <= 1:
            parts.append(f"the test {self.compiler.command} printed: {self.compiler.message}")
        if self.suggestion:
            parts.append(f"tried, and it survives with {' '.join(self.suggestion)}")
        return "; ".join(parts)

    def as_json(self) -> dict[str, object]:
        """Return the reason as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """A reason before anything was tried: the settings to try, and the symbol whose compiler tests to run again."""

    kind: str
    sentence: str
    chain: tuple[Step, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    tests_of: str = ""


@dataclass(frozen=True)
class Need:
    """A leaf of an expression with a wrong value. `symbol` is empty for a constant or a comparison."""

    symbol: str
    value: str
    text: str


def needs(graph: Graph, expr: Expr, want: int) -> list[Need]:
    """Return the cheapest set of leaves that must change for an expression to be at least `want`."""
    if graph.value(expr) >= want:
        return []
    if isinstance(expr, str):
        symbol = graph.symbols.get(expr)
        return [Need(expr, "m" if want == 1 and symbol and symbol.type == "tristate" else "y", expr)]
    operator, *operands = expr
    if operator == "and":
        return [*needs(graph, operands[0], want), *needs(graph, operands[1], want)]
    if operator == "or":
        return min((needs(graph, operand, want) for operand in operands), key=lambda leaves: _cost(graph, leaves))
    if operator == "not":
        return needs_off(graph, operands[0], 2 - want)
    return [Need("", "y", symbols.show(expr))]


def needs_off(graph: Graph, expr: Expr, most: int) -> list[Need]:
    """Return the cheapest set of leaves that must change for an expression to be at most `most`."""
    if graph.value(expr) <= most:
        return []
    if isinstance(expr, str):
        return [Need(expr, "m" if most == 1 else "n", expr)]
    if expr is None:
        return [Need("", "n", "y")]
    operator, *operands = expr
    if operator == "and":
        return min((needs_off(graph, operand, most) for operand in operands), key=lambda leaves: _cost(graph, leaves))
    if operator == "or":
        return [*needs_off(graph, operands[0], most), *needs_off(graph, operands[1], most)]
    if operator == "not":
        return needs(graph, operands[0], 2 - most)
    return [Need("", "n", symbols.show(expr))]


def _cost(graph: Graph, leaves: Sequence[Need]) -> int:
    return sum(
        1 if (s := graph.symbols.get(n.symbol)) and s.visible else 10 if s and s.prompts else _FIXED for n in leaves
    )


def terms(expr: Expr, operator: str = "or") -> list[Expr]:
    """Return the operands of nested ors (or ands)."""
    if isinstance(expr, list) and expr[0] == operator:
        return [*terms(expr[1], operator), *terms(expr[2], operator)]
    return [] if expr is None else [expr]


def find(graph: Graph, lost: Lost, asked: Mapping[str, str]) -> Finding:
    """Find the reason for a lost symbol in the expressions, without trying anything.

    Args:
        asked: symbol -> value of the whole request; settings never contradict it.
    """
    name, want = lost.symbol, lost.asked.value
    symbol = graph.symbols.get(name)
    if symbol is None or symbol.type == "unknown":
        defined = [s.name for s in graph.symbols.values() if s.type != "unknown"]
        near = difflib.get_close_matches(name, defined, n=1, cutoff=0.7)
        meant = f"; did you mean {near[0]}?" if near else ""
        where = "named by others but defined nowhere in" if symbol else "unknown to"
        kind = "undefined here" if symbol else "unknown"
        return Finding(kind, f"{name} is {where} this tree's Kconfig for this architecture{meant}")
    top = Step(name, symbol.value, want, symbol.at)
    if (want in TRI) != (symbol.type in ("bool", "tristate")):
        return Finding("type", f"{name} is of type {symbol.type}, so it cannot be {want} ({symbol.at})", (top,))
    if want == "m" and symbol.type == "bool":
        return Finding("type", f"{name} is bool: it can be y or n, not m ({symbol.at})", (top,), ((name, "y"),))
    if symbol.transitional:
        heirs = [heir for heir in graph.symbols.values() if any(_names(d.value, name) for d in heir.defaults)]
        instead = f"; ask for {' or '.join(f'{s.name} ({s.at})' for s in heirs)} instead" if heirs else ""
        sentence = f"{name} is transitional: it was renamed, and only old configurations name it ({symbol.at}){instead}"
        return Finding("invisible", sentence, (top,))
    if want in TRI and TRI[want] < TRI.get(symbol.value, 0):
        return _too_high(graph, symbol, TRI[want], top, asked)
    chain, settings, kind, tests = _descend(graph, symbol, max(TRI.get(want, 2), 1), asked)
    if kind:
        return Finding(kind, _sentence(kind, chain, want), chain, settings, tests)
    if want not in TRI:
        for limits in symbol.ranges:
            if graph.value(limits.condition) and isinstance(limits.value, list):
                low, high = graph.text(limits.value[1]), graph.text(limits.value[2])
                return Finding("range", f"{name} must be between {low} and {high} ({limits.at}), not {want}", (top,))
    if want == "m" and graph.value("MODULES") == 0:
        return Finding("modules", f"{name} cannot be m: MODULES is n", (top,), (("MODULES", "y"),))
    return Finding("unexplained", f"nothing in Kconfig forbids {name}={want} ({symbol.at})", (top,))


def _names(expr: Expr, name: str) -> bool:
    """Return whether a symbol is an operand of an expression."""
    if isinstance(expr, list) and expr[0] != "const":
        return any(_names(operand, name) for operand in expr[1:])
    return bool(expr == name)


def _too_high(graph: Graph, symbol: Symbol, most: int, top: Step, asked: Mapping[str, str]) -> Finding:
    """Explain a value that is higher than requested: by a select, by a choice, or because nobody can set the symbol."""
    if symbol.selected is not None and graph.value(symbol.selected) > most:
        forcing = [term for term in terms(symbol.selected) if graph.value(term) > most]
        leaves = [next((leaf for leaf in terms(term, "and") if isinstance(leaf, str)), "") for term in forcing]
        chain = (top, *(Step(n, graph.text(n), "n", s.at) for n in leaves if (s := graph.symbols.get(n))))
        settings = tuple((n, "n") for n in leaves if n not in asked and (s := graph.symbols.get(n)) and s.prompts)
        names = ", ".join(f"{s.what} ({s.at})" for s in chain[1:])
        return Finding(
            "selected", f"{symbol.name} is {symbol.value} because it is selected by {names}", chain, settings
        )
    if symbol.choice and symbol.visible:
        others = [member for member in symbol.choice if member != symbol.name and graph.symbols[member].visible]
        rest = ", ".join(others) or "not available"
        sentence = f"{symbol.name} is y because a choice needs one member; the others are {rest}"
        return Finding("choice", sentence, (top,), tuple((member, "y") for member in others[:1]))
    if symbol.type == "tristate" and symbol.visible and graph.value("MODULES") == 0:
        return Finding("modules", f"{symbol.name} cannot be m: MODULES is n", (top,), (("MODULES", "y"),))
    if not symbol.visible:
        by = next((d for d in symbol.defaults if graph.value(d.condition)), None)
        place = f" by its default at {by.at}" if by else ""
        why = "has no prompt" if not symbol.prompts else "is not visible"
        return Finding("invisible", f"{symbol.name} {why}: it is {symbol.value}{place}, and nobody can set it", (top,))
    return Finding("unexplained", f"nothing in Kconfig forbids {symbol.name}=n ({symbol.at})", (top,))


Descent = tuple[tuple[Step, ...], tuple[tuple[str, str], ...], str, str]


def _descend(
    graph: Graph, symbol: Symbol, want: int, asked: Mapping[str, str], seen: frozenset[str] = frozenset()
) -> Descent:
    """Follow the dependencies of a symbol that is too low to the symbol that blocks it.

    Returns:
        chain, settings, kind (empty if nothing blocks the symbol), and the symbol whose test failed.
    """
    here = Step(symbol.name, symbol.value, "y" if want == 2 else "m", symbol.at)
    if symbol.type == "unknown":
        return (here,), (), "undefined here", ""
    if symbol.name in seen or len(seen) > _DEPTH:
        return (here,), (), "unmet dependency", ""
    if symbol.prompts:
        blocked = min((needs(graph, p.condition, want) for p in symbol.prompts), key=lambda f: _cost(graph, f))
        if not blocked:
            winner = next((n for n in symbol.choice if n != symbol.name and graph.value(n) == 2), "")
            if winner:
                chosen = Step(winner, "y", "n", graph.symbols[winner].at)
                return (here, chosen), ((winner, "n"), (symbol.name, "y")), "choice", ""
            return (here,), (), "", ""
    else:
        if graph.probes_of(symbol):
            return (here,), (), "compiler test", symbol.name
        ways = [needs(graph, d.condition, want) or needs(graph, d.value, want) for d in symbol.defaults]
        ways += [needs(graph, term, want) for term in terms(symbol.selected)]
        if not any(ways):
            return (here,), (), "invisible", ""
        blocked = min((way for way in ways if way), key=lambda f: _cost(graph, f))
    return _blocked(graph, here, blocked, want, asked, seen | {symbol.name})


def _blocked(
    graph: Graph, here: Step, blocked: Sequence[Need], want: int, asked: Mapping[str, str], seen: frozenset[str]
) -> Descent:
    """Follow all blockers of a symbol; the hardest one makes the chain, and all of them make the settings."""
    settings: list[tuple[str, str]] = []
    worst: tuple[int, Descent] | None = None
    for need in blocked:
        symbol = graph.symbols.get(need.symbol)
        if symbol is None and graph.probes_of(graph.symbols[here.what]):
            # Kconfig has replaced the macro of a compiler test by a constant. The test is in this symbol's definition.
            descent: Descent = ((), (), "compiler test", here.what)
        elif symbol is None:
            descent = ((Step(need.text, "n" if need.value != "n" else "y", need.value, ""),), (), "fixed", "")
        elif need.value == "n":
            descent = ((Step(symbol.name, symbol.value, "n", symbol.at),), ((symbol.name, "n"),), "", "")
        else:
            chain, more, kind, tests = _descend(graph, symbol, TRI[need.value], asked, seen)
            own = ((symbol.name, need.value),) if symbol.prompts else ()
            descent = (chain, (*more, *own), kind, tests)
        settings += descent[1]
        rank = {"compiler test": 4, "undefined here": 3, "fixed": 3, "invisible": 2}.get(descent[2], 0)
        if worst is None or (rank, len(descent[0])) > (worst[0], len(worst[1][0])):
            worst = (rank, descent)
    if worst is None:
        return (here,), (), "invisible", ""
    chain, _, kind, tests = worst[1]
    if kind in ("", "fixed", "choice"):
        kind = "y->m" if want == 2 and here.value == "m" and chain[-1].value == "m" else "unmet dependency"
    hopeless = worst[0] >= 2 or any(s in asked and asked[s] != v for s, v in settings)
    return (here, *chain), () if hopeless else tuple(dict.fromkeys(settings)), kind, tests


def _sentence(kind: str, chain: Sequence[Step], want: str) -> str:
    first, last = chain[0], chain[-1]
    place = f" ({last.at})" if last.at else ""
    path = " -> ".join(step.what for step in chain)
    if kind == "choice":
        return f"{path}: the choice is taken by {last.what}{place}"
    if kind == "compiler test":
        return f"{path}: the compiler test of {last.what} failed{place}"
    if kind == "undefined here":
        return f"{path}: {last.what} is defined nowhere for this architecture"
    if len(chain) == 1:
        return f"{first.what} has no prompt, and nothing that would set it is on{place}"
    return f"{path}: {first.what}={want} needs {last.what}={last.needs}, which is {last.value}{place}"


def explain(
    session: Session,
    build_dir: Path,
    make_argv: Sequence[str],
    request: Request,
    lost: Sequence[Lost],
    log: Path,
    env: Mapping[str, str],
    graph: Graph | None = None,
) -> list[Reason]:
    """Return loss reason per lost symbol; never raise because a reason is not finding.

    Args:
        build_dir: as a path of the host; contains the `.config` in which they were lost.
        make_argv: the build's make command with directory and variables, without a target.
        log: file for all output.
        env: environment variables for make.
        graph: of this `.config`; it is read if it is not given.
    """
    if not lost:
        return []
    try:
        graph = graph or symbols.load(session, build_dir, make_argv, log, env)
    except (KitError, OSError) as error:
        first = str(error).splitlines()[0]
        return [Reason(symbol.symbol, "unexplained", f"no reason can be given: {first}") for symbol in lost]
    asked = {ask.symbol: ask.value for ask in request.asked}
    final = survival.values((build_dir / ".config").read_text())
    kept = [ask for ask in (*request.asked, *request.must) if survival.granted(ask.value, trial.got(final, ask))]
    reasons = []
    for loss in lost:
        finding = find(graph, loss, asked)
        compiler: trial.Compiler | None = None
        helps: tuple[str, ...] = ()
        try:
            if finding.tests_of:
                compiler = trial.compiler_test(session, build_dir, graph, finding.tests_of, log, env)
            helps = trial.settings(session, build_dir, make_argv, [loss.asked, *kept], finding.settings, log, env)
        except (KitError, OSError) as error:
            finding = Finding(finding.kind, f"{finding.sentence} (nothing could be tried: {error})", finding.chain)
        reasons.append(Reason(loss.symbol, finding.kind, finding.sentence, finding.chain, helps, compiler))
    return reasons
