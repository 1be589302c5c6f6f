"""Accept a toolchain: compare what its clang and its rustc report with the whole corpus."""

from __future__ import annotations

import os
from pathlib import Path

from core import store
from core.errors import UnderTest
from core.runtime import Session
from toolchain import verify, verify_rust
from toolchain.verify import Verification


def check(
    session: Session, toolchain: Path, work: Path, *, generation: str = "L0", log: Path | None = None
) -> Verification:
    """Verify a toolchain of the store, its rustc included if it has one, and write `verify.json` into `work`.

    Args:
        generation: of its callbacks, one of `verify.FLAGS_OF`; with L3 its rustc is left out.

    Raises:
        UnderTest: a value was wrong.
    """
    result = verify.verify(
        session, [session.path(toolchain / "bin" / "clang")], work, flags=verify.FLAGS_OF[generation], log=log
    )
    # A plugin's is a link that only the session can follow.
    if generation != "L3" and os.path.lexists(toolchain / "bin" / "rustc"):
        result = result.joined(verify_rust.run(session, toolchain, work, generation=generation, log=log))
    store.write_json(work / "verify.json", result.as_json())
    if result.total.wrong:
        first = result.problems[0]
        raise UnderTest(
            f"{result.total.wrong} of {result.total.values} values are wrong, the first one: {first}",
            f"all of them are in {work / 'verify.json'}",
            log,
        )
    return result
