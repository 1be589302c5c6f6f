"""Built kernels: what the store has of a kernel, as one type.

Nothing else looks into a kernel's metadata or reads its `config`.
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
        """The directory with all its files."""
        return self.product.path

    @property
    def key(self) -> str:
        """The key of the product."""
        return self.product.key

    @property
    def image(self) -> Path:
        """The file that boots."""
        return self.path / IMAGE

    @property
    def vmlinux(self) -> Path:
        """The ELF file with symbols and debug info."""
        return self.path / VMLINUX

    @property
    def system_map(self) -> Path:
        """The list of symbols and their addresses."""
        return self.path / SYSTEM_MAP

    @property
    def config_file(self) -> Path:
        """The final configuration, as Kconfig wrote it."""
        return self.path / CONFIG

    @cached_property
    def config(self) -> dict[str, str]:
        """Symbol -> value of the final configuration, as `survival.values` reads it."""
        return survival.values(self.config_file.read_text())

    @property
    def records(self) -> bool:
        """Whether it has the recording device."""
        return self.config.get("KCOV_DATAFLOW") == "y"

    @property
    def modules(self) -> list[Path]:
        """The sample modules that were built with it."""
        return sorted((self.path / MODULES).glob("*.ko"))

    @property
    def cell(self) -> Mapping[str, Any]:
        """The names that it was built from; empty if the metadata has none."""
        names: Mapping[str, Any] = self.product.metadata.get("cell", {})
        return names

    @property
    def arch(self) -> str:
        """`x86_64` or `arm64`."""
        return str(self.cell["arch"])

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What decided it; its key is their hash."""
        inputs: Mapping[str, Any] = self.product.metadata["inputs"]
        return inputs

    @property
    def asked(self) -> Mapping[str, str]:
        """Symbol -> value that its request asked for."""
        asked: Mapping[str, str] = self.inputs["request"]["asked"]
        return asked

    @property
    def release(self) -> str:
        """What `uname -r` prints in it."""
        return str(self.product.metadata["release"])

    @property
    def layout(self) -> str:
        """The layout of its records; empty if that is not known."""
        return self.product.metadata["layout"] or ""

    @property
    def generation(self) -> str | None:
        """The callback generation of the compiler that built it."""
        generation = self.product.metadata["toolchain_manifest"]["generation"]
        return str(generation) if generation else None

    @property
    def tree(self) -> str:
        """The key of its source tree in the store."""
        return str(self.product.metadata["tree"])

    @property
    def made(self) -> int:
        """When it was finished, seconds since the epoch."""
        return int(self.product.metadata["made"])

    @property
    def sizes(self) -> dict[str, int]:
        """Name of a file -> its size in bytes."""
        return {name: int(facts["size"]) for name, facts in self.product.metadata["files"].items()}

    @property
    def hashes(self) -> dict[str, str]:
        """Name of a file -> its sha256."""
        return {name: str(facts["sha256"]) for name, facts in self.product.metadata["files"].items()}

    @property
    def command(self) -> Sequence[str]:
        """The make command line that built it; empty if the metadata has none."""
        return list(self.product.metadata.get("command", ()))

    @property
    def make_seconds(self) -> float:
        """Wall time of make; 0 if the metadata has none."""
        return float(self.product.metadata.get("make_seconds", 0.0))

    @property
    def cpu_seconds(self) -> float | None:
        """CPU time of make and all that it started, or None if the metadata has none."""
        seconds = self.product.metadata.get("cpu_seconds")
        return None if seconds is None else float(seconds)

    @property
    def cache(self) -> CacheUse:
        """What the compiler cache gave to its build."""
        return CacheUse(**self.product.metadata["ccache"])

    @property
    def objects(self) -> int:
        """How many objects make compiled."""
        return int(self.product.metadata["objects"])

    @property
    def jobs(self) -> int:
        """How many compilers ran at once."""
        return int(self.product.metadata["jobs"])

    @property
    def warnings(self) -> int:
        """How many distinct warnings the compiler printed."""
        return int(self.product.metadata["warnings"])

    @property
    def frames(self) -> Mapping[str, int]:
        """Bytes -> number of functions with a larger stack frame; empty if the compiler was not asked."""
        frames: Mapping[str, int] = self.product.metadata.get("frames", {})
        return frames

    @property
    def gate_text(self) -> str | None:
        """The sha256 of the text of its gates, or None if it has no gates."""
        return self.product.metadata.get("gate_text_sha256")

    def as_json(self) -> dict[str, Any]:
        """All that is known of it, as JSON values."""
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
    """List the kernels of the store, the oldest first."""
    return [Kernel(product) for product in store.products() if product.kind == KIND]
