"""Recipes: how a compiler is made from source, as data of `recipes/*.yaml`, and what a user may choose about it.

What comes in is the name of a recipe and the user's choices; what goes out is the command line of CMake. Nothing in it
depends on the machine: two machines with the same recipe and sources make the same compiler.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core import data
from core.errors import UserError, nearest

FOLDER = Path(__file__).parent / "recipes"
# Where the build sees the profile that it optimizes by.
PROFILE = "/kdf/profile/profile.profdata"

Variable = bool | str | tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """What a user chose about a compiler; part of its key.

    Attributes:
        targets: architectures by the kernel's names, sorted, the host's among them.
        lto: a kind of link-time optimization of the recipe, or empty.
        profile: sha256 of the profile that it is optimized by, or empty.
    """

    targets: tuple[str, ...]
    lto: str = ""
    profile: str = ""


@dataclass(frozen=True)
class Training:
    """How the compiler is made that a profile is taken of.

    Attributes:
        image: the image that it is compiled in: the recipe's, and the runtime library that writes profiles.
        variables: further CMake variables.
        components: what is built and installed in place of the recipe's.
        merge: the program that merges what the runs wrote, of the host compiler's version.
    """

    image: str
    variables: Mapping[str, Variable]
    components: tuple[str, ...]
    merge: str


@dataclass(frozen=True)
class Recipe:
    """How a compiler is made.

    Attributes:
        image: the image that it is compiled in.
        folders: those of the source archive that are needed.
        targets: architecture -> the compiler's own name of it.
        variables: CMake variables.
        components: what is built and installed.
        lto: kind -> further variables.
        pgo: how a profile of it is taken; None if there is no way.
    """

    name: str
    image: str
    folders: tuple[str, ...]
    targets: Mapping[str, str]
    variables: Mapping[str, Variable]
    components: tuple[str, ...]
    lto: Mapping[str, Mapping[str, Variable]]
    pgo: Training | None = None


def load(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        UserError: there is none, or its file is malformed.
    """
    there = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if name not in there:
        raise UserError(f"there is no recipe {name}{nearest(name, there)}")
    return data.load(FOLDER / f"{name}.yaml", Recipe, name=name)


def trained(recipe: Recipe) -> Recipe:
    """The recipe of the compiler that a profile is taken of.

    Raises:
        UserError: the recipe has none.
    """
    how = recipe.pgo
    if how is None:
        raise UserError(f"the recipe {recipe.name} has no way to take a profile")
    variables = {**recipe.variables, **how.variables}
    return replace(recipe, image=how.image, variables=variables, components=how.components, lto={}, pgo=None)


def choose(recipe: Recipe, host: str, targets: Sequence[str] = (), lto: str = "", profile: str = "") -> Choices:
    """What a user chose, checked against the recipe.

    Args:
        host: the host's architecture, which is always among the targets.
        profile: sha256 of the profile to optimize by, or empty.

    Raises:
        UserError: the recipe does not know a target or the kind of link-time optimization.
    """
    for target in (host, *targets):
        if target not in recipe.targets:
            raise UserError(f"the recipe {recipe.name} has no target {target}{nearest(target, recipe.targets)}")
    if lto and lto not in recipe.lto:
        raise UserError(
            f"the recipe {recipe.name} has no kind {lto} of link-time optimization{nearest(lto, recipe.lto)}"
        )
    return Choices(tuple(sorted({host, *targets})), lto, profile)


def at_least(recipe: Recipe, wanted: Choices) -> list[Choices]:
    """The choices that do for what is wanted, itself first, then those with more targets."""
    others = [arch for arch in recipe.targets if arch not in wanted.targets]
    more = [extra for count in range(len(others) + 1) for extra in itertools.combinations(others, count)]
    return [replace(wanted, targets=tuple(sorted({*wanted.targets, *extra}))) for extra in more]


def variables(recipe: Recipe, choices: Choices, own: Mapping[str, Variable] | None = None) -> dict[str, Variable]:
    """All CMake variables that decide the compiler, those that follow from the choices included.

    Args:
        own: the toolchain's, which win; its targets are added to those of the choices.
    """
    own = own or {}
    more = own.get("LLVM_TARGETS_TO_BUILD", ())
    if not isinstance(more, tuple):
        raise UserError(f"LLVM_TARGETS_TO_BUILD is a list, not {more}")
    targets = tuple(dict.fromkeys((*(recipe.targets[arch] for arch in choices.targets), *more)))
    found: dict[str, Variable] = {**recipe.variables, **own, "LLVM_TARGETS_TO_BUILD": targets}
    found.update(recipe.lto.get(choices.lto, {}))
    if choices.profile:
        found["LLVM_PROFDATA_FILE"] = PROFILE
    library = found.get("LLVM_DYLIB_COMPONENTS")
    if isinstance(library, tuple):
        found["LLVM_DYLIB_COMPONENTS"] = (*library, *targets)
    found["LLVM_DISTRIBUTION_COMPONENTS"] = recipe.components
    return found


def arguments(found: Mapping[str, Variable]) -> list[str]:
    """CMake's `-D` options, typed (cmake(1), -D <var>:<type>=<value>)."""

    def one(name: str, value: Variable) -> str:
        if isinstance(value, bool):
            return f"-D{name}:BOOL={'ON' if value else 'OFF'}"
        return f"-D{name}:STRING={value if isinstance(value, str) else ';'.join(value)}"

    return [one(name, value) for name, value in sorted(found.items())]
