"""Identify a compiled toolchain without the distribution's packages around it.

Takes the inputs of a toolchain. Gives its content key, the stored products with the same content, and whether one of
them works in an image. A compiler that takes an hour to build stays usable after a package update, if it still runs and
emits the calls of its manifest. This never holds for a plugin: it fits one build of one compiler.
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

# CMake variables that only make the compiler itself faster.
_SPEED = ("LLVM_ENABLE_LTO", "LLVM_PROFDATA_FILE")
# The packages with which it was built, and the packages with which it runs.
AROUND = ("packages", "build_packages", "rustc_packages")


def bare(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a toolchain without the packages around it."""
    return {name: "" if name in AROUND else value for name, value in inputs.items()}


def plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bare inputs without those that only make the compiler faster and do not change its output."""
    kept = {name: value for name, value in bare(inputs).items() if name != "profile"}
    if isinstance(variables := kept.get("variables"), Mapping):
        kept["variables"] = {name: value for name, value in variables.items() if name not in _SPEED}
    return kept


def key(inputs: Mapping[str, Any]) -> str:
    """Return a toolchain's name in a shared store: its content key if it was compiled from source, else its key."""
    return store.key_of(bare(inputs) if inputs.get("kind") == "patched" else inputs)


def candidates(will_do: Sequence[Mapping[str, Any]]) -> list[Product]:
    """Return the stored toolchains that can be used for one of several inputs, the best first.

    Returns:
        Toolchains with the same content come first, then those that differ only in speed. Within each of these groups,
        those made with the same packages come first; then the order of `will_do` decides, then the age, newest first.
    """
    exact, faster = [bare(inputs) for inputs in will_do], [plain(inputs) for inputs in will_do]
    packages = {inputs["packages"] for inputs in will_do}
    ranks: list[tuple[bool, bool, int, int, Product]] = []
    for age, product in enumerate(store.products()):
        if product.kind != "toolchain":
            continue
        theirs = product.metadata["inputs"]
        other = theirs.get("packages") not in packages
        if (content := bare(theirs)) in exact:
            ranks.append((False, other, exact.index(content), -age, product))
        # Who asks for a profile or link-time optimization never gets a compiler without: `exact` is not `faster` then.
        elif (content := plain(theirs)) in faster and content in exact:
            ranks.append((True, other, faster.index(content), -age, product))
    return [rank[4] for rank in sorted(ranks, key=lambda rank: rank[:4])]


def why_not(session: Session, root: Path, scratch: Path) -> str:
    """Return why a compiled toolchain does not fit its manifest in a session; empty if it fits.

    Args:
        root: the toolchain; it is mounted in the session.
        scratch: a directory that is mounted writable in the session.

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
            version = plugin.output(session, [f"{session.path(root)}/bin/{program}", "--version"])[0]
        except InfraError as error:
            return error.message
        if version != stated:
            return f"{program} prints the version {version}, but its manifest contains {stated}"
    emitted, _answers = probe.ask(session, f"{session.path(root)}/bin/clang", scratch)
    called = emitted.name if emitted else None
    return "" if called == generation else f"it calls {called or 'nothing'}, but its manifest contains {generation}"
