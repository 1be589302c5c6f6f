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

from core.data import Node, load_yaml
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
class Compiler:
    """How a rustc is made; the attributes are the keys of rustc.yaml."""

    name: str
    image: str
    source: str
    packaging: str
    groups: tuple[str, ...]
    stage0: tuple[str, ...]
    entries: tuple[str, ...]
    locks: tuple[str, ...]
    targets: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Setting]]

    def inputs(self) -> dict[str, Any]:
        """Return the part of a toolchain's key that the compiler decides."""
        return {
            "name": self.name,
            "sources": {name: _pin(name) for name in (self.source, *filter(None, [self.packaging]), *self.stage0)},
            "groups": list(self.groups),
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
    node.only("image", "source", "packaging", "stage0", "entries", "locks", "targets", "settings")
    if node.string("image") not in images.specs()[1]:
        raise node.get("image").error(f"there is no image {node.string('image')}")
    packaging = node.get("packaging") if node.has("packaging") else None
    if packaging:
        packaging.only("source", "groups")
    for key in ("entries", "locks"):
        for element in node.elements(key, required=key == "entries"):
            if element.text().startswith("/") or ".." in element.text().split("/"):
                raise element.error(f"{element.text()} leaves the source")
    return Compiler(
        name,
        node.string("image"),
        node.string("source"),
        packaging.string("source") if packaging else "",
        tuple(packaging.strings("groups")) if packaging else (),
        tuple(node.strings("stage0")),
        tuple(node.strings("entries")),
        tuple(node.strings("locks")),
        tuple(node.strings("targets")),
        {
            part: {key: _setting(one) for key, one in values.items()}
            for part, values in node.mapping("settings").items()
        },
    )


def _setting(node: Node) -> Setting:
    if isinstance(node.value, bool | int):
        return node.value
    if isinstance(node.value, list):
        return tuple(Node(one, node.path, f"{node.where}[{i}]").text() for i, one in enumerate(node.value))
    return node.text()


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
