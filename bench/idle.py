"""Measure every target of targets.yaml on every base and architecture that it names.

Takes places (base and architecture). Gives one line for each target with the figure of each place, and the whole table
of `bench.rfc` for each place. Builds only the kernels that the targets need.
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
# Targets that compare with the same profile of the older generation.
_AGAINST_OLD = ("beside", "growth")


@dataclass(frozen=True)
class Measure:
    """What to measure.

    Attributes:
        linux: a version of sources.yaml.
        old, new: series and toolchain of the two generations; `none` is built with the old one.
        places: (base, architecture) of each table.
    """

    linux: str
    old: tuple[str, str]
    new: tuple[str, str]
    places: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Judged:
    """The table of one place, and its answer to each target."""

    place: str
    table: Table
    answers: Sequence[Answer]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "place": self.place,
            "table": self.table.as_json(),
            "answers": [one.as_json() for one in self.answers],
        }


def load() -> Measure:
    """Read what to measure from targets.yaml.

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
    """Return the places of a text like `BASE/ARCH,BASE/ARCH`; all places for an empty text.

    Raises:
        UserError: targets.yaml does not have one of them.
    """
    by_name = {"/".join(one): one for one in known}
    for word in filter(None, words.split(",")):
        if word not in by_name:
            raise UserError(
                f"there is no place {word}{nearest(word, by_name)}", f"of {targets.FILE.name}: {', '.join(by_name)}"
            )
    return [by_name[word] for word in words.split(",") if word] or list(known)


def columns(measure: Measure, base_and_arch: tuple[str, str], asked: Sequence[Target]) -> dict[str, CellNames]:
    """Return column -> cell of one table: controls, those of the older generation, and those of the newer one."""
    base, arch = base_and_arch
    like = CellNames(measure.old[1], measure.old[0], "none", base, arch, measure.linux)
    old = [target.profile for target in asked if target.by in _AGAINST_OLD]
    controls = [rfc.baseline(target.profile) for target in asked]
    cells = {profile: replace(like, profile=profile) for profile in dict.fromkeys(["none", *controls, *old])}
    series, toolchain = measure.new
    for profile in dict.fromkeys(target.profile for target in asked):
        sets = tuple(dict.fromkeys(target.set for target in asked if target.profile == profile and target.set))
        cells[f"{profile}@{series}"] = replace(like, profile=profile, series=series, toolchain=toolchain, sets=sets)
    return cells


def run(
    measure: Measure,
    places: Sequence[tuple[str, str]],
    runtime: Runtime,
) -> tuple[list[Judged], Path]:
    """Measure the places one after the other; write each of them to disk before the next one begins.

    Returns:
        The results, and the folder with idle.json.

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
    judged: list[Judged] = []
    for name, cells in tables.items():
        runtime.say(f"place {name}")
        table = rfc.run(cells, runtime, rounds=0)
        judged.append(Judged(name, table, targets.answers(table, asked)))
        store.write_json(folder / RESULT, {"places": [entry.as_json() for entry in judged]})
    return judged, folder


def markdown(judged: Sequence[Judged]) -> str:
    """Return the targets as a table for a page, and after it the table of each place."""
    lines = [f"| target | limit | {' | '.join(entry.place for entry in judged)} |", f"|---|---|{'---|' * len(judged)}"]
    for answers in zip(*(entry.answers for entry in judged), strict=True):
        target = answers[0].target
        texts = [f"{answer.said}{'' if answer.met else ', **missed**'}" for answer in answers]
        lines.append(f"| {target.row}, {target.profile}, {target.by} | {target.limit} | {' | '.join(texts)} |")
    for entry in judged:
        lines += ["", f"{entry.place}, {entry.table.machine}:", "", rfc.markdown(entry.table, figures=False)]
    return "\n".join(lines)
