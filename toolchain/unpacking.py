"""Unpack toolchains: check an archive and fill a product of the store from it.

An archive holds programs that will be run: its hashes say that it is whole, not that whoever made it is honest.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import store
from core.errors import InfraError, UserError, nearest
from core.store import Product
from sources import archive
from sources.archive import Index
from toolchain import content, plugin, specs

# What `toolchain.build` prints of a patched compiler; nothing else of a foreign build's facts is kept.
FACTS = (
    "steps", "steps_run", "runs", "wall_seconds", "cpu_seconds", "last_cpu_seconds", "last_wall_seconds",
    "largest_process", "jobs",
)  # fmt: skip


def identify(index: Index, path: Path) -> tuple[str, str]:
    """The name and the runtime of the toolchain in an archive."""
    if index.kind != "toolchain":
        raise UserError(f"{path} holds a product of kind {index.kind}, not a toolchain")
    name, runtime = index.inputs.get("name"), index.inputs.get("runtime")
    known = specs.load()[0]
    if not isinstance(name, str) or name not in known:
        raise UserError(f"{path} holds a toolchain {name}, which is not known here{nearest(str(name), known)}")
    if runtime not in ("docker", "host"):
        raise UserError(f"{path} holds a toolchain for the runtime {runtime}, which is not known here")
    machine = platform.machine()
    if index.inputs.get("machine") != machine:
        raise UserError(f"{path} was made on {index.inputs.get('machine')}, this machine is {machine}")
    return name, str(runtime)


def take(path: Path, wanted: Mapping[str, Any]) -> Product:
    """Take a toolchain out of a shared store's archive.

    Args:
        wanted: its inputs; of one that was compiled, with whatever packages around it.

    Raises:
        InfraError: it is damaged, or another one.
    """
    index = archive.read_index(path)
    if content.key(index.inputs) != content.key(wanted):
        other = f"the toolchain {index.key[:12]}, not {store.key_of(wanted)[:12]}"
        raise InfraError(f"{path} holds {other}", "remove it from that place")
    return store.make("toolchain", index.inputs, lambda tmp: unpack(path, tmp, index.key))


def unpack(path: Path, tmp: Path, key: str) -> dict[str, Any]:
    """Fill the directory of a product from an archive.

    Args:
        key: of the toolchain that it must hold.

    Returns:
        What to add to the product's metadata.

    Raises:
        InfraError: it is damaged, hostile, or holds another toolchain.
    """
    index = archive.read_index(path)
    if index.key != key:
        raise InfraError(f"{path} holds the toolchain {index.key[:12]}, not {key[:12]}", "ask for it again")
    name, _where = identify(index, path)
    archive.extract(path, tmp, lambda goal: is_stock(goal, specs.spec(name)))
    try:
        manifest = json.loads((tmp / plugin.MANIFEST).read_text())
        whole = isinstance(manifest["versions"]["clang"], str) and (tmp / "bin").is_dir()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise InfraError(f"{path} holds no toolchain: its {plugin.MANIFEST} is missing or malformed")
    facts = index.metadata.get("build")
    kept: dict[str, Any] = {"imported": {"from": path.name, "made": index.metadata.get("made", 0)}}
    if isinstance(facts, dict) and all(isinstance(facts.get(fact), int | float) for fact in FACTS):
        kept["build"] = {fact: facts[fact] for fact in FACTS}
    return kept


def is_stock(goal: str, own: specs.ToolchainSpec) -> bool:
    """Whether a link may lead out of an archive: to a stock program, and only of what is not compiled from source."""
    if own.kind == "patched":
        return False
    folder, _, program = goal.rpartition("/")
    return goal == "/usr/bin/rustc" or (folder == f"/usr/lib/llvm-{own.llvm}/bin" and program not in ("", ".", ".."))
