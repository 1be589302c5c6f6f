"""Find the cells of a matrix whose inputs changed since another revision of this repository.

Takes a plan and a revision. Gives the plan without the cells that have the same key in that revision. That revision's
own code computes its keys, in a temporary worktree with the same home. A key that it cannot compute counts as changed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ci.plans import Planned
from core import process
from core.errors import UserError
from core.runtime import Runtime

_ROOT = Path(__file__).parent.parent


def changed(
    planned: Sequence[Planned], matrix: str, revision: str, runtime: Runtime
) -> tuple[list[Planned], list[Planned]]:
    """Return the cells of a plan that differ in another revision, and those that are the same.

    Args:
        matrix: the name of the matrix.

    Raises:
        UserError: there is no such revision.
    """
    keys = keys_of(matrix, revision, runtime)
    same = [cell for cell in planned if cell.state.key and keys.get(cell.cell.id) == cell.state.key]
    return [cell for cell in planned if cell not in same], same


def keys_of(matrix: str, revision: str, runtime: Runtime) -> dict[str, str]:
    """Return cell -> key as a revision computes them; empty if it does not have the matrix.

    Raises:
        UserError: there is no such revision.
    """
    git = ["git", "-C", str(_ROOT)]
    commit = process.capture([*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
    if commit.code != 0:
        raise UserError(f"this repository has no revision {revision}", "see git log")
    with tempfile.TemporaryDirectory(prefix="kdf-since-") as folder:
        tree = Path(folder) / "tree"
        added = process.capture([*git, "worktree", "add", "--detach", "--quiet", str(tree), commit.out.strip()])
        try:
            if added.code != 0:
                raise UserError(f"git makes no worktree of {revision}: {added.err.strip()}", "see git worktree list")
            argv = [
                sys.executable,
                "-m",
                "commands.program",
                "ci.plan",
                "--matrix",
                matrix,
                "--runtime",
                runtime.name,
                "--json",
            ]
            plan = process.capture(argv, cwd=tree)
        finally:
            process.capture([*git, "worktree", "remove", "--force", str(tree)])
    try:
        cells = json.loads(plan.out)["cells"] if plan.code == 0 else []
        return {str(cell["id"]): str(cell["key"]) for cell in cells}
    except (ValueError, KeyError, TypeError):
        return {}
