"""Content: what a compiled toolchain is, apart from the packages of the distribution around it.

What comes in is the inputs of a toolchain; what goes out is its content key, the products of the store that have it,
and whether one of them runs in an image. A distribution renews packages every few days, and a compiler of an hour must
not be lost each time: any state of the packages in which it runs, and calls what its manifest says, will do. Never true
of a plugin, which fits into one build of one compiler, and is made in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import store
from core.errors import InfraError
from core.runtime import Session
from core.store import Product
from toolchain import plugin, probe

# Which packages were around it when it was made, and are where it runs.
AROUND = ("packages", "build_packages", "rustc_packages")


def bare(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a toolchain without the packages around it."""
    return {name: "" if name in AROUND else value for name, value in inputs.items()}


def key(inputs: Mapping[str, Any]) -> str:
    """What names a toolchain in a shared store: its content key if it was compiled from source, else its own."""
    return store.key_of(bare(inputs) if inputs.get("kind") == "patched" else inputs)


def candidates(will_do: Sequence[Mapping[str, Any]]) -> list[Product]:
    """The toolchains of the store that have the content of one of some inputs.

    Returns:
        Those that were made for the very packages that are wanted first, then in the order of `will_do`, then the
        newest first.
    """
    order = [bare(inputs) for inputs in will_do]
    packages = {inputs["packages"] for inputs in will_do}
    found = [
        (product.metadata["inputs"].get("packages") not in packages, order.index(content), -age, product)
        for age, product in enumerate(store.products())
        if product.kind == "toolchain" and (content := bare(product.metadata["inputs"])) in order
    ]
    return [product for *_rank, product in sorted(found, key=lambda one: one[:3])]


def why_not(session: Session, root: Path, scratch: Path) -> str:
    """Why a compiled toolchain is not what its manifest says where a session runs; empty if it is.

    Args:
        root: the toolchain, which the session sees.
        scratch: a writable directory that the session sees.

    Raises:
        InfraError: its manifest cannot be read.
    """
    try:
        manifest = json.loads((root / plugin.MANIFEST).read_text())
        versions, generation = manifest["versions"], manifest["generation"]
        programs = {name: versions[name] for name in ("clang", "ld.lld", "rustc") if name in versions}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfraError(f"{root}/{plugin.MANIFEST} is missing or malformed") from error
    for program, stated in programs.items():
        try:
            said = plugin.output(session, [f"{session.path(root)}/bin/{program}", "--version"])[0]
        except InfraError as error:
            return error.message
        if said != stated:
            return f"{program} says that it is {said}, its manifest says {stated}"
    found, _answers = probe.ask(session, f"{session.path(root)}/bin/clang", scratch)
    called = found.name if found else None
    return "" if called == generation else f"it calls {called or 'nothing'}, its manifest says {generation}"
