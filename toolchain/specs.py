"""Read the toolchains of `toolchains.yaml`.

Takes the name of a toolchain. Gives a `ToolchainSpec`. Never looks into the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from core.data import choice, load_yaml
from core.errors import UserError, nearest
from toolchain import image, plugin
from toolchain.recipe import Variable

FILE = Path(__file__).parent / "toolchains.yaml"
KINDS = ("plugin", "stock", "patched")


@dataclass(frozen=True)
class ToolchainSpec:
    """The description of a toolchain.

    Attributes:
        kind: `plugin`, `stock` or `patched`.
        llvm: major version of LLVM.
        image: the image in which it runs.
        generation: of the callbacks of a plugin's pass, one of `plugin.GENERATIONS`.
        source: the entry of sources.yaml from which a patched one is compiled; else empty.
        variables: CMake variables of a patched one; they replace its recipe's or are added to them.
        rustc: the compiler of rustc.yaml that a patched one also contains, or `stock`; empty for none.
    """

    name: str
    about: str
    kind: Annotated[str, choice(*KINDS)]
    llvm: int
    image: str
    source: str = ""
    variables: Mapping[str, Variable] = field(default_factory=dict)
    generation: Annotated[str, choice(*plugin.GENERATIONS)] = "L0"
    rustc: str = ""


def load() -> tuple[dict[str, ToolchainSpec], tuple[str, ...]]:
    """Return all toolchains, and the names of the preferred ones in order.

    Raises:
        UserError: the file is malformed.
    """
    root = load_yaml(FILE)
    root.only("toolchains", "preferred")
    images = image.specs()[1]
    found: dict[str, ToolchainSpec] = {}
    for name, node in root.mapping("toolchains").items():
        own = node.convert(ToolchainSpec, name=name)
        if own.image not in images:
            raise node.get("image").error(f"there is no image {own.image}{nearest(own.image, images)}")
        if own.kind == "patched":
            node.get("source")
        for key in ("source", "variables", "rustc"):
            if node.has(key) and own.kind != "patched":
                raise node.get(key).error("only a patched toolchain is made from a source")
        if node.has("generation") and own.kind != "plugin":
            raise node.get("generation").error("only a plugin's generation can be chosen")
        found[name] = own
    preferred = tuple(root.strings("preferred"))
    for name in preferred:
        if name not in found:
            raise root.get("preferred").error(f"there is no toolchain {name}{nearest(name, found)}")
    return found, preferred


def spec(name: str) -> ToolchainSpec:
    """Return a toolchain by name.

    Raises:
        UserError: there is no toolchain of that name.
    """
    specs = load()[0]
    if name not in specs:
        raise UserError(f"there is no toolchain {name}{nearest(name, specs)}")
    return specs[name]
