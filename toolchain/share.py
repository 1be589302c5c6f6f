"""Share: toolchains as files, so that nobody builds the same compiler twice.

What comes in is a toolchain's name, an archive, or the place of a shared store (a directory or an http address with
files named by key); what goes out is a file, or a product that `toolchain.toolchains.ensure` takes as if it had been
built here. An archive holds programs that will be run: its hashes say that it is whole, not that whoever made it is
honest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import store
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Runtime
from core.store import Product
from sources import archive, depot
from sources.archive import SUFFIX, Index
from toolchain import content, specs, surroundings, toolchains, unpacking

_SHOWN_PACKAGES = 8


@dataclass(frozen=True)
class Exported:
    """An archive that was written.

    Attributes:
        size: in bytes.
        unpacked: bytes of the files in it.
    """

    path: Path
    sha256: str
    size: int
    unpacked: int
    files: int


@dataclass(frozen=True)
class Imported:
    """A toolchain that came out of an archive.

    Attributes:
        new: whether the store did not have it.
        stale: why `toolchain.build` of this checkout would make another one; empty if it would take this one.
    """

    name: str
    runtime: str
    product: Product
    new: bool
    stale: str


def built(name: str, runtime: Runtime) -> Product:
    """The newest toolchain of a name and a runtime in the store; nothing is built.

    Raises:
        UserError: there is none, or only of another state of the pass or of another runtime.
    """
    own = specs.spec(name)
    mine = [p for p in store.products() if p.kind == "toolchain" and p.metadata["inputs"].get("name") == name]
    here = [p for p in mine if p.metadata["inputs"].get("runtime") == runtime.name]
    current = [p for p in here if not _stale(own, p.metadata["inputs"])]
    if current:
        return store.mark_used(current[-1])
    make = f"./invoke toolchain.build --name {name} --runtime {runtime.name}"
    if here:
        why = _stale(own, here[-1].metadata["inputs"])
        raise UserError(f"the toolchain {name} in the store is another one than this checkout describes: {why}", make)
    if mine:
        other = mine[-1].metadata["inputs"]["runtime"]
        raise UserError(
            f"the toolchain {name} is built for {other}, not for {runtime.name}", f"say --runtime {other}, or {make}"
        )
    raise UserError(f"the toolchain {name} is not built", make)


def _stale(own: specs.ToolchainSpec, inputs: Mapping[str, Any]) -> str:
    """What of a toolchain's inputs is not what this checkout would build; empty if nothing."""
    wanted = toolchains.current_inputs(own)
    words = {"pass": "the pass", "copies": "the pass", "patches": "the LLVM patches", "llvm": "the version of LLVM"}
    return " and ".join(dict.fromkeys(words.get(key, key) for key in wanted if inputs.get(key) != wanted[key]))


def export(product: Product, out: Path) -> Exported:
    """Write a toolchain to a file.

    Args:
        out: the file; a directory is a shared store, in which the file is named by what it holds (`content.key`).

    Raises:
        UserError: the file's name does not say what it is.
        InfraError: the disk is full.
    """
    if out.is_dir():
        out = out / f"{content.key(product.metadata['inputs'])}{SUFFIX}"
    elif not out.name.endswith(SUFFIX):
        raise UserError(f"{out} is no directory and does not end in {SUFFIX}", f"name it {out}{SUFFIX}")
    inputs = product.metadata["inputs"]
    listing = surroundings.package_list(inputs["name"], inputs["runtime"], inputs["packages"])
    index = archive.write(product, out, {"package_list": listing})
    files = [entry for entry in index.entries if entry.kind in ("file", "program")]
    return Exported(out, store.hash_file(out), out.stat().st_size, sum(entry.size for entry in files), len(files))


def load(path: Path, *, install: bool = True) -> Imported:
    """Take a toolchain out of an archive into the store.

    Args:
        install: whether missing host packages may be installed.

    Raises:
        UserError: it is no toolchain that is known here.
        InfraError: it is damaged, or does not fit to the packages of this machine.
    """
    index = archive.read_index(path)
    name, named = unpacking.identify(index, path)
    runtime = Runtime(named, install)
    there = store.find("toolchain", index.inputs)

    def fit(folder: Path) -> None:
        made, packages = surroundings.of_toolchain(specs.spec(name), runtime)
        if packages == index.inputs.get("packages"):
            return
        if index.inputs.get("kind") != "patched":
            raise _other_packages(index, name, named, path, packages)
        try:
            toolchains.check_fit(folder, index.key, runtime, made, packages)
        except UnderTest as error:
            raise _other_packages(index, name, named, path, packages, error.message) from error

    def work(tmp: Path) -> dict[str, Any]:
        # First what takes seconds: no image is made for a damaged archive.
        kept = unpacking.unpack(path, tmp, index.key)
        fit(tmp)
        return kept

    if there:
        fit(there.path)
    product = store.make("toolchain", index.inputs, work)
    return Imported(name, named, product, there is None, _stale(specs.spec(name), index.inputs))


def _other_packages(index: Index, name: str, runtime: str, path: Path, packages: str, why: str = "") -> InfraError:
    """What is said of a toolchain whose surroundings are not those of this machine, and that does not fit to these."""
    theirs = index.notes.get("package_list", [])
    theirs = {str(line) for line in theirs} if isinstance(theirs, list) else set()
    different = differing(theirs, set(surroundings.package_list(name, runtime, packages)))
    around = f"the image {specs.spec(name).image}" if runtime == "docker" else "this host"
    return InfraError(
        f"{path} was made with other packages than those of {around} here: {different}{why and f' ({why})'}",
        f"bring the packages to one state (one KDF_BASE_IMAGE or one apt origin on both machines), "
        f"or build it here: ./invoke toolchain.build --name {name}",
    )


def differing(theirs: set[str], ours: set[str]) -> str:
    """Which packages of two lists of NAME=VERSION:ARCHITECTURE differ, in words."""

    def versions(lines: set[str]) -> dict[str, str]:
        found = {}
        for line in lines:
            name, _, rest = line.strip().partition("=")
            version, _, arch = rest.rpartition(":")
            found[f"{name}:{arch}"] = version
        return found

    if not theirs:
        return "which ones, the archive does not say"
    left, right = versions(theirs), versions(ours)
    changed = [
        f"{name.rpartition(':')[0]} {left.get(name, 'none')} there, {right.get(name, 'none')} here"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
    more = len(changed) - _SHOWN_PACKAGES
    return "; ".join(changed[:_SHOWN_PACKAGES]) + (f"; and {more} more" if more > 0 else "")


def name_of(product: Product) -> str:
    """The key under which a shared store has a product; a toolchain's is the one that `toolchain.build --from` asks."""
    return content.key(product.metadata["inputs"]) if product.kind == "toolchain" else product.key


def push(product: Product, place: str) -> bool:
    """Bring a product of any kind to a shared store; whether it is new there.

    Raises:
        UserError: there is no such directory, or the product is of this machine alone.
        InfraError: the disk is full, or the server refuses or gives back other bytes.
    """
    notes: dict[str, Any] = {}
    if product.kind == "toolchain":
        inputs = product.metadata["inputs"]
        notes["package_list"] = surroundings.package_list(inputs["name"], inputs["runtime"], inputs["packages"])
    return depot.push(product, place, name_of(product), notes)


def pull(place: str, key: str, kinds: Collection[str]) -> Product | None:
    """Take what a shared store has under a key; None if it has nothing of these kinds.

    Args:
        kinds: which are taken; all if empty.

    Raises:
        UserError: it is of another machine, or of a kind that is not taken from elsewhere.
        InfraError: it is damaged, hostile, or another product than its name says.
    """
    with depot.found(place, [key]) as there:
        if there is None:
            return None
        index = archive.read_index(there[1])
        if kinds and index.kind not in kinds:
            return None
        if index.kind != "toolchain":
            return depot.take(there[1], key)
        if content.key(index.inputs) != key:
            raise InfraError(f"{there[1]} holds the toolchain {index.key[:12]}, not {key[:12]}", "remove it there")
        return unpacking.take(there[1], index.inputs)
