"""Profiles: named lists of fragments, and their composition into one request.

What comes in is `profiles.yaml`, the names of a profile and a base, and what the user adds; what goes out is a
`Request` that knows where each value was asked. Two places that ask different values are an error, never a silent last
word: `override:` in the profile or `--set` on the command line says which wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.arch import check_arch
from core.data import Node, load_yaml
from core.errors import UserError, nearest
from kconfig import condition, fragment
from kconfig.condition import ALWAYS, Condition
from kconfig.fragment import Asked

FILE = Path(__file__).parent / "profiles.yaml"
COSTS = ("plain", "instrumented", "sanitized")
PATH_BASE = "path"  # the base that stands for a file of the user


@dataclass(frozen=True)
class Part:
    """A fragment of a profile or base, by name; `{arch}` in it stands for the architecture."""

    name: str
    when: Condition = ALWAYS


@dataclass(frozen=True)
class Base:
    """What a configuration starts from.

    Attributes:
        target: make target of the kernel; empty for a file of the user.
        parts: fragments on top of it, for every profile.
    """

    name: str
    about: str
    target: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Profile:
    """A named list of fragments.

    Attributes:
        override: symbol -> the fragment whose value wins.
        cost: what a build takes, one of COSTS.
        must: symbol -> a value that must hold though nothing asks for it; the place is the profile's.
    """

    name: str
    about: str
    parts: tuple[Part, ...]
    override: Mapping[str, str]
    cost: str
    must: tuple[Asked, ...]


@dataclass(frozen=True)
class Request:
    """A composed configuration: what to start from, and each value asked.

    Attributes:
        target: make target to start from; empty if `base_text` is.
        base_text: text of the user's file to start from.
        asked: one entry per symbol, in the order in which fragments name them.
        must: values that are not asked for and must hold.
    """

    profile: str
    base: str
    arch: str
    version: str
    target: str
    base_text: str
    asked: tuple[Asked, ...]
    must: tuple[Asked, ...] = ()

    def identity(self) -> dict[str, Any]:
        """What decides the configuration, and what must be so in it; file names and reasons do not."""
        start = self.target or f"sha256:{hashlib.sha256(self.base_text.encode()).hexdigest()}"
        must = {"must": {one.symbol: one.value for one in self.must}} if self.must else {}
        return {"base": start, "asked": {one.symbol: one.value for one in self.asked}, **must}


def load(file: Path = FILE) -> tuple[dict[str, Base], dict[str, Profile]]:
    """All bases and profiles.

    Raises:
        UserError: the file is malformed.
    """
    root = load_yaml(file)
    root.only("bases", "profiles")
    bases: dict[str, Base] = {}
    for name, node in root.mapping("bases").items():
        node.only("about", "target", "fragments")
        if name != PATH_BASE and not node.has("target"):
            raise node.error("the key target is missing: the make target that it starts from")
        bases[name] = Base(name, node.string("about"), node.string("target", ""), _parts(node))
    profiles: dict[str, Profile] = {}
    for name, node in root.mapping("profiles").items():
        node.only("about", "fragments", "override", "cost", "must")
        override = {s: w.text() for s, w in node.mapping("override").items()} if node.has("override") else {}
        parts = _parts(node)
        for symbol, winner in override.items():
            if symbol.startswith("CONFIG_"):
                raise node.get("override").error(f"write {symbol.removeprefix('CONFIG_')} without CONFIG_")
            known = [p.name for p in (*parts, *(q for base in bases.values() for q in base.parts))]
            if winner not in known:
                raise node.get("override").error(
                    f"{symbol}: {winner} is not among the fragments{nearest(winner, known)}"
                )
        cost = node.string("cost", "plain")
        if cost not in COSTS:
            raise node.get("cost").error(f"there is no cost {cost}{nearest(cost, COSTS)}")
        profiles[name] = Profile(name, node.string("about"), parts, override, cost, _must(name, node, file))
    return bases, profiles


def _must(name: str, node: Node, file: Path) -> tuple[Asked, ...]:
    if not node.has("must"):
        return ()
    found: list[Asked] = []
    for symbol, value in node.mapping("must").items():
        text = ("y" if value.value else "n") if isinstance(value.value, bool) else value.text()
        where = f"{file.name}: profiles.{name}.must"
        found.append(Asked(symbol, fragment.check_value(text, where), where, 0, "must hold"))
    return tuple(found)


def _parts(node: Node) -> tuple[Part, ...]:
    found: list[Part] = []
    for element in node.elements("fragments", required=True):
        if isinstance(element.value, dict):
            element.only("fragment", "when")
            when = element.get("when")
            limit = condition.parse(when.text(), f"{when.path}: {when.where}")
            found.append(Part(element.string("fragment"), limit))
        else:
            found.append(Part(element.text()))
    return tuple(found)


def rows(file: Path = FILE) -> list[dict[str, object]]:
    """Bases and profiles for a table or JSON."""
    bases, profiles = load(file)
    return [
        {
            "kind": kind,
            "name": one.name,
            "cost": one.cost if isinstance(one, Profile) else "",
            "fragments": " ".join(p.name for p in one.parts),
            "about": one.about,
        }
        for kind, group in (("base", bases), ("profile", profiles))
        for one in group.values()
    ]


def look_up(profile: str, base: str, arch: str, file: Path = FILE) -> tuple[Base, Profile, str]:
    """What the names of a request stand for; also a check of them before anything is fetched.

    Returns:
        The base, the profile, and the text of the user's own `.config`, empty without one.

    Raises:
        UserError: there is no such profile, base or architecture, or the file is none.
    """
    bases, profiles = load(file)
    check_arch(arch)
    if profile not in profiles:
        raise UserError(f"there is no profile {profile}{nearest(profile, profiles)}")
    kind, _, user_file = base.partition(":")
    if kind not in bases or (kind == PATH_BASE) != bool(user_file):
        known = [*(name for name in bases if name != PATH_BASE), "path:FILE"]
        raise UserError(f"there is no base {base}{nearest(base, known)}")
    text = fragment.read_file(Path(user_file), user_file) if user_file else ""
    if user_file and "CONFIG_" not in text:
        raise UserError(f"{user_file} is no kernel configuration: it has no line with CONFIG_")
    return bases[kind], profiles[profile], text


def compose(
    profile: str,
    base: str,
    arch: str,
    version: str,
    extra_fragments: Iterable[str | Path] = (),
    sets: Iterable[str] = (),
    *,
    file: Path = FILE,
) -> Request:
    """Put base, profile and what the user adds together.

    Args:
        base: a name, or `path:FILE` for a `.config` of the user.
        version: of the kernel, for conditions; such as `7.1.8`.
        extra_fragments: files of the user.
        sets: `SYMBOL=value`; these win over fragments.
        file: where bases and profiles are defined.

    Raises:
        UserError: an unknown name, a malformed fragment, or different values with nothing that says which wins.
    """
    started, chosen, base_text = look_up(profile, base, arch, file)
    own = [fragment.load_file(Path(extra)) for extra in extra_fragments]
    return request(chosen, started, base, base_text, arch, version, own, read_sets(sets))


def request(
    profile: Profile,
    base: Base,
    base_name: str,
    base_text: str,
    arch: str,
    version: str,
    fragments: Iterable[Sequence[Asked]],
    sets: Mapping[str, Asked],
) -> Request:
    """Put base, profile and what the user adds together, all of it resolved.

    Args:
        base_name: as the user wrote it: a name, or `path:FILE`.
        base_text: of the user's `.config`; empty without one.
        version: of the kernel, for conditions; such as `7.1.8`.
        fragments: what the user's own fragments ask.
        sets: symbol -> the request of the command line, which wins over fragments.

    Raises:
        UserError: a malformed fragment, or different values and nothing that decides which wins.
    """
    layers: list[tuple[str, list[Asked]]] = []
    for part in (*base.parts, *profile.parts):
        name = part.name.replace("{arch}", arch)
        if part.when.holds(arch, version):
            layers.append((part.name, fragment.load(name)))
    layers += [("", list(own)) for own in fragments]
    entries = [(name, one) for name, group in layers for one in group if one.condition.holds(arch, version)]
    asked = merge(entries, sets, profile.override)
    decided = {one.symbol for one in asked}
    must = tuple(one for one in profile.must if one.symbol not in decided)
    return Request(profile.name, base_name, arch, version, base.target, base_text, tuple(asked), must)


def read_sets(sets: Iterable[str]) -> dict[str, Asked]:
    """Read the `SYMBOL=value` requests of the command line: symbol -> request.

    Raises:
        UserError: one is malformed, or two of them ask different values of one symbol.
    """
    found: dict[str, Asked] = {}
    for text in sets:
        one = fragment.parse_set(text)
        before = found.setdefault(one.symbol, one)
        if before.value != one.value:
            raise UserError(f"--set asks {one.symbol} twice: {before.value} and {one.value}")
    return found


def merge(entries: Sequence[tuple[str, Asked]], sets: Mapping[str, Asked], override: Mapping[str, str]) -> list[Asked]:
    """One request per symbol.

    Args:
        entries: (fragment name, request) in order.
        sets: requests that win over all entries.
        override: symbol -> name of the fragment that wins over the others.

    Raises:
        UserError: two entries ask different values and neither `sets` nor `override` decides.
    """
    groups: dict[str, list[tuple[str, Asked]]] = {}
    for name, one in entries:
        groups.setdefault(one.symbol, []).append((name, one))
    merged: list[Asked] = []
    for symbol, group in groups.items():
        asked = [one for _name, one in group]
        if symbol in sets:
            winner = sets[symbol]
        elif len({one.value for one in asked}) == 1:
            winner = asked[0]
        else:
            winning = [one for name, one in group if name == override.get(symbol)]
            if not winning:
                places = " and ".join(f"{one.origin} asks {one.value}" for one in _first_of_each(asked))
                raise UserError(
                    f"CONFIG_{symbol} is asked twice: {places}",
                    f"say which wins: --set {symbol}=VALUE, or override: in the profile",
                )
            winner = winning[0]
        others = [one for one in asked if one is not winner]
        merged.append(
            replace(
                winner,
                also=tuple(one.origin for one in others if one.value == winner.value),
                over=tuple(f"{one.origin}={one.value}" for one in others if one.value != winner.value),
            )
        )
    return [*merged, *(one for symbol, one in sets.items() if symbol not in groups)]


def _first_of_each(asked: Iterable[Asked]) -> list[Asked]:
    """The first request of each value."""
    first: dict[str, Asked] = {}
    for one in asked:
        first.setdefault(one.value, one)
    return list(first.values())
