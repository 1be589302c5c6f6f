"""How rustc is compiled, as data of `rustc.yaml`, and what of it decides a toolchain.

What comes in is the name of a compiler; what goes out is a Compiler, with the hashes of its sources and of our patches.
Nothing in it depends on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data import load_yaml
from core.errors import UserError, nearest
from patches.series import read_directory
from sources import catalogue
from toolchain import image as images

FILE = Path(__file__).parent / "rustc.yaml"
PATCHES = Path(__file__).parent.parent / "patches" / "rust"
# bindgen of the image reads C with the image's libclang, and a kernel gives it the flags of our clang, which is newer.
# Those that say nothing about types are left out; the newer name of an extension becomes the older one.
BINDGEN = """#!/bin/sh
for word; do
    shift
    case "$word" in
    -fms-anonymous-structs) word=-fms-extensions ;;
    -fdiagnostics-show-inlining-chain | -Wno-default-const-init-unsafe | -Wno-unterminated-string-initialization)
        continue ;;
    esac
    set -- "$@" "$word"
done
exec /usr/bin/bindgen "$@"
"""

Setting = bool | int | str | tuple[str, ...]


@dataclass(frozen=True)
class Packaging:
    """A distribution's changes to a source.

    Attributes:
        source: an entry of sources.yaml that holds its patches.
        groups: the groups of patches that are wanted.
    """

    source: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compiler:
    """How a rustc is made; the attributes are those of rustc.yaml."""

    name: str
    image: str
    source: str
    entries: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Setting]]
    packaging: Packaging | None = None
    stage0: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Any]:
        """What of it is part of a toolchain's key."""
        packaging = [self.packaging] if self.packaging else []
        sources = (self.source, *(one.source for one in packaging), *self.stage0)
        return {
            "name": self.name,
            "sources": {name: _pin(name) for name in sources},
            "groups": [group for one in packaging for group in one.groups],
            "patches": [patch.sha256 for patch in read_directory(PATCHES)],
            "bindgen": BINDGEN,
            "locks": list(self.locks),
            "targets": list(self.targets),
            "settings": {
                part: {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
                for part, values in self.settings.items()
            },
        }


def find(name: str) -> Compiler:
    """A compiler of rustc.yaml.

    Raises:
        UserError: there is none of that name, or the file is malformed.
    """
    root = load_yaml(FILE)
    root.only("compilers")
    known = root.mapping("compilers")
    if name not in known:
        raise UserError(f"there is no rustc {name} in {FILE.name}{nearest(name, known)}")
    node = known[name]
    compiler = node.convert(Compiler, name=name)
    if compiler.image not in images.specs()[1]:
        raise node.get("image").error(f"there is no image {compiler.image}")
    for key in ("entries", "locks"):
        for element in node.elements(key):
            if element.text().startswith("/") or ".." in element.text().split("/"):
                raise element.error(f"{element.text()} leaves the source")
    return compiler


def _pin(name: str) -> str:
    """What identifies a source: the hash that it is pinned to, or that of the tree that was found."""
    if name.partition(":")[0] not in ("path", "git"):
        for origin in catalogue.find(name).origins:
            if origin.sha256:
                return origin.sha256
    return catalogue.source_tree(name).key


def toml(settings: Mapping[str, Mapping[str, Setting]]) -> str:
    """Tables of plain values as TOML 1.0."""

    def one(value: Setting) -> str:
        if isinstance(value, tuple):
            return f"[{', '.join(json.dumps(word) for word in value)}]"
        return json.dumps(value)

    lines: list[str] = []
    for part, values in settings.items():
        lines += [f"[{part}]", *(f"{key} = {one(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
