"""Test the verification with deliberate mistakes in the pass.

Lists each mistake with the cases of the corpus that must notice it. The numbers are those of `fault(n)` in the pass.
Together the mistakes must make every case of the corpus fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session
from toolchain import plugin, verify

# One way to compile is enough to see a mistake; this one has tables, removed parameters and inlining.
MODE = "-O2 -g"


@dataclass(frozen=True)
class Fault:
    """A mistake, and the cases that must fail because of it."""

    what: str
    cases: frozenset[str]


def _fault(what: str, cases: str) -> Fault:
    return Fault(what, frozenset(cases.split()))


FAULTS: Mapping[int, Fault] = {
    1: _fault("indexes begin at 1", "early frames ints noreturn recursion varargs"),
    2: _fault("the first two fields of a table swapped", "struct_pointer struct_value nested nulls"),
    3: _fault("half the size of a scalar", "bools enums floats ints int128 pointers"),
    4: _fault("the last return is not reported", "early musttail recursion returned"),
    5: _fault("the buffer of a returned struct counts as a parameter", "returned"),
    6: _fault("no_sanitize_coverage and .noinstr.text ignored", "noinstr"),
    7: _fault("the pc is not the function", "ints noreturn statics weak"),
    8: _fault("the table begins at the hash", "struct_pointer coerced flexible unnamed"),
    9: _fault("the pieces of a struct all at offset 0", "coerced floats nested"),
    10: _fault("pointers to other things read through", "pointers nulls noreturn"),
    11: _fault("variadic functions skipped", "varargs"),
    12: _fault("bit-fields not widened", "bitfields"),
    13: _fault("what an argument holds that callers no longer pass", "statics"),
    14: _fault("weak functions named by their own symbol", "weak"),
    15: _fault("a report between a musttail call and its return", "musttail"),
    16: _fault("bytes not stored", "bools ints"),
    17: _fault("static functions skipped", "statics"),
    18: _fault("the last field of a struct by value missing", "bitfields coerced struct_value unnamed"),
    19: _fault("floats reported as removed", "floats"),
    20: _fault("unions taken for structs", "unions pointers"),
    21: _fault("members of size 0 in the table", "flexible nested"),
    22: _fault("functions without a result report a return", "early ints"),
    23: _fault("a struct in registers reported piece by piece", "coerced floats"),
    24: _fault("the last field of a table missing", "struct_pointer nested flexible"),
    25: _fault("removed parameters left out", "statics"),
    26: _fault("a constant assigned later taken for the value at entry", "statics"),
}


def failed_cases(
    session: Session, major: int, sources: Path, work: Path, number: int, cases: Iterable[str] | None = None
) -> tuple[str, ...]:
    """Build the pass with one mistake and return the cases of the corpus that fail.

    Args:
        session: mounts `sources` and, writable, `work`.
        major: of LLVM.
        sources: `toolchain/pass`.
        work: a directory to keep between calls, so that the pass is compiled once for all mistakes.
        number: of the mistake; 0 for no mistake.
        cases: the cases to run; None for all.

    Raises:
        UnderTest: the pass does not compile.
    """
    broken = plugin.build_faulty(session, major, sources, work / "objects", work / f"fault{number}", number)
    flags = [f"-fpass-plugin={session.path(broken)}", "-Xclang", "-fsanitize-coverage-indirect-calls"]
    clang = plugin.output(session, [f"llvm-config-{major}", "--bindir"])[0] + "/clang"
    result = verify.verify(session, [clang], work / "corpus", flags=flags, only=cases, in_modes=[MODE])
    return result.failed
