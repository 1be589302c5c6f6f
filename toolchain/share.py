"""Share toolchains as files, so that nobody builds the same compiler twice.

Takes a toolchain's name, an archive, or the place of a shared store (a directory or an http address with files named by
key). Gives a file, or a product that `toolchain.toolchains.ensure` uses like one built here. An archive contains
programs that will be run: its hashes show that it is complete, not that its maker is honest.
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
        unpacked: bytes of its files when unpacked.
    """

    path: Path
    sha256: str
    size: int
    unpacked: int
    files: int


@dataclass(frozen=True)
class Imported:
    """A toolchain that was imported from an archive.

    Attributes:
        new: whether the store did not have it.
        stale: why `toolchain.build` of this checkout would not use it; empty if it would.
    """

    name: str
    runtime: str
    product: Product
    new: bool
    stale: str


def built(name: str, runtime: Runtime) -> Product:
    """Return the newest stored toolchain of a name and a runtime, without building anything.

    Raises:
        UserError: there is none, or only one with another state of the pass or for another runtime.
    """
    own = specs.spec(name)
    mine = [p for p in store.products() if p.kind == "toolchain" and p.metadata["inputs"].get("name") == name]
    of_runtime = [p for p in mine if p.metadata["inputs"].get("runtime") == runtime.name]
    current = [p for p in of_runtime if not _stale(own, p.metadata["inputs"])]
    if current:
        return store.mark_used(current[-1])
    make = f"./invoke toolchain.build --name {name} --runtime {runtime.name}"
    if of_runtime:
        why = _stale(own, of_runtime[-1].metadata["inputs"])
        raise UserError(f"the toolchain {name} in the store is another one than this checkout describes: {why}", make)
    if mine:
        other = mine[-1].metadata["inputs"]["runtime"]
        raise UserError(
            f"the toolchain {name} is built for {other}, not for {runtime.name}", f"use --runtime {other}, or {make}"
        )
    raise UserError(f"the toolchain {name} is not built", make)


def _stale(own: specs.ToolchainSpec, inputs: Mapping[str, Any]) -> str:
    """Return which inputs of a toolchain differ from those of this checkout; empty if none do."""
    current = toolchains.current_inputs(own)
    words = {"pass": "the pass", "copies": "the pass", "patches": "the LLVM patches", "llvm": "the version of LLVM"}
    return " and ".join(dict.fromkeys(words.get(key, key) for key in current if inputs.get(key) != current[key]))


def export(product: Product, out: Path) -> Exported:
    """Write a toolchain to a file.

    Args:
        out: the file; if it is a directory, it is a shared store, and `content.key` names the file in it.

    Raises:
        UserError: the file's name does not have the right suffix.
        InfraError: the disk is full.
    """
    if out.is_dir():
        out = out / f"{content.key(product.metadata['inputs'])}{SUFFIX}"
    elif not out.name.endswith(SUFFIX):
        raise UserError(f"{out} is not a directory and does not end in {SUFFIX}", f"name it {out}{SUFFIX}")
    inputs = product.metadata["inputs"]
    listing = surroundings.package_list(inputs["name"], inputs["runtime"], inputs["packages"])
    index = archive.write(product, out, {"package_list": listing})
    files = [entry for entry in index.entries if entry.kind in ("file", "program")]
    return Exported(out, store.hash_file(out), out.stat().st_size, sum(entry.size for entry in files), len(files))


def load(path: Path, *, install: bool = True) -> Imported:
    """Import a toolchain from an archive into the store.

    Args:
        install: whether missing host packages may be installed.

    Raises:
        UserError: the archive does not contain a toolchain that is known here.
        InfraError: it is damaged, or does not fit the packages of this machine.
    """
    index = archive.read_index(path)
    name, runtime_name = unpacking.identify(index, path)
    runtime = Runtime(runtime_name, install)
    stored = store.find("toolchain", index.inputs)

    def fit(folder: Path) -> None:
        made, packages = surroundings.of_toolchain(specs.spec(name), runtime)
        if packages == index.inputs.get("packages"):
            return
        if index.inputs.get("kind") != "patched":
            raise _other_packages(index, name, runtime_name, path, packages)
        try:
            toolchains.check_fit(folder, index.key, runtime, made, packages)
        except UnderTest as error:
            raise _other_packages(index, name, runtime_name, path, packages, error.message) from error

    def work(tmp: Path) -> dict[str, Any]:
        # Unpack first: that takes seconds and finds a damaged archive before an image is made for it.
        kept = unpacking.unpack(path, tmp, index.key)
        fit(tmp)
        return kept

    if stored:
        fit(stored.path)
    product = store.make("toolchain", index.inputs, work)
    return Imported(name, runtime_name, product, stored is None, _stale(specs.spec(name), index.inputs))


def _other_packages(index: Index, name: str, runtime: str, path: Path, packages: str, why: str = "") -> InfraError:
    """Return the error for a toolchain that does not fit the packages of this machine."""
    theirs = index.notes.get("package_list", [])
    theirs = {str(line) for line in theirs} if isinstance(theirs, list) else set()
    different = differing(theirs, set(surroundings.package_list(name, runtime, packages)))
    around = f"the image {specs.spec(name).image}" if runtime == "docker" else "this host"
    return InfraError(
        f"{path} was made with other packages than those of {around} here: {different}{why and f' ({why})'}",
        f"use the same packages on both machines (the same KDF_BASE_IMAGE or apt origin), "
        f"or build it here: ./invoke toolchain.build --name {name}",
    )


def differing(theirs: set[str], ours: set[str]) -> str:
    """Return in words which packages of two lists of NAME=VERSION:ARCHITECTURE differ."""

    def versions(lines: set[str]) -> dict[str, str]:
        version_of = {}
        for line in lines:
            name, _, rest = line.strip().partition("=")
            version, _, arch = rest.rpartition(":")
            version_of[f"{name}:{arch}"] = version
        return version_of

    if not theirs:
        return "the archive does not list its packages"
    left, right = versions(theirs), versions(ours)
    changed = [
        f"{name.rpartition(':')[0]} {left.get(name, 'none')} there, {right.get(name, 'none')} here"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
    more = len(changed) - _SHOWN_PACKAGES
    return "; ".join(changed[:_SHOWN_PACKAGES]) + (f"; and {more} more" if more > 0 else "")


# What a pull takes if nobody names kinds: both are results, and are verified before they are used.
TAKEN = ("kernel", "toolchain")


def name_of(product: Product) -> str:
    """Return the key that names a product in a shared store; `toolchain.build --from` asks for a toolchain's."""
    return content.key(product.metadata["inputs"]) if product.kind == "toolchain" else product.key


def push(product: Product, place: str) -> bool:
    """Copy a product of any kind to a shared store; return whether it is new there.

    Raises:
        UserError: the directory does not exist, or the product only fits this machine.
        InfraError: the disk is full, or the server refuses it or returns other bytes.
    """
    notes: dict[str, Any] = {}
    if product.kind == "toolchain":
        inputs = product.metadata["inputs"]
        notes["package_list"] = surroundings.package_list(inputs["name"], inputs["runtime"], inputs["packages"])
    return depot.push(product, place, name_of(product), notes)


def pull(place: str, key: str, kinds: Collection[str]) -> Product | None:
    """Import the product of a key from a shared store; None if it has none of these kinds.

    Args:
        kinds: the kinds to import; empty for kernels and toolchains. Others decide what later products are made of.

    Raises:
        UserError: it was made for another machine, or its kind is never imported.
        InfraError: it is damaged or hostile, or its name is that of another product.
    """
    with depot.found(place, [key]) as there:
        if there is None:
            return None
        index = archive.read_index(there[1])
        if index.kind not in (kinds or TAKEN):
            return None
        if index.kind != "toolchain":
            return depot.take(there[1], key)
        if content.key(index.inputs) != key:
            raise InfraError(f"{there[1]} contains the toolchain {index.key[:12]}, not {key[:12]}", "remove it there")
        return unpacking.take(there[1], index.inputs)
