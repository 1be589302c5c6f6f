"""Refuse a compiler whose callbacks do not fit the tree.

Takes the source of a tree and the probe's result for a compiler. Raises an error that names both if they differ. All
generations have callbacks of the same names, so a wrong pair would link, boot and record garbage. The prototypes in the
tree decide, not the label of its series.
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
# Files that usually define the callbacks, and files to search if those do not.
_USUAL = ("kernel/kcov*.c", "include/linux/kcov*.h", "lib/kcov*.c", "mm/kcov*.c")
_ELSEWHERE = ("kernel/**/*.c", "lib/*.c", "mm/*.c")
# Files that can give the flags to the compiler.
_KCONFIG = "lib/Kconfig.debug"
_MAKEFILES = ("scripts/Makefile.kcov", "scripts/Makefile.lib", _KCONFIG)
_SPELLING = re.compile(r"\b(dataflow|trace|gated)-(?:args|ret)\b")
# The first LLVM version for which a pass exists.
_OLDEST = 19

_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|^[ \t]*#(?:[^\n\\]|\\.)*|"(?:[^"\\\n]|\\.)*"', re.DOTALL | re.MULTILINE)
_BITS = {
    64: "u64 s64 __u64 __s64 uint64_t int64_t uintptr_t size_t ssize_t kernel_ulong_t",
    32: "u32 s32 __u32 __s32 uint32_t int32_t",
    16: "u16 s16 __u16 __s16 uint16_t int16_t",
    8: "u8 s8 __u8 __s8 uint8_t int8_t bool _Bool",
}
_NAMED = {name: f"i{bits}" for bits, names in _BITS.items() for name in names.split()}
# Longer types of C first: `unsigned long long` holds `long` (64 bits on every machine that has the feature).
_BASIC = (("long", "i64"), ("short", "i16"), ("char", "i8"), ("int", "i32"), ("unsigned", "i32"), ("signed", "i32"))
_QUALIFIERS = {"const", "volatile", "register", "__maybe_unused", "__always_unused"}


@dataclass(frozen=True)
class Takes:
    """The operands that the callbacks of a tree take.

    Attributes:
        args: LLVM types of the operands of `__sanitizer_cov_trace_args`, comma-separated; None without that callback.
        ret: the same for `__sanitizer_cov_trace_ret`.
        spelling: of the flags that the tree gives to the compiler, `dataflow` or `trace`; empty without flags.
        where: the file with the callbacks, relative to the tree.
    """

    args: str | None
    ret: str | None
    spelling: str
    where: str

    @property
    def generation(self) -> str:
        """Return `L0` .. `L3` or `G1`; `unknown` if no known generation has these operands."""
        ours = (self.args, self.ret, self.spelling or None)
        for name, theirs in probe.GENERATIONS.items():
            if all(mine is None or mine == its for mine, its in zip(ours, theirs, strict=True)):
                return name
        return "unknown"


def read(tree: Path) -> Takes | None:
    """Read from a tree's source what its callbacks take; None if it does not have callbacks.

    Args:
        tree: the directory with `kernel/` and `scripts/`.

    Raises:
        UserError: a configuration can turn on flags whose callbacks the tree does not define, or the tree defines a
            callback with different operands.
    """
    spelling = _spelling(tree)
    for patterns in (_USUAL, _ELSEWHERE if spelling else ()):
        callbacks = {name: _declared(tree, patterns, name) for name in _CALLBACKS}
        declared = [callback for callback in callbacks.values() if callback is not None]
        if declared:
            args, ret = (callbacks[name][0] if callbacks[name] else None for name in _CALLBACKS)  # type: ignore[index]
            return Takes(args, ret, spelling, declared[0][1])
    if spelling and _can_be_chosen(tree):
        raise UserError(
            f"the tree {tree} asks the compiler for {spelling}-args, but defines neither {probe.ARGS} nor {probe.RET}",
            "apply the whole series, or use --no-guard",
        )
    return None


def _spelling(tree: Path) -> str:
    """Return how a tree spells the flags that it gives to the compiler; comments do not count."""
    for name in _MAKEFILES:
        path = tree / name
        if path.is_file():
            lines = (
                line for line in path.read_text(errors="replace").splitlines() if not line.lstrip().startswith("#")
            )
            if match := _SPELLING.search("\n".join(line for line in lines if "-args" in line or "-ret" in line)):
                return match[1]
    return ""


def _can_be_chosen(tree: Path) -> bool:
    """Return whether a configuration can turn the flags on; an early patch may add them before their symbol."""
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


def _declared(tree: Path, patterns: tuple[str, ...], name: str) -> tuple[str, str] | None:
    """Return the operands of a callback and their file, from its definition or else from a prototype."""
    by_kind: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for pattern in patterns:
        for path in sorted(tree.glob(pattern)):
            text = path.read_text(errors="replace") if path.is_file() else ""
            if name in text:
                for operands, defined in prototypes(text, name):
                    by_kind[defined].setdefault(operands, path.relative_to(tree).as_posix())
    chosen = by_kind[True] or by_kind[False]
    if len(chosen) > 1:
        ways = " and ".join(f"({operands}) in {where}" for operands, where in sorted(chosen.items()))
        raise UserError(f"the tree declares {name} in several ways: {ways}", "leave one, or use --no-guard")
    return next(iter(chosen.items()), None)


def prototypes(text: str, name: str) -> Iterator[tuple[str, bool]]:
    """Yield the operands of each declaration of a function in C source, as LLVM types, and whether it defines it."""
    clean = _NOISE.sub(" ", text)
    for match in re.finditer(rf"\b{name}\s*\(", clean):
        before = re.split(r"[;{}]", clean[: match.start()])[-1]
        end = _closing(clean, match.end())
        # A declaration has `void` before the name; a call at most has the cast `(void)`.
        if end and re.search(r"\bvoid\b", re.sub(r"\(\s*void\s*\)", "", before)):
            inside = clean[match.end() : end - 1]
            operands = (
                [] if inside.split() in ([], ["void"]) else [_operand(parameter) for parameter in inside.split(",")]
            )
            yield ",".join(operands), bool(re.match(r"[^;{]*\{", clean[end:]))


def _closing(text: str, start: int) -> int:
    """Return the index after the bracket that closes the one before `start`; 0 if it does not close."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at + 1
    return 0


def _operand(parameter: str) -> str:
    """Return the LLVM type of a parameter; its C type if that is not a known one."""
    if "*" in parameter or "[" in parameter:
        return "ptr"
    words = [word for word in parameter.split() if word not in _QUALIFIERS]
    for word in words:
        if word in _NAMED:
            return _NAMED[word]
    return next((llvm for basic, llvm in _BASIC if basic in words), words[0] if words else "nothing")


def check(toolchain: str, manifest: Mapping[str, Any], takes: Takes | None, series: str, label: str | None) -> None:
    """Refuse a compiler that passes other operands than the callbacks of a tree take.

    Args:
        toolchain: name, for the message.
        manifest: of the toolchain, with the result of the probe.
        takes: result of `read` for the tree.
        series: name, for the message.
        label: the generation in series.yaml.

    Raises:
        UserError: the operands differ, or the label is wrong: records would be read in a wrong layout.
    """
    if takes is None:
        if label is not None:
            raise UserError(
                f"series.yaml gives the series {series} generation {label}, but its tree has no callbacks",
                "correct the generation in series.yaml, or the patches",
            )
        return
    operands = _shown(takes.args, takes.ret)
    theirs = f"the callbacks in {takes.where} take {operands}, which is {_named(takes.generation)}"
    passed = manifest.get("callbacks")
    if not passed:
        raise UserError(
            f"{_without(toolchain, manifest)}, and {theirs}",
            "use a toolchain that has the pass: ./invoke toolchain.list",
        )
    if (takes.args or passed["args"], takes.ret or passed["ret"]) != (passed["args"], passed["ret"]):
        raise UserError(
            f"the toolchain {toolchain} passes {_shown(passed['args'], passed['ret'])}, "
            f"which is {_named(manifest['generation'])}, and {theirs}: the kernel would link and record garbage",
            "use a toolchain and a series of one generation",
        )
    flags = [flag for spelling, flag in probe.FLAGS.items() if spelling == takes.spelling]
    if flags and flags[0] != passed["flags"] and manifest.get("probe", {}).get(takes.spelling) != probe.OBEYED:
        raise UserError(
            f"the toolchain {toolchain} obeys {passed['flags']}, which is {_named(manifest['generation'])}, and the "
            f"tree asks for {flags[0]}, which is {_named(takes.generation)}: its configuration would hide the feature",
            "use a toolchain and a series of one generation",
        )
    # Records of a series without a label are not read, so its layout cannot be wrong.
    if label not in (None, takes.generation):
        raise UserError(
            f"series.yaml gives the series {series} generation {label}, but {theirs}: its records would be misread",
            "correct the generation and the layout in series.yaml",
        )


def _named(generation: str) -> str:
    return "not a known generation" if generation == "unknown" else f"generation {generation}"


def _shown(args: str | None, ret: str | None) -> str:
    """Return the operands as text for a message."""
    parts = [
        f"{word} ({operands})" for word, operands in (("arguments", args), ("returns", ret)) if operands is not None
    ]
    return " and ".join(parts)


def _without(toolchain: str, manifest: Mapping[str, Any]) -> str:
    """Return why a compiler does not call the callbacks, as far as the probe shows it."""
    clang = manifest["versions"]["clang"]
    ignored = [probe.FLAGS[name] for name, answer in manifest.get("probe", {}).items() if answer == probe.IGNORED]
    if ignored:
        return (
            f"the toolchain {toolchain} ({clang}) accepts {ignored[0]} and ignores it: it does not call the callbacks"
        )
    major = re.search(r"(\d+)\.\d+", clang)
    if major and int(major[1]) < _OLDEST:
        return f"the toolchain {toolchain} is {clang}, and the feature needs LLVM {_OLDEST} or newer"
    return f"the toolchain {toolchain} ({clang}) is a stock clang without the dataflow pass"
