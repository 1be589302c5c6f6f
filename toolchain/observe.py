"""What a run of the corpus said: the lines that its callbacks printed, sorted by function.

What comes in are the linked program and the text that it printed; what goes out are calls and returns by function.
Nothing here knows what is expected.
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
    """What one function reported: its calls (the reports of each) and its returns."""

    calls: list[list[Report]] = field(default_factory=list)
    returns: list[Report] = field(default_factory=list)


@dataclass(frozen=True)
class Symbols:
    """Symbols of the linked program."""

    addresses: Mapping[str, int]
    local: frozenset[str]
    functions: Mapping[int, tuple[str, ...]]


def read_symbols(program: Path) -> Symbols:
    """Names of a program; suffixes that the optimizer gave to copies of a function are taken off."""
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
    """Sort what the callbacks printed by function.

    Args:
        names: functions that the corpus knows; where several names share an address, a known one counts.

    Returns:
        Observations by function, and complaints about addresses that are no function's.
    """
    known = set(names)
    observed: dict[str, Observed] = {}
    complaints: list[str] = []
    for line in text.splitlines():
        kind, pc, *rest = line.split(" ")
        here = symbols.functions.get(int(pc, 16), ())
        if not here:
            complaints.append(f"the address {pc} is not where a function begins")
            continue
        name = next((n for n in here if n in known), here[0])
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
        places = [(place.partition(":"), shown) for place, _, shown in split]
        fields = tuple(Field(int(o), int(s), None if v == "-" else int(v, 0)) for (o, _, s), v in places)
    elif values:
        value = int(values[0], 0)
    address = 0 if pointer == "(nil)" else int(pointer, 16)
    return Report(int(index), int(size), address, fields, value)
