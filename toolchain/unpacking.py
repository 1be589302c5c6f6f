"""Check the archive of a toolchain, and fill a product of the store from it.

An archive contains programs that will be run: its hashes show that it is complete, not that its maker is honest.
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

# The figures of a patched compiler that `toolchain.build` prints. No other figures of an archive are kept.
FACTS = (
    "steps", "steps_run", "runs", "wall_seconds", "cpu_seconds", "last_cpu_seconds", "last_wall_seconds",
    "largest_process", "jobs",
)  # fmt: skip


def identify(index: Index, path: Path) -> tuple[str, str]:
    """Return the name and the runtime of the toolchain in an archive.

    Raises:
        UserError: it is not a toolchain that is known here.
    """
    if index.kind != "toolchain":
        raise UserError(f"{path} contains a product of kind {index.kind}, not a toolchain")
    name, runtime = index.inputs.get("name"), index.inputs.get("runtime")
    known = specs.load()[0]
    if not isinstance(name, str) or name not in known:
        raise UserError(f"{path} contains a toolchain {name}, which is not known here{nearest(str(name), known)}")
    if runtime not in ("docker", "host"):
        raise UserError(f"{path} contains a toolchain for the runtime {runtime}, which is not known here")
    machine = platform.machine()
    if index.inputs.get("machine") != machine:
        raise UserError(f"{path} was made on {index.inputs.get('machine')}, but this machine is {machine}")
    return name, str(runtime)


def take(path: Path, wanted: Mapping[str, Any]) -> Product:
    """Import a toolchain from an archive of a shared store.

    Args:
        wanted: its inputs; for a compiled one, the packages around it may differ.

    Raises:
        InfraError: the archive is damaged, or contains another toolchain.
    """
    index = archive.read_index(path)
    if content.key(index.inputs) != content.key(wanted):
        other = f"the toolchain {index.key[:12]}, not {store.key_of(wanted)[:12]}"
        raise InfraError(f"{path} contains {other}", "remove it from that place")
    return store.make("toolchain", index.inputs, lambda tmp: unpack(path, tmp, index.key))


def unpack(path: Path, tmp: Path, key: str) -> dict[str, Any]:
    """Fill the directory of a product from an archive.

    Args:
        key: of the toolchain that it must contain.

    Returns:
        Values to add to the product's metadata.

    Raises:
        InfraError: it is damaged or hostile, or contains another toolchain.
    """
    index = archive.read_index(path)
    if index.key != key:
        raise InfraError(f"{path} contains the toolchain {index.key[:12]}, not {key[:12]}", "ask for it again")
    name, _where = identify(index, path)
    if archive.extract(path, tmp, lambda goal: is_stock(goal, specs.spec(name))) != index:
        raise InfraError(f"{path} changed while it was read", "run the same command again")
    try:
        manifest = json.loads((tmp / plugin.MANIFEST).read_text())
        whole = isinstance(manifest["versions"]["clang"], str) and (tmp / "bin").is_dir()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise InfraError(f"{path} does not contain a toolchain: its {plugin.MANIFEST} is missing or malformed")
    facts = index.metadata.get("build")
    kept: dict[str, Any] = {"imported": {"from": path.name, "made": index.metadata.get("made", 0)}}
    if isinstance(facts, dict) and all(isinstance(facts.get(fact), int | float) for fact in FACTS):
        kept["build"] = {fact: facts[fact] for fact in FACTS}
    return kept


def is_stock(goal: str, own: specs.ToolchainSpec) -> bool:
    """Return whether a link may lead out of an archive: to a stock program, if it is not compiled from source."""
    if own.kind == "patched":
        return False
    folder, _, program = goal.rpartition("/")
    return goal == "/usr/bin/rustc" or (folder == f"/usr/lib/llvm-{own.llvm}/bin" and program not in ("", ".", ".."))
