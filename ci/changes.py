"""Since: which cells of a matrix another revision of this repository would do in the same way.

What comes in is a plan and a revision; what goes out is the plan without the cells whose key that revision's own code
finds as well. It is asked in a worktree that goes away, with the same home: what a key is made of is that code's
business. What it cannot tell counts as changed.
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
    """The cells of a plan that are not the same in another revision, and those that are.

    Args:
        matrix: the name of the matrix.

    Raises:
        UserError: there is no such revision.
    """
    keys = keys_of(matrix, revision, runtime)
    same = [one for one in planned if one.state.key and keys.get(one.cell.id) == one.state.key]
    return [one for one in planned if one not in same], same


def keys_of(matrix: str, revision: str, runtime: Runtime) -> dict[str, str]:
    """Cell -> key, as a revision sees them; empty if it has no such matrix, or no matrix at all.

    Raises:
        UserError: there is no such revision.
    """
    git = ["git", "-C", str(_ROOT)]
    found = process.capture([*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
    if found.code != 0:
        raise UserError(f"this repository has no revision {revision}", "see git log")
    with tempfile.TemporaryDirectory(prefix="kdf-since-") as folder:
        tree = Path(folder) / "tree"
        made = process.capture([*git, "worktree", "add", "--detach", "--quiet", str(tree), found.out.strip()])
        try:
            if made.code != 0:
                raise UserError(f"git makes no worktree of {revision}: {made.err.strip()}", "see git worktree list")
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
            asked = process.capture(argv, cwd=tree)
        finally:
            process.capture([*git, "worktree", "remove", "--force", str(tree)])
    try:
        cells = json.loads(asked.out)["cells"] if asked.code == 0 else []
        return {str(one["id"]): str(one["key"]) for one in cells}
    except (ValueError, KeyError, TypeError):
        return {}
