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
_SPEED = ("LLVM_ENABLE_LTO", "LLVM_PROFDATA_FILE")
AROUND = ("packages", "build_packages", "rustc_packages")


def bare(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a toolchain without the packages around it."""
    return {name: "" if name in AROUND else value for name, value in inputs.items()}


def plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The bare inputs without what only makes the compiler itself faster: it emits the same code with and without."""
    kept = {name: value for name, value in bare(inputs).items() if name != "profile"}
    if isinstance(variables := kept.get("variables"), Mapping):
        kept["variables"] = {name: value for name, value in variables.items() if name not in _SPEED}
    return kept


def key(inputs: Mapping[str, Any]) -> str:
    """What names a toolchain in a shared store: its content key if it was compiled from source, else its own."""
    return store.key_of(bare(inputs) if inputs.get("kind") == "patched" else inputs)


def candidates(will_do: Sequence[Mapping[str, Any]]) -> list[Product]:
    """The toolchains of the store that do for one of some inputs.

    Returns:
        Those of the very content first, then those that were only compiled to be faster; of these those that were made
        for the very packages; then in the order of `will_do`, the newest first.
    """
    exact, faster = [bare(inputs) for inputs in will_do], [plain(inputs) for inputs in will_do]
    packages = {inputs["packages"] for inputs in will_do}
    found: list[tuple[bool, bool, int, int, Product]] = []
    for age, product in enumerate(store.products()):
        if product.kind != "toolchain":
            continue
        theirs = product.metadata["inputs"]
        other = theirs.get("packages") not in packages
        if (content := bare(theirs)) in exact:
            found.append((False, other, exact.index(content), -age, product))
        # Who asks for a profile or for link-time optimization gets no compiler without: `exact` differs from `faster`.
        elif (content := plain(theirs)) in faster and content in exact:
            found.append((True, other, faster.index(content), -age, product))
    return [rank[4] for rank in sorted(found, key=lambda rank: rank[:4])]


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
