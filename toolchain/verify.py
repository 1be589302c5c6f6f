"""Check that a compiler reports the values that a program passes, by compiling and running the corpus.

Takes a session with a toolchain and a writable directory. Gives a `Verification`: the compared values are equal,
removed (by the optimizer, in static functions only) or wrong. The expected values come from the corpus, never from a
compiler.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import InfraError, UserError
from core.runtime import Session
from toolchain.expect import Corpus, Line, Value, read_corpus
from toolchain.observe import Observed, Report, Symbols, read_reports, read_symbols
from toolchain.specs import ToolchainSpec

CORPUS = Path(__file__).parent / "corpus"
FLAGS = ("-fsanitize-coverage=dataflow-args,dataflow-ret",)
# Generation -> flags that turn dataflow on, for the generations that the corpus can verify. Gates call functions, so
# there must not be a red zone. corpus/gates.h contains the functions that the kernel has behind its gates.
FLAGS_OF = {
    "L0": FLAGS,
    "G1": ("-fsanitize-coverage=gated-args,gated-ret", "-mno-red-zone", "-include", "../gates.h"),
}
LEVELS = ("-O1", "-O2", "-Os")
_HELPERS = ("callbacks.c",)
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Problem:
    """One wrong value or report."""

    case: str
    mode: str
    function: str
    what: str

    def __str__(self) -> str:
        return f"{self.case} {self.mode}: {self.function}: {self.what}"


@dataclass
class Tally:
    """The numbers of compared functions and values in one or more runs."""

    functions: int = 0
    equal: int = 0
    removed: int = 0
    wrong: int = 0

    @property
    def values(self) -> int:
        """Return the number of compared values."""
        return self.equal + self.removed + self.wrong

    def add(self, other: Tally) -> None:
        """Add the numbers of another tally."""
        self.functions += other.functions
        self.equal += other.equal
        self.removed += other.removed
        self.wrong += other.wrong


@dataclass(frozen=True)
class Verification:
    """The result for one compiler.

    Attributes:
        cases: the tally of each case over all modes.
        modes: the options with which each case was compiled.
        problems: what was wrong, in words; as many as `wrong` counts, or more if a whole call is missing.
    """

    cases: Mapping[str, Tally]
    modes: Sequence[str]
    problems: Sequence[Problem]

    @property
    def total(self) -> Tally:
        """Return the sum over all cases."""
        total = Tally()
        for tally in self.cases.values():
            total.add(tally)
        return total

    @property
    def failed(self) -> tuple[str, ...]:
        """Return the cases in which something was wrong."""
        return tuple(sorted({p.case for p in self.problems}))

    def joined(self, other: Verification) -> Verification:
        """Return both results as one; their cases must have different names."""
        return Verification(
            {**self.cases, **other.cases}, [*self.modes, *other.modes], [*self.problems, *other.problems]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "total": dataclasses.asdict(self.total),
            "cases": {name: dataclasses.asdict(tally) for name, tally in self.cases.items()},
            "modes": list(self.modes),
            "problems": [dataclasses.asdict(p) for p in self.problems],
        }


@dataclass
class _Comparison:
    """The comparison of one run with its expectations."""

    case: str
    mode: str
    debug: bool
    symbols: Symbols
    tally: Tally = field(default_factory=Tally)
    problems: list[Problem] = field(default_factory=list)

    def _wrong(self, function: str, what: str) -> None:
        self.tally.wrong += 1
        self.problems.append(Problem(self.case, self.mode, function, what))

    def run(self, expected: Sequence[Line], observed: Mapping[str, Observed]) -> None:
        lines = [line for line in expected if line.debug in (None, self.debug)]
        names = list(dict.fromkeys(line.function for line in lines))
        for name in names:
            self.tally.functions += 1
            own = [line for line in lines if line.function == name]
            self._function(name, own, observed.get(name, Observed()))
        for name in observed:
            if name not in names and name not in {line.function for line in expected}:
                self._wrong(name, "reports, but nothing is expected of it")

    def _function(self, name: str, own: Sequence[Line], seen: Observed) -> None:
        static = any(line.static for line in own)
        calls = [line for line in own if line.kind == "call"]
        returns = [line for line in own if line.kind == "return"]
        nothing = [line.kind for line in own if line.kind in ("never", "none")]
        if "never" in nothing:
            if seen.calls or seen.returns:
                self._wrong(name, "reports, but must never do so")
            else:
                self.tally.equal += 1
            return
        if "none" in nothing:
            if seen.returns:
                self._wrong(name, "reports a return, but must not")
            else:
                self.tally.equal += 1
        # A function that only has lines for the other mode is not compared in this one.
        if calls:
            self._sequence(name, static, calls, seen.calls, "call")
        if returns:
            self._sequence(name, static, returns, [[r] for r in seen.returns], "return")

    def _sequence(
        self, name: str, static: bool, lines: Sequence[Line], seen: Sequence[Sequence[Report]], what: str
    ) -> None:
        for number, line in enumerate(lines):
            if not self.debug and line.has_struct_by_value:
                continue
            leaves = sum(v.leaves for v in line.values)
            if number >= len(seen):
                # The optimizer may remove a static function or only its result. A function that exists reports its
                # calls.
                if static and (what == "return" or name not in self.symbols.addresses):
                    self.tally.removed += leaves
                else:
                    self._wrong(name, f"{what} {number + 1} is not reported")
                continue
            reports = seen[number]
            by_index = {r.index: r for r in reports}
            if len(by_index) != len(reports) or (what == "call" and len(reports) != len(line.values)):
                self._wrong(name, f"{what} {number + 1} has {len(reports)} reports instead of {len(line.values)}")
            for index, value in enumerate(line.values):
                where = f"{what} {number + 1}" + (f", parameter {index}" if what == "call" else "")
                report = by_index.get(index)
                if report is None:
                    self._wrong(name, f"{where} is not reported")
                else:
                    self._value(name, static, where, value, report)
        if len(seen) > len(lines):
            self._wrong(name, f"{len(seen)} {what}s are reported instead of {len(lines)}")

    def _value(self, name: str, static: bool, where: str, want: Value, got: Report) -> None:
        if want.anything:
            return
        if got.size == 0:
            if got.pointer or got.fields or not (static or want.removed or want.lossy):
                self._wrong(name, f"{where} is reported as removed")
            else:
                self.tally.removed += want.leaves
            return
        if want.is_pointer_to_struct and (not self.debug or (want.lossy and got.fields is None)):
            self._scalar(name, where, self._pointer(want), 8, got)
        elif want.fields is None:
            number = want.number if want.symbol is None else self.symbols.addresses.get(want.symbol)
            self._scalar(name, where, number, want.size, got)
        else:
            self._struct(name, where, want, got)

    def _pointer(self, want: Value) -> int | None:
        return self.symbols.addresses.get(want.symbol, -1) if want.symbol else want.number

    def _scalar(self, name: str, where: str, number: int | None, size: int, got: Report) -> None:
        if got.size != size or got.fields is not None:
            self._wrong(name, f"{where}: size {got.size} and {len(got.fields or ())} fields instead of size {size}")
        elif number is not None and not _same(got.value, number):
            self._wrong(name, f"{where}: {_hex(got.value)} instead of {_hex(number & _MASK)}")
        else:
            self.tally.equal += 1

    def _struct(self, name: str, where: str, want: Value, got: Report) -> None:
        assert want.fields is not None  # noqa: S101  (the caller looked)
        pointer = self._pointer(want)
        if got.size != want.size or got.fields is None:
            self._wrong(name, f"{where}: size {got.size}, {'no ' if got.fields is None else ''}table, "
                              f"instead of size {want.size} with a table")  # fmt: skip
            return
        if want.is_pointer_to_struct and pointer is not None and got.pointer != pointer & _MASK:
            self._wrong(name, f"{where}: the object is at {got.pointer:#x} instead of {pointer & _MASK:#x}")
            return
        if [(f.offset, f.size) for f in got.fields] != [(f.offset, f.size) for f in want.fields]:
            shown = " ".join(f"{f.offset}:{f.size}" for f in got.fields)
            self._wrong(name, f"{where}: the table is {shown}")
            return
        for expected, reported in zip(want.fields, got.fields, strict=True):
            if expected.value is not None and expected.value != reported.value:
                self._wrong(name, f"{where}, offset {expected.offset}: {_hex(reported.value)} instead of "
                                  f"{_hex(expected.value)}")  # fmt: skip
            else:
                self.tally.equal += 1


def _same(seen: int | None, want: int) -> bool:
    """Compare all bits of an expected number that has more than 64, else the low 64."""
    mask = _MASK if want.bit_length() <= 64 else (1 << 128) - 1
    return seen is not None and seen & mask == want & mask


def _hex(value: int | None) -> str:
    return "nothing" if value is None else f"{value:#x}"


def require_addresses(spec: ToolchainSpec) -> None:
    """Raise if the corpus cannot verify a toolchain: its expectations are for callbacks that take addresses.

    Raises:
        UserError: the callbacks of this toolchain take values.
    """
    if spec.generation not in FLAGS_OF:
        raise UserError(
            f"the corpus is for callbacks that take addresses, but {spec.name} passes values ({spec.generation})",
            "run tests/toolchain/test_pass_by_value.py, or verify plugin-19",
        )


def modes() -> list[tuple[str, bool, tuple[str, ...]]]:
    """Return name, whether there is debug information, and options of each mode in which the corpus is compiled."""
    return [(f"{level}{' -g' if g else ''}", g, (level, *(["-g"] if g else ["-g0"]))) for g in (True, False)
            for level in LEVELS]  # fmt: skip


def _script(compiler: Sequence[str], flags: Sequence[str], options: Sequence[str], cases: Sequence[str]) -> str:
    """Return a shell script that compiles and runs each case, four at a time; errors go to CASE.failed."""
    cc = shlex.join([*compiler, "-std=gnu2x", "-fno-pie", "-Wno-everything", *options])
    template = (
        f"{cc} {shlex.join(flags)} -DSUBJECT -c ../$c.c -o $c.s.o && {cc} -DDRIVER -c ../$c.c -o $c.d.o && "
        f"{cc} -no-pie $c.s.o $c.d.o callbacks.o -o $c && ./$c > $c.out"
    )
    lines = [f"{cc} -c ../callbacks.c -o callbacks.o || exit 9"]
    for start in range(0, len(cases), 4):
        for case in cases[start : start + 4]:
            command = template.replace("$c", case)
            lines.append(f"{{ rm -f {case}.failed; {{ {command}; }} 2> {case}.err || mv {case}.err {case}.failed; }} &")
        lines.append("wait")
    return "\n".join(lines) + "\n"


def verify(
    session: Session,
    compiler: Sequence[str],
    work: Path,
    *,
    flags: Sequence[str] = FLAGS,
    only: Iterable[str] | None = None,
    in_modes: Iterable[str] | None = None,
    log: Path | None = None,
) -> Verification:
    """Compile, run and compare the corpus.

    Args:
        session: contains the compiler and mounts `work` writable.
        compiler: the start of a C compiler's command line, with paths of the session.
        work: a directory for objects; it is created if it does not exist.
        flags: the flags that turn dataflow on; only the subjects get them.
        only: names of cases; None for all.
        in_modes: names of `modes()`; None for all.
        log: file for the commands.

    Raises:
        InfraError: the helpers of the corpus do not compile, which is not a fault of the pass.
    """
    work.mkdir(parents=True, exist_ok=True)
    for source in CORPUS.glob("*.[ch]"):
        shutil.copyfile(source, work / source.name)
    corpus: Corpus = read_corpus(CORPUS, skip=_HELPERS)
    cases = sorted(set(only) & set(corpus) if only is not None else corpus)
    tallies = {case: Tally() for case in cases}
    problems: list[Problem] = []
    chosen = [m for m in modes() if in_modes is None or m[0] in set(in_modes)]
    for name, debug, options in chosen:
        folder = work / name.replace(" ", "")
        folder.mkdir(exist_ok=True)
        script = folder / "run.sh"
        script.write_text(_script(compiler, flags, options, cases))
        if not session.run(["sh", session.path(script)], cwd=folder, log=log, timeout=600).ok:
            raise InfraError("the helper of the corpus does not compile", "read the log", log)
        for case in cases:
            failed = folder / f"{case}.failed"
            if failed.exists():
                tallies[case].wrong += 1
                words = failed.read_text(errors="replace").strip().splitlines() or ["it ended with an error"]
                problems.append(Problem(case, name, "the program", f"cannot be compiled or run: {words[0]}"))
                continue
            tally, problems_found = compare(case, name, debug, folder, corpus[case])
            tallies[case].add(tally)
            problems.extend(problems_found)
    return Verification(tallies, [m[0] for m in chosen], problems)


def compare(case: str, mode: str, debug: bool, folder: Path, lines: Sequence[Line]) -> tuple[Tally, list[Problem]]:
    """Compare the output of one program with the expectations in its source."""
    symbols = read_symbols(folder / case)
    text = (folder / f"{case}.out").read_text()
    observed, complaints = read_reports(text, symbols, (line.function for line in lines))
    comparison = _Comparison(case, mode, debug, symbols)
    for complaint in dict.fromkeys(complaints):
        comparison._wrong("?", complaint)
    comparison.run(lines, observed)
    return comparison.tally, comparison.problems
