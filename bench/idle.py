"""The idle table: every target of targets.yaml, on every base and architecture that it names.

What comes in are places; what goes out is one line for each target, with what each place says to it, and the whole
table of bench.rfc of each place. A place's kernels are those that the targets need, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import rfc, targets
from bench.rfc import Table
from bench.targets import Answer, Target
from cells import runs
from core import store
from core.arch import check_arch
from core.data import load_yaml
from core.errors import UserError, nearest
from core.runtime import Runtime
from kernel.cell import CellNames, resolve

RESULT = "idle.json"
# Targets that are held against the same profile of the older generation.
_AGAINST_OLD = ("beside", "growth")


@dataclass(frozen=True)
class Measure:
    """What is measured.

    Attributes:
        linux: a version of sources.yaml.
        old, new: series and toolchain of the two generations; `none` is built as the old one.
        places: (base, architecture) of each table.
    """

    linux: str
    old: tuple[str, str]
    new: tuple[str, str]
    places: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Judged:
    """What was measured in one place, and what it says to each target."""

    place: str
    table: Table
    answers: Sequence[Answer]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "place": self.place,
            "table": self.table.as_json(),
            "answers": [one.as_json() for one in self.answers],
        }


def load() -> Measure:
    """What targets.yaml says of it.

    Raises:
        UserError: it is malformed.
    """
    node = load_yaml(targets.FILE).get("idle")
    node.only("linux", "old", "new", "places")
    generations = []
    for key in ("old", "new"):
        node.get(key).only("series", "toolchain")
        generations.append((node.get(key).string("series"), node.get(key).string("toolchain")))
    places = []
    for one in node.elements("places", required=True):
        one.only("base", "arch")
        places.append((one.string("base"), check_arch(one.string("arch"))))
    return Measure(node.string("linux"), generations[0], generations[1], tuple(places))


def chosen(words: str, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The places of `BASE/ARCH` with commas between; all of them without words.

    Raises:
        UserError: one is not among those of targets.yaml.
    """
    by_name = {"/".join(one): one for one in known}
    for word in filter(None, words.split(",")):
        if word not in by_name:
            raise UserError(
                f"there is no place {word}{nearest(word, by_name)}", f"of {targets.FILE.name}: {', '.join(by_name)}"
            )
    return [by_name[word] for word in words.split(",") if word] or list(known)


def columns(measure: Measure, place: tuple[str, str], asked: Sequence[Target]) -> dict[str, CellNames]:
    """The cells of one table, by column: controls, what the older generation is needed for, and the newer one."""
    base, arch = place
    like = CellNames(measure.old[1], measure.old[0], "none", base, arch, measure.linux)
    old = [one.profile for one in asked if one.by in _AGAINST_OLD]
    controls = [rfc.baseline(one.profile) for one in asked]
    found = {profile: replace(like, profile=profile) for profile in dict.fromkeys(["none", *controls, *old])}
    series, toolchain = measure.new
    for profile in dict.fromkeys(one.profile for one in asked):
        sets = tuple(dict.fromkeys(one.set for one in asked if one.profile == profile and one.set))
        found[f"{profile}@{series}"] = replace(like, profile=profile, series=series, toolchain=toolchain, sets=sets)
    return found


def run(
    measure: Measure,
    places: Sequence[tuple[str, str]],
    runtime: Runtime,
) -> tuple[list[Judged], Path]:
    """Measure the places one after the other; what is done is on disk before the next one begins.

    Returns:
        What was found, and the folder with idle.json.

    Raises:
        UserError: a name is not known.
        UnderTest: a kernel does not build, boot or answer.
        InfraError: the machine failed.
    """
    asked = targets.targets()
    tables = {
        "/".join(place): {name: resolve(names) for name, names in columns(measure, place, asked).items()}
        for place in places
    }
    folder = runs.new_folder("idle")
    found: list[Judged] = []
    for name, cells in tables.items():
        runtime.say(f"place {name}")
        table = rfc.run(cells, runtime, rounds=0)
        found.append(Judged(name, table, targets.answers(table, asked)))
        store.write_json(folder / RESULT, {"places": [one.as_json() for one in found]})
    return found, folder


def markdown(found: Sequence[Judged]) -> str:
    """The targets as a table for a page, and below it each place's own table."""
    lines = [f"| target | limit | {' | '.join(one.place for one in found)} |", f"|---|---|{'---|' * len(found)}"]
    for answers in zip(*(one.answers for one in found), strict=True):
        target = answers[0].target
        said = [f"{one.said}{'' if one.met else ', **missed**'}" for one in answers]
        lines.append(f"| {target.row}, {target.profile}, {target.by} | {target.limit} | {' | '.join(said)} |")
    for one in found:
        lines += ["", f"{one.place}, {one.table.machine}:", "", rfc.markdown(one.table, figures=False)]
    return "\n".join(lines)
