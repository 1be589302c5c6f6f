"""Run the tests of our LLVM patches with LLVM's own runner (lit).

Takes a patched toolchain, which contains the tests in `share/kcov-dataflow/tests`. Gives a status per file. A file that
was not run, or was not supported, does not count as passed.
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
        name: its path relative to LLVM's source.
        code: lit's result `PASS`, `FAIL`, `UNRESOLVED`, ..., or `MISSING` if lit did not report the file.
        output: its output, if it did not pass.
    """

    name: str
    code: str
    output: str


def lit_folder() -> Path:
    """Return the directory of the package lit."""
    import lit

    return Path(lit.__file__).parent


def mount() -> Mount:
    """Return the mount that a session needs to run lit."""
    return Mount(lit_folder(), "/kdf/lit/lit")


def run(session: Session, toolchain: Path, work: Path, log: Path) -> list[IrTest]:
    """Run the tests of a toolchain.

    Args:
        session: mounts the toolchain, `work` (writable) and `mount()`.
        toolchain: a patched one.
        work: an empty directory.

    Returns:
        One entry per test file of the toolchain; empty if it has no test files.

    Raises:
        InfraError: lit itself failed.
    """
    tests = toolchain / TESTS
    names = sorted(str(p.relative_to(tests)) for p in tests.rglob("*") if p.suffix in _SUFFIXES)
    if not names:
        return []
    suite, answer = work / "suite", work / "lit.json"
    shutil.copytree(tests, suite)
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
        raise InfraError(f"lit ended with exit code {done.code} and did not write a report", "read the log", log)
    return read(answer.read_text(), names)


def read(text: str, wanted: list[str]) -> list[IrTest]:
    """Sort lit's JSON report by file.

    Args:
        wanted: the files that should have run.
    """
    results = {
        str(test["name"]).partition(" :: ")[2]: (str(test["code"]), str(test.get("output", "")))
        for test in json.loads(text)["tests"]
    }
    return [
        IrTest(name, *((code, "" if code == "PASS" else output)))
        for name in wanted
        for code, output in (results.get(name, ("MISSING", "")),)
    ]


def require(tests: list[IrTest], log: Path) -> None:
    """Raise unless there are tests and all passed.

    Raises:
        UnderTest: there are no tests, or some did not pass; the message names them.
    """
    bad = [f"{test.name}: {test.code}" for test in tests if test.code != "PASS"]
    if bad:
        raise UnderTest("\n  ".join([f"{len(bad)} of {len(tests)} IR and driver tests failed:", *bad]), "", log)
    if not tests:
        raise UnderTest("the toolchain does not have IR and driver tests", "build it again", log)
