"""Read profiles, which are named lists of fragments, and compose them into one request.

Takes `profiles.yaml`, the names of a profile and a base, and the user's additions. Gives a `Request` with the place of
each requested value. Never chooses silently between different values of a symbol: `override:` in the profile or `--set`
on the command line decides.
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
PATH_BASE = "path"  # the base that is a file of the user


@dataclass(frozen=True)
class Part:
    """A fragment of a profile or base, by name; `{arch}` in it stands for the architecture."""

    name: str
    when: Condition = ALWAYS


@dataclass(frozen=True)
class Base:
    """The start of a configuration.

    Attributes:
        target: make target of the kernel; empty for a file of the user.
        parts: fragments that are added to it for every profile.
    """

    name: str
    about: str
    target: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Profile:
    """A named list of fragments.

    Attributes:
        override: symbol -> name of the fragment whose value is used.
        cost: the cost of a build, one of COSTS.
        must: values that symbols must have although no fragment requests them; their place is in the profile.
    """

    name: str
    about: str
    parts: tuple[Part, ...]
    override: Mapping[str, str]
    cost: str
    must: tuple[Asked, ...]


@dataclass(frozen=True)
class Request:
    """A composed configuration: its start, and each requested value.

    Attributes:
        target: make target to start from; empty if `base_text` is used.
        base_text: text of the user's file to start from.
        asked: one entry per symbol, in the order of the fragments.
        must: values that symbols must have although they are not requested.
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
        """Return the values that decide the configuration, and those that it must have; without places and reasons."""
        start = self.target or f"sha256:{hashlib.sha256(self.base_text.encode()).hexdigest()}"
        must = {"must": {asked.symbol: asked.value for asked in self.must}} if self.must else {}
        return {"base": start, "asked": {asked.symbol: asked.value for asked in self.asked}, **must}


def load(file: Path = FILE) -> tuple[dict[str, Base], dict[str, Profile]]:
    """Return all bases and profiles.

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
    """Return the bases and profiles as rows of a table or JSON."""
    bases, profiles = load(file)
    return [
        {
            "kind": kind,
            "name": entry.name,
            "cost": entry.cost if isinstance(entry, Profile) else "",
            "fragments": " ".join(p.name for p in entry.parts),
            "about": entry.about,
        }
        for kind, group in (("base", bases), ("profile", profiles))
        for entry in group.values()
    ]


def look_up(profile: str, base: str, arch: str, file: Path = FILE) -> tuple[Base, Profile, str]:
    """Look up the names of a request, so that a wrong name is refused before anything is fetched.

    Returns:
        The base, the profile, and the text of the user's own `.config`; empty if the base is not a file.

    Raises:
        UserError: there is no such profile, base or architecture, or the file is not a configuration.
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
        raise UserError(f"{user_file} is not a kernel configuration: it has no line with CONFIG_")
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
    """Compose a base, a profile and the user's additions, given by name.

    Args:
        base: a name, or `path:FILE` for a `.config` of the user.
        version: of the kernel, for conditions; such as `7.1.8`.
        extra_fragments: files of the user.
        sets: `SYMBOL=value`; they take precedence over fragments.
        file: where bases and profiles are defined.

    Raises:
        UserError: a name is unknown, a fragment is malformed, or two values differ and neither has precedence.
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
    """Compose a base, a profile and the user's additions, all of them already read.

    Args:
        base_name: as the user wrote it: a name, or `path:FILE`.
        base_text: of the user's `.config`; empty if the base is not a file.
        version: of the kernel, for conditions; such as `7.1.8`.
        fragments: the requests of the user's own fragments.
        sets: symbol -> request of the command line, which takes precedence over fragments.

    Raises:
        UserError: a fragment is malformed, or two values differ and neither has precedence.
    """
    layers: list[tuple[str, list[Asked]]] = []
    for part in (*base.parts, *profile.parts):
        name = part.name.replace("{arch}", arch)
        if part.when.holds(arch, version):
            layers.append((part.name, fragment.load(name)))
    layers += [("", list(own)) for own in fragments]
    entries = [(name, ask) for name, group in layers for ask in group if ask.condition.holds(arch, version)]
    asked = merge(entries, sets, profile.override)
    decided = {ask.symbol for ask in asked}
    must = tuple(ask for ask in profile.must if ask.symbol not in decided)
    return Request(profile.name, base_name, arch, version, base.target, base_text, tuple(asked), must)


def read_sets(sets: Iterable[str]) -> dict[str, Asked]:
    """Read the `SYMBOL=value` requests of the command line: symbol -> request.

    Raises:
        UserError: a request is malformed, or two of them give a symbol different values.
    """
    requests: dict[str, Asked] = {}
    for text in sets:
        request = fragment.parse_set(text)
        before = requests.setdefault(request.symbol, request)
        if before.value != request.value:
            raise UserError(f"--set asks {request.symbol} twice: {before.value} and {request.value}")
    return requests


def merge(entries: Sequence[tuple[str, Asked]], sets: Mapping[str, Asked], override: Mapping[str, str]) -> list[Asked]:
    """Merge all requests into request per symbol.

    Args:
        entries: (fragment name, request) in order.
        sets: requests that take precedence over all entries.
        override: symbol -> name of the fragment whose value is used.

    Raises:
        UserError: two entries request different values, and neither `sets` nor `override` decides.
    """
    groups: dict[str, list[tuple[str, Asked]]] = {}
    for name, request in entries:
        groups.setdefault(request.symbol, []).append((name, request))
    merged: list[Asked] = []
    for symbol, group in groups.items():
        asked = [request for _name, request in group]
        if symbol in sets:
            winner = sets[symbol]
        elif len({request.value for request in asked}) == 1:
            winner = asked[0]
        else:
            winning = [request for name, request in group if name == override.get(symbol)]
            if not winning:
                conflict = " and ".join(
                    f"{request.origin} requests {request.value}" for request in _first_of_each(asked)
                )
                raise UserError(
                    f"CONFIG_{symbol} is asked twice: {conflict}",
                    f"choose one: --set {symbol}=VALUE, or override: in the profile",
                )
            winner = winning[0]
        others = [request for request in asked if request is not winner]
        merged.append(
            replace(
                winner,
                also=tuple(request.origin for request in others if request.value == winner.value),
                over=tuple(f"{request.origin}={request.value}" for request in others if request.value != winner.value),
            )
        )
    return [*merged, *(request for symbol, request in sets.items() if symbol not in groups)]


def _first_of_each(asked: Iterable[Asked]) -> list[Asked]:
    """Return the first request of each value."""
    first: dict[str, Asked] = {}
    for request in asked:
        first.setdefault(request.value, request)
    return list(first.values())
