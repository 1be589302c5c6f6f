"""Accept a toolchain: compare the reports of its clang and its rustc with the whole corpus.

Takes a toolchain of the store and a work directory. Gives a `Verification` and writes `verify.json`. Raises if a value
is wrong.
"""

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
    """Verify a toolchain of the store and its rustc, if it has one; write `verify.json` into `work`.

    Args:
        generation: of its callbacks, one of `verify.FLAGS_OF`; with L3, its rustc is not verified.

    Raises:
        UnderTest: a value was wrong.
    """
    result = verify.verify(
        session, [session.path(toolchain / "bin" / "clang")], work, flags=verify.FLAGS_OF[generation], log=log
    )
    # A plugin toolchain's rustc is a link that only the session can follow.
    if generation != "L3" and os.path.lexists(toolchain / "bin" / "rustc"):
        result = result.joined(verify_rust.run(session, toolchain, work, generation=generation, log=log))
    store.write_json(work / "verify.json", result.as_json())
    if result.total.wrong:
        first = result.problems[0]
        raise UnderTest(
            f"{result.total.wrong} of {result.total.values} values are wrong, the first one: {first}",
            f"read all of them in {work / 'verify.json'}",
            log,
        )
    return result
