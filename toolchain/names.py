"""Toolchains by name: `toolchains.yaml` as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.data import load_yaml
from core.errors import UserError, nearest
from toolchain import image

FILE = Path(__file__).parent / "toolchains.yaml"
KINDS = ("plugin", "stock", "patched")


@dataclass(frozen=True)
class ToolchainSpec:
    """What a toolchain is made of.

    Attributes:
        kind: `plugin`, `stock` or `patched`.
        llvm: major version of LLVM.
        image: the image that it runs in.
        source: what a patched one is compiled from, an entry of sources.yaml; else empty.
    """

    name: str
    about: str
    kind: str
    llvm: int
    image: str
    source: str = ""


def load() -> tuple[dict[str, ToolchainSpec], tuple[str, ...]]:
    """All toolchains, and the preferred ones in order.

    Raises:
        UserError: the file is malformed.
    """
    root = load_yaml(FILE)
    root.only("toolchains", "preferred")
    images = image.specs()[1]
    found: dict[str, ToolchainSpec] = {}
    for name, node in root.mapping("toolchains").items():
        node.only("about", "kind", "llvm", "image", "source")
        kind, on = node.string("kind"), node.string("image")
        if kind not in KINDS:
            raise node.get("kind").error(f"there is no kind {kind}{nearest(kind, KINDS)}")
        if on not in images:
            raise node.get("image").error(f"there is no image {on}{nearest(on, images)}")
        source = node.string("source", "") if kind != "patched" else node.string("source")
        if source and kind != "patched":
            raise node.get("source").error("only a patched toolchain is made from a source")
        found[name] = ToolchainSpec(name, node.string("about"), kind, node.integer("llvm"), on, source)
    preferred = tuple(root.strings("preferred"))
    for name in preferred:
        if name not in found:
            raise root.get("preferred").error(f"there is no toolchain {name}{nearest(name, found)}")
    return found, preferred


def spec(name: str) -> ToolchainSpec:
    """A toolchain by name.

    Raises:
        UserError: there is none of that name.
    """
    found = load()[0]
    if name not in found:
        raise UserError(f"there is no toolchain {name}{nearest(name, found)}")
    return found[name]
