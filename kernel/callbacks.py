"""Guard: a compiler and a tree whose callbacks take other operands never meet.

The names of the callbacks are the same in all generations, so a wrong pair links and boots, and records garbage. What
comes in is the source of a tree and what the probe found of a compiler; what goes out is nothing, or a refusal that
names both. The tree is read, not its label: prototypes decide (spec/kcov-dataflow.md, sections 0, 2 and 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from toolchain import probe

_CALLBACKS = (probe.ARGS, probe.RET)
# Where the callbacks are, and where they are looked for if they are not there.
_PLACES = ("kernel/kcov*.c", "include/linux/kcov*.h", "lib/kcov*.c", "mm/kcov*.c")
_ELSEWHERE = ("kernel/**/*.c", "lib/*.c", "mm/*.c")
# Who asks the compiler for the calls.
_KCONFIG = "lib/Kconfig.debug"
_MAKEFILES = ("scripts/Makefile.kcov", "scripts/Makefile.lib", _KCONFIG)
_SPELLING = re.compile(r"\b(dataflow|trace|gated)-(?:args|ret)\b")
# The first LLVM that any pass of this feature was made for.
_OLDEST = 19

_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|^[ \t]*#(?:[^\n\\]|\\.)*|"(?:[^"\\\n]|\\.)*"', re.DOTALL | re.MULTILINE)
_BITS = {
    64: "u64 s64 __u64 __s64 uint64_t int64_t uintptr_t size_t ssize_t kernel_ulong_t",
    32: "u32 s32 __u32 __s32 uint32_t int32_t",
    16: "u16 s16 __u16 __s16 uint16_t int16_t",
    8: "u8 s8 __u8 __s8 uint8_t int8_t bool _Bool",
}
_NAMED = {name: f"i{bits}" for bits, names in _BITS.items() for name in names.split()}
# Longer words of C first: `unsigned long long` holds `long` (64 bits on every machine that has the feature).
_BASIC = (("long", "i64"), ("short", "i16"), ("char", "i8"), ("int", "i32"), ("unsigned", "i32"), ("signed", "i32"))
_QUALIFIERS = {"const", "volatile", "register", "__maybe_unused", "__always_unused"}


@dataclass(frozen=True)
class Takes:
    """What the callbacks of a tree take.

    Attributes:
        args: LLVM types of the operands of `__sanitizer_cov_trace_args`, comma-separated; None without that callback.
        ret: the same of `__sanitizer_cov_trace_ret`.
        spelling: of the flags that the tree gives the compiler, `dataflow` or `trace`; empty if it gives none.
        where: the file with the callbacks, below the tree.
    """

    args: str | None
    ret: str | None
    spelling: str
    where: str

    @property
    def generation(self) -> str:
        """`L0` .. `L3`, `G1`, or `unknown`: no generation has these operands."""
        ours = (self.args, self.ret, self.spelling or None)
        for name, theirs in probe.GENERATIONS.items():
            if all(mine is None or mine == its for mine, its in zip(ours, theirs, strict=True)):
                return name
        return "unknown"


def read(tree: Path) -> Takes | None:
    """What the callbacks of a tree take, by its source; None if it has none.

    Args:
        tree: the directory with `kernel/` and `scripts/`.

    Raises:
        UserError: it asks the compiler for calls that nothing in it takes, and can be configured so; or it defines a
            callback in several ways.
    """
    spelling = _spelling(tree)
    for places in (_PLACES, _ELSEWHERE if spelling else ()):
        found = {name: _one(tree, places, name) for name in _CALLBACKS}
        there = [one for one in found.values() if one is not None]
        if there:
            args, ret = (found[name][0] if found[name] else None for name in _CALLBACKS)  # type: ignore[index]
            return Takes(args, ret, spelling, there[0][1])
    if spelling and _can_be_chosen(tree):
        raise UserError(
            f"the tree {tree} asks the compiler for {spelling}-args, and defines no {probe.ARGS} and no {probe.RET}",
            "apply the whole series, or say --no-guard",
        )
    return None


def _spelling(tree: Path) -> str:
    """How a tree spells the flags; the one that it gives the compiler, not the one that a comment tells of."""
    for name in _MAKEFILES:
        path = tree / name
        if path.is_file():
            lines = (
                line for line in path.read_text(errors="replace").splitlines() if not line.lstrip().startswith("#")
            )
            if found := _SPELLING.search("\n".join(line for line in lines if "-args" in line or "-ret" in line)):
                return found[1]
    return ""


def _can_be_chosen(tree: Path) -> bool:
    """Whether a configuration can turn the flags on: a series may bring them before the symbol that they wait for."""
    lines = [
        line
        for name in _MAKEFILES
        if name != _KCONFIG and (tree / name).is_file()
        for line in (tree / name).read_text(errors="replace").splitlines()
        if _SPELLING.search(line) and not line.lstrip().startswith("#")
    ]
    kconfig = tree / _KCONFIG
    if not kconfig.is_file():
        return True
    text = kconfig.read_text(errors="replace")
    defined = set(re.findall(r"^\s*(?:menu)?config\s+(\w+)", text, re.MULTILINE))
    waits_for = [set(re.findall(r"\bCONFIG_(\w+)", line)) for line in lines]
    return not waits_for or any(not symbols or symbols & defined for symbols in waits_for)


def _one(tree: Path, places: tuple[str, ...], name: str) -> tuple[str, str] | None:
    """Operands of a callback and the file that says so: a definition if there is one, else a prototype."""
    found: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for place in places:
        for path in sorted(tree.glob(place)):
            text = path.read_text(errors="replace") if path.is_file() else ""
            if name in text:
                for operands, defined in prototypes(text, name):
                    found[defined].setdefault(operands, path.relative_to(tree).as_posix())
    chosen = found[True] or found[False]
    if len(chosen) > 1:
        ways = " and ".join(f"({operands}) in {where}" for operands, where in sorted(chosen.items()))
        raise UserError(f"the tree takes {name} in several ways: {ways}", "leave one, or say --no-guard")
    return next(iter(chosen.items()), None)


def prototypes(text: str, name: str) -> Iterator[tuple[str, bool]]:
    """Operands of each declaration of a function in C source, as LLVM types, and whether it is the definition."""
    clean = _NOISE.sub(" ", text)
    for match in re.finditer(rf"\b{name}\s*\(", clean):
        before = re.split(r"[;{}]", clean[: match.start()])[-1]
        end = _closing(clean, match.end())
        # A call has no type before it; a result that is thrown away has one in brackets.
        if end and re.search(r"\bvoid\b", re.sub(r"\(\s*void\s*\)", "", before)):
            inside = clean[match.end() : end - 1]
            operands = [] if inside.split() in ([], ["void"]) else [_operand(one) for one in inside.split(",")]
            yield ",".join(operands), bool(re.match(r"[^;{]*\{", clean[end:]))


def _closing(text: str, start: int) -> int:
    """Where the bracket ends that opened just before; 0 if it does not."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at + 1
    return 0


def _operand(parameter: str) -> str:
    """The LLVM type of a parameter; its C type if that is none that is known."""
    if "*" in parameter or "[" in parameter:
        return "ptr"
    words = [word for word in parameter.split() if word not in _QUALIFIERS]
    for word in words:
        if word in _NAMED:
            return _NAMED[word]
    return next((llvm for basic, llvm in _BASIC if basic in words), words[0] if words else "nothing")


def check(toolchain: str, manifest: Mapping[str, Any], takes: Takes | None, series: str, label: str | None) -> None:
    """Refuse a compiler whose callbacks pass other operands than those of a tree take.

    Args:
        toolchain: name, for the sentence.
        manifest: of the toolchain, with what the probe found.
        takes: what `read` found in the tree.
        series: name, for the sentence.
        label: the generation that series.yaml says.

    Raises:
        UserError: they differ, or the label is wrong: records would be read in a layout that they do not have.
    """
    if takes is None:
        if label is not None:
            raise UserError(
                f"the series {series} says that it takes callbacks of generation {label}, its tree has no callbacks",
                "correct the generation in series.yaml, or the patches",
            )
        return
    wanted = _shown(takes.args, takes.ret)
    theirs = f"the callbacks in {takes.where} take {wanted}, which is {_named(takes.generation)}"
    found = manifest.get("callbacks")
    if not found:
        raise UserError(
            f"{_without(toolchain, manifest)}, and {theirs}", "take one with the pass: ./invoke toolchain.list"
        )
    if (takes.args or found["args"], takes.ret or found["ret"]) != (found["args"], found["ret"]):
        raise UserError(
            f"the toolchain {toolchain} passes {_shown(found['args'], found['ret'])}, "
            f"which is {_named(manifest['generation'])}, and {theirs}: the kernel would link and record garbage",
            "use a toolchain and a series of one generation",
        )
    flags = [flag for spelling, flag in probe.FLAGS.items() if spelling == takes.spelling]
    if flags and flags[0] != found["flags"] and manifest.get("probe", {}).get(takes.spelling) != probe.OBEYED:
        raise UserError(
            f"the toolchain {toolchain} obeys {found['flags']}, which is {_named(manifest['generation'])}, and the "
            f"tree asks for {flags[0]}, which is {_named(takes.generation)}: its configuration would hide the feature",
            "use a toolchain and a series of one generation",
        )
    # Without a label nothing here reads the records, so there is no layout to be wrong.
    if label not in (None, takes.generation):
        raise UserError(
            f"the series {series} says that it takes generation {label}, and {theirs}: its records would be misread",
            "correct the generation and the layout in series.yaml",
        )


def _named(generation: str) -> str:
    return "no generation that is known" if generation == "unknown" else f"generation {generation}"


def _shown(args: str | None, ret: str | None) -> str:
    """Operands as a sentence shows them."""
    parts = [
        f"{word} ({operands})" for word, operands in (("arguments", args), ("returns", ret)) if operands is not None
    ]
    return " and ".join(parts)


def _without(toolchain: str, manifest: Mapping[str, Any]) -> str:
    """Why a compiler calls nothing, as far as the probe can tell."""
    clang = manifest["versions"]["clang"]
    ignored = [probe.FLAGS[name] for name, answer in manifest.get("probe", {}).items() if answer == probe.IGNORED]
    if ignored:
        return f"the toolchain {toolchain} ({clang}) accepts {ignored[0]} and ignores it: it calls nothing"
    major = re.search(r"(\d+)\.\d+", clang)
    if major and int(major[1]) < _OLDEST:
        return f"the toolchain {toolchain} is {clang}, and the feature needs LLVM {_OLDEST} or newer"
    return f"the toolchain {toolchain} ({clang}) is a stock clang without the dataflow pass"
