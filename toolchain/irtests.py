"""Run the tests that our LLVM patches bring, in LLVM's own style, with LLVM's own runner (lit).

What comes in is a patched toolchain, which carries the tests in `share/kcov-dataflow/tests`; what goes out is a status
per file. A file that was not run, or was not supported, is no pass.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.errors import InfraError, UnderTest
from core.runtime import Mount, Session
from toolchain import plugin
from toolchain.llvm import TESTS

_CONFIG = Path(__file__).parent / "lit.cfg"
_SUFFIXES = (".ll", ".c", ".cpp")


@dataclass(frozen=True)
class IrTest:
    """One test file.

    Attributes:
        name: its path below LLVM's source.
        code: lit's word for how it ended: `PASS`, `FAIL`, `UNRESOLVED`, ..., or `MISSING` if lit said nothing of it.
        output: what it printed, if it did not pass.
    """

    name: str
    code: str
    output: str


def lit_folder() -> Path:
    """The directory of the package lit."""
    import lit

    return Path(lit.__file__).parent


def mount() -> Mount:
    """What a session must see to run lit."""
    return Mount(lit_folder(), "/kdf/lit/lit")


def run(session: Session, toolchain: Path, work: Path, log: Path) -> list[IrTest]:
    """Run the tests of a toolchain.

    Args:
        session: sees the toolchain, `work` (writable) and `mount()`.
        toolchain: a patched one.
        work: an empty directory.

    Returns:
        One entry per test file that the toolchain has; none if it brings none.

    Raises:
        InfraError: lit itself did not work.
    """
    there = toolchain / TESTS
    wanted = sorted(str(p.relative_to(there)) for p in there.rglob("*") if p.suffix in _SUFFIXES)
    if not wanted:
        return []
    suite, answer = work / "suite", work / "lit.json"
    shutil.copytree(there, suite)
    shutil.copyfile(_CONFIG, suite / "lit.cfg")
    clang = session.path(toolchain / "bin" / "clang")
    done = session.run(
        [
            *("python3", "-c", "from lit.main import main; main()"),
            *("-v", "-o", session.path(answer), "--no-progress-bar", session.path(suite)),
        ],
        env={
            "PYTHONPATH": str(PurePosixPath(session.path(lit_folder())).parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "KDF_TOOLS": session.path(toolchain / "bin"),
            "KDF_RESOURCES": plugin.output(session, [clang, "-print-resource-dir"])[0],
        },
        log=log,
    )
    if not answer.is_file():
        raise InfraError(f"lit ended with {done.code} and told nothing", "read the log", log)
    return read(answer.read_text(), wanted)


def read(text: str, wanted: list[str]) -> list[IrTest]:
    """Sort lit's JSON report by file.

    Args:
        wanted: the files that were to be run.
    """
    told = {
        str(one["name"]).partition(" :: ")[2]: (str(one["code"]), str(one.get("output", "")))
        for one in json.loads(text)["tests"]
    }
    return [
        IrTest(name, *((code, "" if code == "PASS" else output)))
        for name in wanted
        for code, output in (told.get(name, ("MISSING", "")),)
    ]


def require(tests: list[IrTest], log: Path) -> None:
    """Raise unless there are tests and each passed.

    Raises:
        UnderTest: names those that did not.
    """
    bad = [f"{one.name}: {one.code}" for one in tests if one.code != "PASS"]
    if bad:
        raise UnderTest("\n  ".join([f"{len(bad)} of {len(tests)} IR and driver tests failed:", *bad]), "", log)
    if not tests:
        raise UnderTest("the toolchain brings no IR and driver tests", "build it again", log)
