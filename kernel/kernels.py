"""Build the kernel of a cell, or find it in the store.

Takes a cell and a runtime. `prepare` makes the tree and the toolchain, `build` gives the kernel (`kernel.built`). A
kernel is never built if a requested symbol did not survive.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.runtime import Runtime
from kconfig import reason, survival
from kernel import built, callbacks, compilation, instrument, samples
from kernel.built import Kernel
from kernel.cell import Cell, require_linux
from kernel.workplace import Ready, Workplace, open_workplace
from patches import apply
from sources import catalogue
from toolchain import toolchains
from toolchain.toolchains import Toolchain


def prepare(cell: Cell, runtime: Runtime, *, guard: bool = True, toolchain: Toolchain | None = None) -> Ready:
    """Find or make the tree and the toolchain of a cell, and compose its configuration.

    Args:
        guard: whether to refuse a toolchain whose callbacks do not fit the tree.
        toolchain: used in place of the cell's own toolchain.

    Raises:
        UserError: compiler and series have different generations, or the source is not Linux.
        UnderTest: a patch does not apply.
    """
    source = catalogue.source_tree(cell.linux)
    require_linux(apply.source_directory(source), cell.linux)
    tree = apply.tree(source, cell.series)
    # Read this first: a faulty tree is refused before a toolchain is compiled for it.
    takes = callbacks.read(tree.path / "linux") if guard else None
    toolchain = toolchain or toolchains.ensure(cell.toolchain, runtime, targets=(cell.arch,))
    if guard:
        callbacks.check(cell.toolchain.name, toolchain.manifest, takes, cell.series.name, cell.series.generation)
    request = cell.request(apply.stated_version(tree.path / "linux"))
    inputs: dict[str, Any] = {
        "arch": cell.arch,
        "instrument": sorted(cell.instrument),
        "request": request.identity(),
        "toolchain": toolchain.key,
        "tree": tree.key,
    }
    if cell.series.imported:
        # The user may add the layout later. That makes another kernel, because a kernel stores its layout.
        inputs["layout"] = cell.series.layout
    if samples.wanted(request):
        inputs["samples"] = samples.identity()
    return Ready(cell, toolchain, tree, request, inputs)


def build(cell: Cell, runtime: Runtime, *, guard: bool = True) -> Kernel:
    """Find the kernel of a cell in the store, or build it now.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply, a symbol was lost, or the kernel does not compile.
        InfraError: the machine failed.
    """
    ready = prepare(cell, runtime, guard=guard)
    return built.make(ready.inputs, lambda tmp: _make(ready, tmp))


@dataclass(frozen=True)
class ConfigCheck:
    """The result of a request.

    Attributes:
        asked: number of requested symbols, including those that must have a value (`must`).
        lost: the lost symbols, each with its reason in words.
        reasons: the same reasons as data.
        warnings: Kconfig's own warnings about the requests.
        config: the final configuration.
    """

    asked: int
    lost: Sequence[survival.Lost]
    reasons: Sequence[reason.Reason]
    warnings: Sequence[str]
    config: Path
    log: Path

    def require(self) -> None:
        """Raise UnderTest if a symbol was lost."""
        survival.require_none(self.lost, self.log)


def check_config(cell: Cell, runtime: Runtime, *, guard: bool = True) -> ConfigCheck:
    """Configure a cell without building it, and compare the request with the final configuration.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply, or the configuration cannot be configured at all.
        InfraError: the machine failed.
    """
    ready = prepare(cell, runtime, guard=guard)
    with open_workplace(ready) as place:
        configured = place.configure()
        lost, reasons = place.lost(configured.config)
    return ConfigCheck(
        len(ready.request.asked) + len(ready.request.must),
        lost,
        reasons,
        configured.warnings,
        configured.config,
        place.log,
    )


def _make(ready: Ready, out: Path) -> dict[str, Any]:
    with open_workplace(ready) as place:
        return make(place, out)


def make(place: Workplace, out: Path) -> dict[str, Any]:
    """Configure and compile in the build directory, then copy the product's files to `out`; return its metadata.

    Raises:
        UnderTest: a symbol was lost, or the kernel does not compile.
        InfraError: the machine failed.
    """
    ready = place.ready
    survival.require_none(place.lost(place.configure().config)[0], place.log)
    done = compilation.compile_all(place)
    instrument.require(place.build_dir, ready.cell.instrument, place.log)
    if samples.wanted(ready.request):
        (out / built.MODULES).mkdir()
        for module in samples.build(place):
            shutil.copyfile(module, out / built.MODULES / module.name)
    return compilation.keep(place, done, out)
