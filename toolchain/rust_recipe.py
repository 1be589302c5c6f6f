"""Read how rustc is compiled, from `rustc.yaml`.

Takes the name of a compiler. Gives a `Compiler`, and its part of a toolchain's key, with the hashes of its sources and
of our patches. Never depends on the machine.
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
# The image's bindgen reads C with the image's libclang, but a kernel passes the flags of our newer clang. The script
# drops flags that do not affect types, and replaces the new name of an extension by the old one.
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
    """How a rustc is made; the attributes are the keys of rustc.yaml."""

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
        """Return the part of a toolchain's key that the compiler decides."""
        packaging = [self.packaging] if self.packaging else []
        sources = (self.source, *(entry.source for entry in packaging), *self.stage0)
        return {
            "name": self.name,
            "sources": {name: _pin(name) for name in sources},
            "groups": [group for entry in packaging for group in entry.groups],
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
    """Return a compiler of rustc.yaml by name.

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
    """Return the identity of a source: its pinned hash, or the key of its unpacked tree."""
    if name.partition(":")[0] not in ("path", "git"):
        for origin in catalogue.find(name).origins:
            if origin.sha256:
                return origin.sha256
    return catalogue.source_tree(name).key


def toml(settings: Mapping[str, Mapping[str, Setting]]) -> str:
    """Return tables of plain values as TOML 1.0."""

    def text(value: Setting) -> str:
        if isinstance(value, tuple):
            return f"[{', '.join(json.dumps(word) for word in value)}]"
        return json.dumps(value)

    lines: list[str] = []
    for part, values in settings.items():
        lines += [f"[{part}]", *(f"{key} = {text(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
