"""Choose the runtime of a cell: the one for which the store has its kernel, or else its toolchain.

Takes the names of a cell. Gives a runtime, a toolchain and a reason. Only reads the store. A product of one runtime is
of no use in the other, because the compilers differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from core import store
from core.runtime import Runtime, choose
from core.store import Product
from kernel.cell import CellNames
from toolchain import toolchains


def place(cell: CellNames, name: str, *, install: bool = True) -> tuple[Runtime, CellNames, str]:
    """Choose the runtime of a cell, and its toolchain if it names none.

    Args:
        name: `docker`, `host` or `auto`; `auto` prefers what the store has.
        install: whether missing host packages may be installed.

    Returns:
        The runtime, the names with a toolchain, and why `auto` chose this runtime; empty if the store did not decide.

    Raises:
        UserError: the name is not that of a runtime.
        InfraError: docker was asked for, and no engine answers.
    """
    preferred, reason = runtime_for(cell) if name == "auto" else ("", "")
    runtime = choose(name, preferred, install=install)
    named = cell if cell.toolchain else replace(cell, toolchain=toolchains.default_name(runtime, cell.arch))
    return runtime, named, reason if runtime.name == preferred else ""


def of_toolchain(name: str, runtime: str = "auto", *, install: bool = True) -> Runtime:
    """Choose the runtime of a toolchain; `auto` prefers the only one for which the store has it.

    Args:
        runtime: `docker`, `host` or `auto`.
        install: whether missing host packages may be installed.

    Raises:
        UserError: there is no such runtime.
        InfraError: docker was asked for and no engine answers.
    """
    stored = toolchains.stored_runtimes(name, "") if runtime == "auto" else {}
    return choose(runtime, next(iter(stored)) if len(stored) == 1 else "", install=install)


def runtime_for(cell: CellNames) -> tuple[str, str]:
    """Find the one runtime for which the store has the kernel of a cell, or else the toolchain that it needs.

    Args:
        cell: its toolchain may be empty; then each runtime uses its own default.

    Returns:
        `docker` or `host`, and the reason in words. Both are empty if the store has both or neither.
    """
    names = toolchains.stored_runtimes(cell.toolchain, cell.arch)
    if len(kernels := _kernel_runtimes(cell, names, store.products())) == 1:
        return kernels.pop(), "the kernel is there"
    if len(names) == 1:
        return next(iter(names)), "the toolchain is there"
    return "", ""


def _kernel_runtimes(cell: CellNames, names: Mapping[str, str], products: Sequence[Product]) -> set[str]:
    """Find the runtimes of the stored kernels whose cell has the same names.

    Args:
        names: of the toolchain in each runtime.
        products: all products of the store.
    """
    cells = {where: json.loads(json.dumps({**asdict(cell), "toolchain": name})) for where, name in names.items()}
    runtimes = _toolchain_runtimes(products)
    stored: set[str] = set()
    for product in products:
        if product.kind == "kernel":
            where = runtimes.get(product.metadata["inputs"].get("toolchain", ""), "")
            if where in cells and product.metadata.get("cell") == cells[where]:
                stored.add(where)
    return stored


def _toolchain_runtimes(products: Sequence[Product]) -> dict[str, str]:
    """Return the key of a toolchain as kernels store it (`Toolchain.key`) -> its runtime."""
    runtimes: dict[str, str] = {}
    for product in products:
        inputs = product.metadata["inputs"]
        if product.kind == "toolchain":
            runtimes[product.key] = str(inputs.get("runtime"))
        elif product.kind == "fit":
            # A compiled toolchain that also ran with other packages than its own.
            around = {"toolchain": inputs["toolchain"], "packages": inputs["packages"]}
            runtimes[store.key_of(around)] = str(inputs["runtime"])
    return runtimes
