"""Plant deliberate mistakes in a copy of the pass, and list the cases of the corpus that must notice each.

The pass itself knows nothing of them. A mutant is a few edits of its sources, each with the text that it replaces. All
mutants go into one copy, where `mutant(n)` tells whether number n was linked, so that one compile serves all of them.
Together the mutants must make every case of the corpus fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import UnderTest
from core.runtime import Session
from toolchain import plugin, verify

# Ways to compile that show each mistake: both remove parameters and inline, and one has tables.
MODES = ("-O2 -g", "-O2")
# By address (generation L0), arguments and return values, as variant.c counts.
_VARIANT = 3
# Macro that marks a compile of the copy; tests/plugins.py compiles it without optimizing.
MARK = "-DKCOV_DATAFLOW_MUTANTS"


@dataclass(frozen=True)
class Edit:
    """A text of one file of the pass, which occurs there once, and the text that replaces it."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A mistake, the cases that must fail because of it, and the edits that make it."""

    what: str
    cases: frozenset[str]
    edits: tuple[Edit, ...]


def _mutant(what: str, cases: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(what, frozenset(cases.split()), tuple(Edit(f"KcovDataflow{name}", *texts) for name, *texts in edits))


def _after(text: str, more: str) -> tuple[str, str]:
    return text, text + more


# Declares mutant(n) where all files of the pass see it.
_DECLARED = Edit(
    "KcovDataflowImpl.h",
    "namespace llvm {\nnamespace kcov_dataflow {\n",
    'extern "C" const unsigned KcovDataflowMutant;\nnamespace llvm {\nnamespace kcov_dataflow {\n'
    "inline bool mutant(unsigned N) { return KcovDataflowMutant == N; }\n",
)

# The anchors of several mutants.
_COVERED = "  if (!isCovered(P, R))\n    return std::nullopt;\n"
_ENTRIES = "  for (unsigned I = 0; I < Entry.size(); ++I)"

MUTANTS: Mapping[int, Mutant] = {
    1: _mutant(
        "indexes begin at 1", "early frames ints noreturn recursion varargs",
        ("ByAddress.cpp", "Rep.emitArgument(B, Pc, I, Entry[I], Slot);",
         "Rep.emitArgument(B, Pc, mutant(1) ? I + 1 : I, Entry[I], Slot);"),
    ),
    2: _mutant(
        "the first two fields of a table swapped", "struct_pointer struct_value nested nulls",
        ("Reports.cpp", *_after(
            "  if (!Fields)\n    return It->second;\n",
            "  if (mutant(2) && Fields > 1)\n    std::swap(Words[1], Words[3]), std::swap(Words[2], Words[4]);\n")),
    ),
    3: _mutant(
        "half the size of a scalar", "bools enums floats ints int128 pointers",
        ("Reports.cpp", *_after(
            _COVERED, "  if (mutant(3))\n    R.Size = std::max<uint64_t>(R.Size / 2, 1);\n")),
    ),
    4: _mutant(
        "the last return is not reported", "early musttail recursion returned",
        ("ByAddress.cpp", *_after(
            "    Returns = returnsOf(F);\n", "  if (mutant(4) && !Returns.empty())\n    Returns.pop_back();\n")),
    ),
    5: _mutant(
        "the buffer of a returned struct counts as a parameter", "returned",
        ("ByAddress.cpp", "  for (const Parameter &P : Params)\n",
         "  if (Argument *Buffer = returnBuffer(F); mutant(5) && Buffer)\n"
         "    Params.insert(Params.begin(), Parameter{{{Buffer, 0, 8, false}}});\n"
         "  for (const Parameter &P : Params)\n"),
    ),
    6: _mutant(
        "no_sanitize_coverage and .noinstr.text ignored", "noinstr",
        (".cpp", "F.hasFnAttribute(Attribute::NoSanitizeCoverage) ||",
         "(F.hasFnAttribute(Attribute::NoSanitizeCoverage) && !mutant(6)) ||"),
        (".cpp", '      Section == ".entry.text")\n    return false;',
         '      Section == ".entry.text")\n    return mutant(6);'),
    ),
    7: _mutant(
        "the pc is not the function", "ints noreturn statics weak",
        ("ByAddress.cpp", "  Constant *Pc = Rep.pc(F);",
         "  Constant *Pc = mutant(7) ? ConstantInt::get(Rep.I64, 1) : Rep.pc(F);"),
    ),
    8: _mutant(
        "the table begins at the hash", "struct_pointer coerced flexible unnamed",
        ("Reports.cpp", "{ConstantInt::get(I64, 0), ConstantInt::get(I64, 1)}",
         "{ConstantInt::get(I64, 0), ConstantInt::get(I64, mutant(8) ? 0 : 1)}"),
    ),
    9: _mutant(
        "the pieces of a struct all at offset 0", "coerced floats nested",
        ("Reports.cpp", *_after(
            _COVERED, "  if (mutant(9))\n    for (Piece &Part : R.SlotPieces)\n      Part.Offset = 0;\n")),
    ),
    10: _mutant(
        "pointers to other things read through", "pointers nulls noreturn",
        ("Reports.cpp", "    if (R.Fields) {\n      R.Address = First.V;\n      R.Size = Size;\n",
         "    if (R.Fields || mutant(10)) {\n      R.Address = First.V;\n      R.Size = R.Fields ? Size : 8;\n"),
    ),
    11: _mutant(
        "variadic functions skipped", "varargs",
        (".cpp", "(!Options.IsWanted || Options.IsWanted(F)))",
         "(!Options.IsWanted || Options.IsWanted(F)) && !(mutant(11) && F.isVarArg()))"),
    ),
    12: _mutant(
        "bit-fields not widened", "bitfields",
        ("Reports.cpp", "bytes(Start + Bits) - Start / 8", "mutant(12) ? Bits / 8 : bytes(Start + Bits) - Start / 8"),
    ),
    13: _mutant(
        "what an argument holds that callers no longer pass", "statics",
        (".cpp", "Lost |= isGarbage(*A) ||", "Lost |= (isGarbage(*A) && !mutant(13)) ||"),
    ),
    14: _mutant(
        "weak functions named by their own symbol", "weak",
        ("Reports.cpp", "F.isWeakForLinker()) && T.isOSBinFormatELF())",
         "F.isWeakForLinker()) && T.isOSBinFormatELF() && !mutant(14))"),
    ),
    15: _mutant(
        "a report between a musttail call and its return", "musttail",
        ("Reports.cpp", "!BB.getTerminatingMustTailCall() &&", "(!BB.getTerminatingMustTailCall() || mutant(15)) &&"),
    ),
    16: _mutant(
        "bytes not stored", "bools ints",
        ("Reports.cpp", "      Value *To =\n",
         "      if (mutant(16) && V->getType() == I8)\n        continue;\n      Value *To =\n"),
    ),
    17: _mutant(
        "static functions skipped", "statics",
        (".cpp", "if (isWanted(F) &&", "if (isWanted(F) && !(mutant(17) && F.hasLocalLinkage()) &&"),
    ),
    18: _mutant(
        "the last field of a struct by value missing", "bitfields coerced struct_value unnamed",
        ("Reports.cpp", "  if (First.IsAddress) {\n    R.Address",
         "  if (mutant(18) && R.Fields > 1)\n    R.Fields--;\n  if (First.IsAddress) {\n    R.Address"),
    ),
    19: _mutant(
        "floats reported as removed", "floats",
        ("Reports.cpp", *_after(
            _COVERED,
            "  if (mutant(19) && First.V->getType()->isFloatingPointTy())\n    return std::nullopt;\n")),
    ),
    20: _mutant(
        "unions taken for structs", "unions pointers",
        ("Types.cpp", "            C->getTag() == dwarf::DW_TAG_class_type))\n    return C;",
         "            C->getTag() == dwarf::DW_TAG_class_type ||\n"
         "            (mutant(20) && C->getTag() == dwarf::DW_TAG_union_type)))\n    return C;"),
    ),
    21: _mutant(
        "members of size 0 in the table", "flexible nested",
        ("Reports.cpp", "    if (!Bits)\n", "    if (!Bits && !(mutant(21) && D))\n"),
    ),
    22: _mutant(
        "functions without a result report a return", "early ints",
        ("ByAddress.cpp", "!returnsNothing(F))", "(!returnsNothing(F) || mutant(22)))"),
        ("ByAddress.cpp", "    Exit.push_back(Rep.reportReturn(F, R->getReturnValue()));",
         "    Exit.push_back(mutant(22) && returnsNothing(F)\n ? std::nullopt\n"
         "                       : Rep.reportReturn(F, R->getReturnValue()));"),
    ),
    23: _mutant(
        "a struct in registers reported piece by piece", "coerced floats",
        ("ByAddress.cpp", *_after(_ENTRIES, """ {
    if (mutant(23) && Entry[I] && Entry[I]->SlotPieces.size() > 1) {
      for (const Piece &P : Entry[I]->SlotPieces) {
        Report Part;
        Part.Size = P.Size;
        Part.SlotPieces.push_back({P.V, 0, P.Size, false});
        Rep.emitArgument(B, Pc, I, Part, Slot);
      }
    } else""")),
        ("ByAddress.cpp", "\n  for (unsigned I = 0; I < Exit.size(); ++I)",
         "\n  }\n  for (unsigned I = 0; I < Exit.size(); ++I)"),
    ),
    24: _mutant(
        "the last field of a table missing", "struct_pointer nested flexible",
        ("Reports.cpp", "  if (Options.ByValue)\n    Words.erase",
         "  if (mutant(24))\n    Words.pop_back(), Words.pop_back(), --Fields;\n"
         "  if (Options.ByValue)\n    Words.erase"),
    ),
    25: _mutant(
        "removed parameters left out", "statics",
        ("ByAddress.cpp", _ENTRIES, _ENTRIES.replace("++I)", "++I) if (!mutant(25) || Entry[I])")),
    ),
    26: _mutant(
        "a constant assigned later taken for the value at entry", "statics",
        ("Parameters.cpp", "      if (Param.Assigned ||", "      if ((Param.Assigned && !mutant(26)) ||"),
    ),
    27: _mutant(
        "one half of a number taken for the whole", "halves",
        ("Reports.cpp", "(Bytes == 1 ||", "(Bytes == 1 || mutant(27) ||"),
    ),
    28: _mutant(
        "a result that lost an element taken for the whole", "halves",
        ("Notes.cpp", "         Count != results(F);", "         !mutant(28) && Count != results(F);"),
    ),
    29: _mutant(
        "a part of a union taken for the whole", "halves",
        ("Types.cpp", "  auto Add = [&]",
         "  if (mutant(29) && C->getTag() == dwarf::DW_TAG_union_type)\n    return;\n  auto Add = [&]"),
        ("Reports.cpp", "Need.push_back({0, R.Size});", "Need.push_back({0, mutant(29) ? 1 : R.Size});"),
    ),
    30: _mutant(
        "an object that the function does not read reported", "unread",
        (".cpp", "(Part.IsAddress && P.Stale)", "(Part.IsAddress && P.Stale && !mutant(30))"),
    ),
    31: _mutant(
        "fields that the function does not read reported", "unread",
        ("Reports.cpp", "Ptr && !P.Stale)", "Ptr && (!P.Stale || mutant(31)))"),
    ),
}  # fmt: skip


def mutated(name: str, text: str, edits: Iterable[Edit]) -> str:
    """Return the text of a file of the pass after those of the edits that concern it.

    Raises:
        AssertionError: the text that an edit replaces is not there exactly once.
    """
    for edit in edits:
        if edit.file == name:
            assert text.count(edit.old) == 1, f"{name} contains {text.count(edit.old)} times: {edit.old}"
            text = text.replace(edit.old, edit.new)
    return text


def build(session: Session, major: int, sources: Path, work: Path, number: int) -> Path:
    """Link a plugin with one mistake.

    Args:
        session: sees `sources` and, writable, `work`.
        major: of LLVM.
        sources: `toolchain/pass`.
        work: a folder to keep between calls, so that the copy is compiled once for all mutants.
        number: of the mutant; 0 for none.

    Raises:
        AssertionError: an edit does not apply.
        UnderTest: the copy does not compile.
    """

    def ask(*words: str) -> list[str]:
        return " ".join(plugin.output(session, [f"llvm-config-{major}", *words])).split()

    def run(*argv: str) -> None:
        if not session.run(argv, log=work / "build.log").ok:
            raise UnderTest("a mutant of the pass does not compile", log=work / "build.log")

    clang = ask("--bindir")[0] + "/clang"
    compiled, own, made = (work / name for name in ("mutants.o", f"mutant{number}.o", f"mutant{number}.so"))
    if not compiled.exists():
        (work / "pass").mkdir(parents=True, exist_ok=True)
        edits = [_DECLARED, *(edit for mutant in MUTANTS.values() for edit in mutant.edits)]
        copies = [work / "pass" / path.name for path in sorted(sources.iterdir()) if path.suffix in (".cpp", ".h")]
        for path in copies:
            path.write_text(mutated(path.name, (sources / path.name).read_text(), edits))
        whole = work / "mutants.cpp"
        whole.write_text("".join(f'#include "pass/{path.name}"\n' for path in copies if path.suffix == ".cpp"))
        run(f"{clang}++", *ask("--cxxflags"), MARK, "-O2", "-fPIC", "-fno-rtti", "-fvisibility=hidden",
            "-c", session.path(whole), "-o", session.path(compiled))  # fmt: skip
    chosen = work / f"mutant{number}.c"
    variant = session.path(sources / "variant.c")
    chosen.write_text(f'#include "{variant}"\nconst unsigned KcovDataflowMutant = {number};\n')
    run(clang, "-fPIC", "-fvisibility=hidden", f"-DKCOV_DATAFLOW_VARIANT={_VARIANT}",
        "-c", session.path(chosen), "-o", session.path(own))  # fmt: skip
    libraries = ask("--link-shared", "--ldflags", "--libs")
    run(f"{clang}++", "-shared", session.path(compiled), session.path(own), *libraries, "-o", session.path(made))
    return made


def failed_cases(
    session: Session, major: int, sources: Path, work: Path, number: int, cases: Iterable[str] | None = None
) -> tuple[str, ...]:
    """Build the pass with one mistake and return the cases of the corpus that fail.

    Args:
        cases: the cases to run; None for all. The other arguments are those of `build`.
    """
    broken = build(session, major, sources, work, number)
    flags = [f"-fpass-plugin={session.path(broken)}", "-Xclang", "-fsanitize-coverage-indirect-calls"]
    clang = plugin.output(session, [f"llvm-config-{major}", "--bindir"])[0] + "/clang"
    return verify.verify(session, [clang], work / "corpus", flags=flags, only=cases, in_modes=MODES).failed
