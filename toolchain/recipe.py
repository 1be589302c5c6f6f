"""Read how a compiler is made from source, and check what a user chose about it.

Takes the name of a recipe (`recipes/NAME.yaml`) and the user's choices. Gives CMake's variables and arguments. Never
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
# Path at which the build finds the profile for its optimization.
PROFILE = "/kdf/profile/profile.profdata"

Variable = bool | str | tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """A user's choices about a compiler; they are part of its key.

    Attributes:
        targets: the kernel's names of architectures, sorted; the host's is always included.
        lto: a kind of link-time optimization of the recipe; empty for none.
        profile: sha256 of the profile for its optimization; empty for none.
    """

    targets: tuple[str, ...]
    lto: str = ""
    profile: str = ""


@dataclass(frozen=True)
class Training:
    """How the compiler that writes a profile is made.

    Attributes:
        image: the image in which it is compiled: the recipe's image plus the runtime library that writes profiles.
        variables: further CMake variables.
        components: the components to build and install in place of the recipe's.
        merge: the program that merges profiles, of the same version as the host compiler.
    """

    image: str
    variables: Mapping[str, Variable]
    components: tuple[str, ...]
    merge: str


@dataclass(frozen=True)
class Recipe:
    """How a compiler is made.

    Attributes:
        image: the image in which it is compiled.
        folders: the folders of the source archive that are needed.
        targets: architecture -> the compiler's own name for it.
        variables: CMake variables.
        components: the components to build and install.
        lto: kind of link-time optimization -> further variables.
        pgo: how a profile of it is taken; None if the recipe does not describe that.
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
    """Return a recipe by name.

    Raises:
        UserError: there is none, or its file is malformed.
    """
    there = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if name not in there:
        raise UserError(f"there is no recipe {name}{nearest(name, there)}")
    return data.load(FOLDER / f"{name}.yaml", Recipe, name=name)


def trained(recipe: Recipe) -> Recipe:
    """Return the recipe of the compiler that writes a profile.

    Raises:
        UserError: the recipe does not describe one.
    """
    how = recipe.pgo
    if how is None:
        raise UserError(f"the recipe {recipe.name} does not describe how to take a profile")
    variables = {**recipe.variables, **how.variables}
    return replace(recipe, image=how.image, variables=variables, components=how.components, lto={}, pgo=None)


def choose(recipe: Recipe, host: str, targets: Sequence[str] = (), lto: str = "", profile: str = "") -> Choices:
    """Check a user's choices against the recipe, and return them.

    Args:
        host: the host's architecture; it is always one of the targets.
        profile: sha256 of the profile for the optimization; empty for none.

    Raises:
        UserError: the recipe does not have a target or the kind of link-time optimization.
    """
    for target in (host, *targets):
        if target not in recipe.targets:
            raise UserError(
                f"the recipe {recipe.name} does not have the target {target}{nearest(target, recipe.targets)}"
            )
    if lto and lto not in recipe.lto:
        raise UserError(
            f"the recipe {recipe.name} does not have the link-time optimization {lto}{nearest(lto, recipe.lto)}"
        )
    return Choices(tuple(sorted({host, *targets})), lto, profile)


def at_least(recipe: Recipe, wanted: Choices) -> list[Choices]:
    """Return the wanted choices, then the same choices with more targets, which can be used in their place."""
    others = [arch for arch in recipe.targets if arch not in wanted.targets]
    more = [extra for count in range(len(others) + 1) for extra in itertools.combinations(others, count)]
    return [replace(wanted, targets=tuple(sorted({*wanted.targets, *extra}))) for extra in more]


def variables(recipe: Recipe, choices: Choices, own: Mapping[str, Variable] | None = None) -> dict[str, Variable]:
    """Return all CMake variables that decide the compiler, including those that follow from the choices.

    Args:
        own: the toolchain's variables, which replace the recipe's; its targets are added to those of the choices.
    """
    own = own or {}
    more = own.get("LLVM_TARGETS_TO_BUILD", ())
    if not isinstance(more, tuple):
        raise UserError(f"LLVM_TARGETS_TO_BUILD is a list, not {more}")
    targets = tuple(dict.fromkeys((*(recipe.targets[arch] for arch in choices.targets), *more)))
    values: dict[str, Variable] = {**recipe.variables, **own, "LLVM_TARGETS_TO_BUILD": targets}
    values.update(recipe.lto.get(choices.lto, {}))
    if choices.profile:
        values["LLVM_PROFDATA_FILE"] = PROFILE
    library = values.get("LLVM_DYLIB_COMPONENTS")
    if isinstance(library, tuple):
        values["LLVM_DYLIB_COMPONENTS"] = (*library, *targets)
    values["LLVM_DISTRIBUTION_COMPONENTS"] = recipe.components
    return values


def arguments(found: Mapping[str, Variable]) -> list[str]:
    """Return CMake's `-D` options with types (cmake(1), -D <var>:<type>=<value>)."""

    def argument(name: str, value: Variable) -> str:
        if isinstance(value, bool):
            return f"-D{name}:BOOL={'ON' if value else 'OFF'}"
        return f"-D{name}:STRING={value if isinstance(value, str) else ';'.join(value)}"

    return [argument(name, value) for name, value in sorted(found.items())]
