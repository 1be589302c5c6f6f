"""Read the built kernels of the store, as one type.

Takes a kernel's inputs or its key. Gives a `Kernel` with its files and its metadata. No other module reads the metadata
or the `config` of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core import store
from core.store import Product
from kconfig import survival
from kernel.cache import CacheUse

KIND = "kernel"
# The files of a kernel's product.
IMAGE, VMLINUX, SYSTEM_MAP, CONFIG, LOG, MODULES = "image", "vmlinux", "System.map", "config", "build.log", "modules"


@dataclass(frozen=True)
class Kernel:
    """A kernel of the store.

    Attributes:
        product: where its files and its metadata are.
    """

    product: Product

    @property
    def path(self) -> Path:
        """Return the directory with all its files."""
        return self.product.path

    @property
    def key(self) -> str:
        """Return the key of the product."""
        return self.product.key

    @property
    def image(self) -> Path:
        """Return the file that boots."""
        return self.path / IMAGE

    @property
    def vmlinux(self) -> Path:
        """Return the ELF file with symbols and debug info."""
        return self.path / VMLINUX

    @property
    def system_map(self) -> Path:
        """Return the file with the symbols and their addresses."""
        return self.path / SYSTEM_MAP

    @property
    def config_file(self) -> Path:
        """Return the file with the final configuration, as Kconfig wrote it."""
        return self.path / CONFIG

    @cached_property
    def config(self) -> dict[str, str]:
        """Return symbol -> value of the final configuration, as `survival.values` reads it."""
        return survival.values(self.config_file.read_text())

    @property
    def records(self) -> bool:
        """Return whether it has the recording device."""
        return self.config.get("KCOV_DATAFLOW") == "y"

    @property
    def modules(self) -> list[Path]:
        """Return the sample modules that were built with it."""
        return sorted((self.path / MODULES).glob("*.ko"))

    @property
    def cell(self) -> Mapping[str, Any]:
        """Return the names that it was built from; empty if the metadata has none."""
        names: Mapping[str, Any] = self.product.metadata.get("cell", {})
        return names

    @property
    def arch(self) -> str:
        """Return `x86_64` or `arm64`."""
        return str(self.cell["arch"])

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Return the inputs that decide its content; its key is their hash."""
        inputs: Mapping[str, Any] = self.product.metadata["inputs"]
        return inputs

    @property
    def asked(self) -> Mapping[str, str]:
        """Return symbol -> value of its request."""
        asked: Mapping[str, str] = self.inputs["request"]["asked"]
        return asked

    @property
    def release(self) -> str:
        """Return the text that `uname -r` prints in it."""
        return str(self.product.metadata["release"])

    @property
    def layout(self) -> str:
        """Return the layout of its records; empty if it is not known."""
        return self.product.metadata["layout"] or ""

    @property
    def generation(self) -> str | None:
        """Return the callback generation of the compiler that built it."""
        generation = self.product.metadata["toolchain_manifest"]["generation"]
        return str(generation) if generation else None

    @property
    def tree(self) -> str:
        """Return the key of its source tree in the store."""
        return str(self.product.metadata["tree"])

    @property
    def made(self) -> int:
        """Return when it was finished, in seconds since the epoch."""
        return int(self.product.metadata["made"])

    @property
    def sizes(self) -> dict[str, int]:
        """Return file name -> size in bytes."""
        return {name: int(facts["size"]) for name, facts in self.product.metadata["files"].items()}

    @property
    def hashes(self) -> dict[str, str]:
        """Return file name -> sha256."""
        return {name: str(facts["sha256"]) for name, facts in self.product.metadata["files"].items()}

    @property
    def command(self) -> Sequence[str]:
        """Return the make command line that built it; empty if the metadata has none."""
        return list(self.product.metadata.get("command", ()))

    @property
    def make_seconds(self) -> float:
        """Return the wall time of make in seconds; 0 if the metadata does not have it."""
        return float(self.product.metadata.get("make_seconds", 0.0))

    @property
    def cpu_seconds(self) -> float | None:
        """Return the CPU seconds of make and all its children; None if the metadata does not have them."""
        seconds = self.product.metadata.get("cpu_seconds")
        return None if seconds is None else float(seconds)

    @property
    def cache(self) -> CacheUse:
        """Return what its build took from the compiler cache."""
        return CacheUse(**self.product.metadata["ccache"])

    @property
    def objects(self) -> int:
        """Return how many objects make compiled."""
        return int(self.product.metadata["objects"])

    @property
    def jobs(self) -> int:
        """Return how many compilers ran at the same time."""
        return int(self.product.metadata["jobs"])

    @property
    def warnings(self) -> int:
        """Return how many distinct warnings the compiler printed."""
        return int(self.product.metadata["warnings"])

    @property
    def frames(self) -> Mapping[str, int]:
        """Return bytes -> number of functions with a larger stack frame; empty if the compiler did not check frames."""
        frames: Mapping[str, int] = self.product.metadata.get("frames", {})
        return frames

    @property
    def gate_text(self) -> str | None:
        """Return the sha256 of the text of its gates; None if it does not have gates."""
        return self.product.metadata.get("gate_text_sha256")

    def as_json(self) -> dict[str, Any]:
        """Return path and metadata as JSON values."""
        return {"path": str(self.path), **self.product.metadata}


def find(inputs: Mapping[str, Any]) -> Kernel | None:
    """Find the kernel of some inputs in the store; None if it is not there."""
    product = store.find(KIND, inputs)
    return Kernel(product) if product else None


def make(inputs: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]) -> Kernel:
    """Find the kernel of some inputs in the store, or make it.

    Args:
        work: fills an empty directory with the kernel's files; returns the metadata.
    """
    return Kernel(store.make(KIND, inputs, work))


def by_key(key: str) -> Kernel | None:
    """Find the kernel of a key in the store; None if it is not there."""
    product = store.product(KIND, key)
    return Kernel(product) if product else None


def all_kernels() -> list[Kernel]:
    """Return the kernels of the store, the oldest first."""
    return [Kernel(product) for product in store.products() if product.kind == KIND]
