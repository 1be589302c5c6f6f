"""One cell of the matrix: is its result up to date, and if not, do it.

What comes in is a cell; what goes out is `$KDF_HOME/cells/ID/result.json`, a copy of the result of the run that made
it. A result counts while everything that decides it is the same: kernel, guest program, runtime. One that says
`running` was killed, and counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cells import result, runs
from ci.matrices import MatrixCell
from core import store
from core.errors import InfraError, UnderTest, UserError, nearest
from core.runtime import Runtime
from guest import agent
from kernel import built, kernels
from kernel.built import Kernel
from kernel.cell import resolve
from patches import apply
from sources import catalogue

# What `cell.run --until` can end with; after the last only the guest is left.
STAGES = ("tree", "config", "build")
FINISHED = ("passed", "failed")


@dataclass(frozen=True)
class State:
    """What the store has for a cell.

    Attributes:
        key: of all that decides its result; empty if something of it would have to be made to know.
        kernel: its kernel, if it is built.
        last: the last result, as JSON; empty without one.
    """

    key: str
    kernel: Kernel | None
    last: Mapping[str, Any]

    @property
    def up_to_date(self) -> bool:
        """Whether the last result is of this very cell, and came to its end."""
        told = self.last.get("facts", {}).get("key", "")
        return bool(self.key) and told == self.key and self.last.get("status") in FINISHED

    @property
    def words(self) -> str:
        """The state for a table."""
        if self.up_to_date:
            return f"up to date: {self.last['status']}"
        return "kernel built" if self.kernel else "to build"


def place(identity: str) -> Path:
    """The folder of a cell's result."""
    return store.home() / "cells" / identity


def look(cell: MatrixCell, runtime: Runtime) -> State:
    """What the store has for a cell; makes nothing.

    Raises:
        UserError: the cell's request is wrong.
    """
    try:
        last = json.loads((place(cell.id) / result.FILE).read_text())
    except (OSError, ValueError):
        last = {}
    resolved = resolve(cell.cell)
    try:
        with store.looking():
            ready = kernels.prepare(resolved, replace(runtime, install=False))
    except (store.Absent, InfraError):
        return State("", None, last if isinstance(last, dict) else {})
    key = store.key_of({"kernel": dict(ready.inputs), "agent": agent.identity(), "runtime": runtime.name})
    return State(key, built.find(ready.inputs), last if isinstance(last, dict) else {})


def do(cell: MatrixCell, runtime: Runtime, *, again: bool = False) -> Mapping[str, Any]:
    """The result of a cell as JSON; made now if the last one is not up to date.

    Args:
        again: make it in any case.

    Raises:
        KitError: it could not be carried through; result.json then holds the reason.
    """
    folder = place(cell.id)
    with store.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with store.lock(f"cell-{store.key_of({'id': cell.id})[:16]}"):
        state = look(cell, runtime)
        if state.up_to_date and not again:
            return state.last
        if not state.key:
            # What was missing is made first, so that the key is known before there is a result to bear it.
            kernels.prepare(resolve(cell.cell), runtime)
            state = look(cell, runtime)
        told = {"cell_id": cell.id, "key": state.key}
        return runs.run(resolve(cell.cell), runtime, facts=told, copy=folder / result.FILE, control=True).as_json()


def until(cell: MatrixCell, runtime: Runtime, stage: str) -> None:
    """Do a cell up to one of STAGES, so that a later job, perhaps on another machine, finds that in the store.

    Raises:
        UserError: there is no such stage, or the cell's request is wrong.
        UnderTest: a patch does not apply, a symbol was lost, or the kernel does not compile.
        InfraError: the machine failed.
    """
    if stage not in STAGES:
        raise UserError(f"there is no stage {stage}{nearest(stage, STAGES)}")
    resolved = resolve(cell.cell)
    if stage == "tree":
        apply.tree(catalogue.source_tree(resolved.linux), resolved.series)
    elif stage == "config":
        kernels.check_config(resolved, runtime).require()
    else:
        kernels.build(resolved, runtime)


def require(found: Mapping[str, Any]) -> None:
    """Raise unless a result says that it passed.

    Raises:
        UnderTest: it does not.
    """
    if found.get("status") != "passed":
        why = "; ".join(str(one) for one in found.get("reasons", [])) or "a check does not hold"
        raise UnderTest(f"{found.get('status')}: {why}", log=Path(str(found.get("folder", ""))) / result.FILE)
