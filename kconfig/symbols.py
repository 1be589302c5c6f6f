"""Read all symbols of a tree, with their expressions and compiler tests, from the tree's own Kconfig parser.

Takes a configured build directory. Gives a `Graph`. The reader (`reader/reader.c`) is linked with the tree's objects,
and the tree's make starts it in place of conf, so it gets the same input. Never changes the configuration.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import store
from core.errors import InfraError
from core.runtime import Session
from core.store import hash_file

SOURCE = Path(__file__).parent / "reader" / "reader.c"
FOLDER = ".kdf-reader"  # in the build directory: the reader, its source and its answer
TIMEOUT = 300.0  # seconds: some hundred compiler probes, like olddefconfig
TRI = {"n": 0, "m": 1, "y": 2}
# The common-objs of scripts/kconfig/Makefile (6.12 to 7.2).
_OBJECTS = ("confdata", "expr", "lexer.lex", "menu", "parser.tab", "preprocess", "symbol", "util")

# None (always y), a symbol's name, or [operator, operand...]; ["const", text] is a constant.
Expr = Any


@dataclass(frozen=True)
class Property:
    """A prompt, default or range: its FILE:LINE, its value and its condition."""

    at: str
    value: Expr
    condition: Expr


@dataclass(frozen=True)
class Symbol:
    """A symbol of the tree.

    Attributes:
        type: `bool`, `tristate`, `integer`, `hex`, `string`, or `unknown` if others name it but nothing defines it.
        value: its value in this configuration.
        visible: the highest value that the user may set: 0, 1 or 2.
        places: file and line of each definition.
        prompts: the prompts with which a user can set it; empty if it cannot be set.
        selected: all selects of it, as one expression; None if nothing selects it.
        choice: all members of its choice; empty if it does not belong to one.
    """

    name: str
    type: str
    value: str
    visible: int
    transitional: bool
    places: tuple[tuple[str, int], ...]
    depends: Expr
    selected: Expr
    prompts: tuple[Property, ...]
    defaults: tuple[Property, ...]
    ranges: tuple[Property, ...]
    choice: tuple[str, ...]

    @property
    def at(self) -> str:
        """Return its first definition as `file:line`; empty if it is not defined."""
        return f"{self.places[0][0]}:{self.places[0][1]}" if self.places else ""


@dataclass(frozen=True)
class Probe:
    """A command that the parser ran for a `$(shell,...)`, with its file and line."""

    file: str
    line: int
    command: str


@dataclass(frozen=True)
class Graph:
    """All symbols of a tree in one configuration."""

    symbols: Mapping[str, Symbol]
    probes: tuple[Probe, ...]

    def defines(self, name: str) -> bool:
        """Return whether the tree defines a symbol for this architecture; being named by others does not count."""
        return name in self.symbols and self.symbols[name].type != "unknown"

    def value(self, expr: Expr) -> int:
        """Return the value of an expression: 0 is n, 1 is m, 2 is y."""
        if expr is None:
            return 2
        if isinstance(expr, str):
            symbol = self.symbols.get(expr)
            return TRI.get(symbol.value, 0) if symbol and symbol.type in ("bool", "tristate") else 0
        operator, *operands = expr
        if operator == "const":
            return TRI.get(operands[0], 0)
        if operator == "and":
            return min(self.value(operands[0]), self.value(operands[1]))
        if operator == "or":
            return max(self.value(operands[0]), self.value(operands[1]))
        if operator == "not":
            return 2 - self.value(operands[0])
        return 2 if self._compares(operator, self.text(operands[0]), self.text(operands[1])) else 0

    def text(self, operand: Expr) -> str:
        """Return the value of a symbol or constant as text."""
        if isinstance(operand, list):
            return str(operand[1])
        symbol = self.symbols.get(operand) if operand else None
        return symbol.value if symbol else ""

    @staticmethod
    def _compares(operator: str, left: str, right: str) -> bool:
        try:
            order = int(left, 0) - int(right, 0)
        except ValueError:
            order = (left > right) - (left < right)
        results = {"=": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0}
        return results.get(operator, order >= 0)

    def probes_of(self, symbol: Symbol) -> list[Probe]:
        """Return the tests in the definitions of a symbol."""
        ends: dict[tuple[str, int], int] = {}
        for file, start in symbol.places:
            later = [line for other in self.symbols.values() for f, line in other.places if f == file and line > start]
            ends[file, start] = min(later, default=1 << 30)
        return [p for p in self.probes for (f, start), end in ends.items() if p.file == f and start <= p.line < end]


def show(expr: Expr) -> str:
    """Return an expression as Kconfig writes it."""
    if expr is None:
        return "y"
    if isinstance(expr, str):
        return expr
    operator, *operands = expr
    if operator == "const":
        return str(operands[0])
    if operator == "not":
        return f"!{show(operands[0])}" if isinstance(operands[0], str) else f"!({show(operands[0])})"
    if operator in ("and", "or"):
        return f"({show(operands[0])} {'&&' if operator == 'and' else '||'} {show(operands[1])})"
    return f"{show(operands[0])}{operator}{show(operands[1])}"


def load(session: Session, build_dir: Path, make_argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Graph:
    """Read the graph of the `.config` of a build directory with the tree's parser.

    Args:
        build_dir: as a path of the host; it is configured, so the parser's objects exist.
        make_argv: the build's make command with directory and variables, without a target.
        log: file for all output.
        env: environment variables for make.

    Raises:
        InfraError: the reader cannot be built for this tree, or did not write an answer.
    """
    folder = build_dir / FOLDER
    folder.mkdir(exist_ok=True)
    _compile(session, build_dir, make_argv, log, env)
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    # scripts/kconfig/Makefile puts `silent` between conf and its options. With this value, conf only prints its help,
    # and the reader runs in its place, with conf's environment and arguments.
    done = session.run(
        [*make_argv, f"silent=--help >/dev/null 2>&1; exec {session.path(folder / 'reader')}", "olddefconfig"],
        env={**env, "LC_ALL": "C", "KDF_READER_OUT": session.path(answer)},
        log=log,
        timeout=TIMEOUT,
    )
    if not done.ok or not answer.is_file():
        raise InfraError("the reader of this tree's Kconfig did not write an answer", "read the log", log)
    try:
        return parse(json.loads(answer.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise InfraError(f"the reader's answer cannot be understood: {error}", "read the log", log) from error


def _compile(session: Session, build_dir: Path, make_argv: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
    """Copy the tree's reader into the build directory; compile it if the store does not have it."""
    folder = build_dir / FOLDER
    objects = [build_dir / "scripts" / "kconfig" / f"{name}.o" for name in _OBJECTS]
    missing = [path.name for path in objects if not path.is_file()]
    if missing:
        raise InfraError(
            f"the reader could not be built: this tree's Kconfig does not have {', '.join(missing)}", "", log
        )

    def compile_it(out: Path) -> dict[str, object]:
        shutil.copyfile(SOURCE, folder / "reader.c")
        (folder / "reader").unlink(missing_ok=True)
        words = [
            "$(HOSTCC) -O1 -I$(srctree)/scripts/kconfig -I$(srctree)/scripts/include -o",
            session.path(folder / "reader"),
            session.path(folder / "reader.c"),
            *(session.path(path) for path in objects),
            "-Wl,--wrap=popen; exit $$?;",
        ]
        done = session.run(
            [*make_argv, f"silent=--help >/dev/null 2>&1; {' '.join(words)}", "olddefconfig"],
            env={**env, "LC_ALL": "C"},
            log=log,
            timeout=TIMEOUT,
        )
        if not done.ok or not (folder / "reader").is_file():
            raise InfraError("the reader could not be built against this tree's scripts/kconfig", "read the log", log)
        shutil.copy(folder / "reader", out / "reader")
        return {}

    # The objects identify the tree and its host compiler. A program only runs in the runtime in which it was linked.
    inputs = {"source": hash_file(SOURCE), "objects": [hash_file(path) for path in objects], "runtime": session.name}
    shutil.copy(store.make("reader", inputs, compile_it).path / "reader", folder / "reader")


def parse(answer: Mapping[str, Any]) -> Graph:
    """Return the reader's JSON as a graph.

    Raises:
        KeyError, TypeError: it is malformed.
    """
    symbols = {entry["name"]: _symbol(entry) for entry in answer["symbols"]}
    return Graph(symbols, tuple(Probe(file, line, command) for file, line, command in answer["probes"]))


def _symbol(entry: Mapping[str, Any]) -> Symbol:
    def properties(*keys: str) -> tuple[Property, ...]:
        return tuple(Property(f"{p['at']}:{p['line']}", p["value"], p["if"]) for key in keys for p in entry[key])

    return Symbol(
        entry["name"],
        entry["type"],
        entry["value"],
        entry["visible"],
        entry["transitional"],
        tuple((file, line) for file, line in entry["at"]),
        entry["depends"],
        entry["selected"],
        properties("prompts", "menus"),
        properties("defaults"),
        properties("ranges"),
        tuple(entry["choice"] or ()),
    )
