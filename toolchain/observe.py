"""Sort the lines that the callbacks of a corpus program printed by function.

Takes the linked program and its output. Gives the calls and returns of each function. Never reads the expectations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.expect import Field


@dataclass(frozen=True)
class Report:
    """One line that a callback printed."""

    index: int
    size: int
    pointer: int
    fields: tuple[Field, ...] | None
    value: int | None


@dataclass
class Observed:
    """The reports of one function: those of each call, and its returns."""

    calls: list[list[Report]] = field(default_factory=list)
    returns: list[Report] = field(default_factory=list)


@dataclass(frozen=True)
class Symbols:
    """Symbols of the linked program."""

    addresses: Mapping[str, int]
    local: frozenset[str]
    functions: Mapping[int, tuple[str, ...]]


def read_symbols(program: Path) -> Symbols:
    """Read the symbols of a program; remove the suffixes that the optimizer gave to copies of functions."""
    from elftools.elf.elffile import ELFFile

    addresses: dict[str, int] = {}
    local: set[str] = set()
    functions: dict[int, list[str]] = {}
    with program.open("rb") as stream:
        table: Any = ELFFile(stream).get_section_by_name(".symtab")
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] not in ("STT_FUNC", "STT_OBJECT") or symbol["st_shndx"] == "SHN_UNDEF":
                continue
            name = symbol.name.partition(".")[0]
            addresses.setdefault(name, symbol["st_value"])
            if symbol["st_info"]["bind"] == "STB_LOCAL":
                local.add(name)
            if symbol["st_info"]["type"] == "STT_FUNC":
                functions.setdefault(symbol["st_value"], []).append(name)
    return Symbols(addresses, frozenset(local), {a: tuple(n) for a, n in functions.items()})


def read_reports(text: str, symbols: Symbols, names: Iterable[str]) -> tuple[dict[str, Observed], list[str]]:
    """Sort the output of the callbacks by function.

    Args:
        names: functions of the corpus; if several names share an address, one of these is used.

    Returns:
        Function -> reports, and complaints about addresses where no function begins.
    """
    known = set(names)
    observed: dict[str, Observed] = {}
    complaints: list[str] = []
    for line in text.splitlines():
        kind, pc, *rest = line.split(" ")
        names_here = symbols.functions.get(int(pc, 16), ())
        if not names_here:
            complaints.append(f"the address {pc} is not where a function begins")
            continue
        name = next((n for n in names_here if n in known), names_here[0])
        into = observed.setdefault(name, Observed())
        report = _read_report(rest)
        if kind == "R":
            into.returns.append(report)
        elif report.index == 0 or not into.calls or report.index <= into.calls[-1][-1].index:
            into.calls.append([report])
        else:
            into.calls[-1].append(report)
    return observed, complaints


def _read_report(words: Sequence[str]) -> Report:
    index, size, pointer, count, *values = words
    fields: tuple[Field, ...] | None = None
    value: int | None = None
    if int(count):
        split = [word.partition("=") for word in values]
        positions = [(position.partition(":"), shown) for position, _, shown in split]
        fields = tuple(Field(int(o), int(s), None if v == "-" else int(v, 0)) for (o, _, s), v in positions)
    elif values:
        value = int(values[0], 0)
    address = 0 if pointer == "(nil)" else int(pointer, 16)
    return Report(int(index), int(size), address, fields, value)
