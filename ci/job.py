"""Run one cell of a matrix, unless its result is up to date.

Takes a cell. Gives `$KDF_HOME/cells/ID/result.json`, a copy of the result of its last run. A result is up to date while
kernel, guest program and runtime are the same. A result with the status `running` is that of a killed run, and does not
count.
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

# Where `cell.run --until` can stop. After the last stage only the guest is left.
STAGES = ("tree", "config", "build")
FINISHED = ("passed", "failed")


@dataclass(frozen=True)
class State:
    """What the store has for a cell.

    Attributes:
        key: hash of everything that decides the result; empty if something must be made first to know it.
        kernel: the kernel, if it is built.
        last: the last result as JSON; empty without one.
    """

    key: str
    kernel: Kernel | None
    last: Mapping[str, Any]

    @property
    def up_to_date(self) -> bool:
        """Tell whether the last result is of this very cell, and whether its run ended."""
        key = self.last.get("facts", {}).get("key", "")
        return bool(self.key) and key == self.key and self.last.get("status") in FINISHED

    @property
    def words(self) -> str:
        """Return the state for a table."""
        if self.up_to_date:
            return f"up to date: {self.last['status']}"
        return "kernel built" if self.kernel else "to build"


def place(identity: str) -> Path:
    """Return the folder of a cell's result."""
    return store.home() / "cells" / identity


def look(cell: MatrixCell, runtime: Runtime) -> State:
    """Look up what the store has for a cell; make nothing.

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
    """Return the result of a cell as JSON; run the cell if the last result is not up to date.

    Args:
        again: run it in any case.

    Raises:
        KitError: the run failed; result.json has the reason.
    """
    folder = place(cell.id)
    with store.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with store.lock(f"cell-{store.key_of({'id': cell.id})[:16]}"):
        state = look(cell, runtime)
        if state.up_to_date and not again:
            return state.last
        if not state.key:
            # Make what is missing first: the key must be known before the result is written with it.
            kernels.prepare(resolve(cell.cell), runtime)
            state = look(cell, runtime)
        facts = {"cell_id": cell.id, "key": state.key}
        return runs.run(resolve(cell.cell), runtime, facts=facts, copy=folder / result.FILE, control=True).as_json()


def until(cell: MatrixCell, runtime: Runtime, stage: str) -> None:
    """Run a cell up to one of STAGES, so that a later job, perhaps on another machine, finds it in the store.

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


def require(stored: Mapping[str, Any]) -> None:
    """Raise unless the status of a result is `passed`.

    Raises:
        UnderTest: it is another one.
    """
    if stored.get("status") != "passed":
        why = "; ".join(str(reason) for reason in stored.get("reasons", [])) or "a check does not hold"
        raise UnderTest(f"{stored.get('status')}: {why}", log=Path(str(stored.get("folder", ""))) / result.FILE)
