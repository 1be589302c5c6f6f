"""Find out what a compiler does with the flags of the RFC, by compiling a few lines and reading the calls.

Takes a compiler in a session. Gives its callback generation and, for each spelling of the flags, whether it does not
know them, ignores them or obeys them. Never trusts a compiler's name or version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session

ARGS, RET = "__sanitizer_cov_trace_args", "__sanitizer_cov_trace_ret"

# The flags of the first RFC on LKML (June 2026), those of its later versions, and ours.
FLAGS: Mapping[str, str] = {
    "dataflow": "-fsanitize-coverage=dataflow-args,dataflow-ret",
    "trace": "-fsanitize-coverage=trace-args,trace-ret",
    "gated": "-fsanitize-coverage=gated-args,gated-ret",
}
# What a compiler does with the flags.
UNKNOWN, IGNORED, OBEYED = "unknown", "ignored", "obeyed"

# Generation -> operands of the args callback, operands of the ret callback, spelling of the flags.
GENERATIONS: Mapping[str, tuple[str, str, str]] = {
    "L0": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "dataflow"),
    "L1": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "trace"),
    "L2": ("i64,i32,i32,i64,ptr,i32", "i64,i32,i64,ptr,i32", "trace"),
    "L3": ("i32,i32,i64,ptr,i32", "i32,i64,ptr,i32", "trace"),
    # The probe has no gates, and calls without gates are those of L0 (docs/pass.md, "Behind gates").
    "G1": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "gated"),
}

_PROBE = """
struct probe { int a; long b; };
long kdf_probe(struct probe *p, int x) { return p->a + p->b + x; }
"""


@dataclass(frozen=True)
class Generation:
    """The callbacks that a compiler emits.

    Attributes:
        name: `L0` .. `L3`, `G1`, or `unknown`.
        flags: the option that turns them on.
        args: LLVM types of the operands of `__sanitizer_cov_trace_args`, comma-separated.
        ret: the same for `__sanitizer_cov_trace_ret`.
    """

    name: str
    flags: str
    args: str
    ret: str


def name_of(args: str, ret: str, spelling: str) -> str:
    """Return the generation that has these operands and flags, or `unknown`."""
    return next((name for name, its in GENERATIONS.items() if its == (args, ret, spelling)), "unknown")


def ask(session: Session, clang: str, scratch: Path) -> tuple[Generation | None, dict[str, str]]:
    """Find out which callbacks a compiler emits, by compiling a probe and reading its calls.

    Args:
        clang: path of the compiler in the session.
        scratch: a directory that is mounted writable in the session.

    Returns:
        The generation, or None if it does not emit calls; and spelling of the flags -> what it does with them.
    """
    source, out = scratch / "probe.c", scratch / "probe.ll"
    source.write_text(_PROBE)
    generation: Generation | None = None
    answers: dict[str, str] = {}
    for spelling, flag in FLAGS.items():
        out.unlink(missing_ok=True)
        argv = [clang, "-Werror", "-O2", "-g", flag, "-S", "-emit-llvm", session.path(source), "-o", session.path(out)]
        if not session.run(argv).ok or not out.exists():
            answers[spelling] = UNKNOWN
            continue
        text = out.read_text()
        args, ret = operands(text, ARGS), operands(text, RET)
        answers[spelling] = OBEYED if args or ret else IGNORED
        if generation is None and (args or ret):
            generation = Generation(name_of(args, ret, spelling), flag, args, ret)
    return generation, answers


def operands(ir: str, callback: str) -> str:
    """Return the types of the operands of the first call of a function in textual IR; empty without a call."""
    match = re.search(rf"call void @{callback}\((.*)\)", ir)
    if not match:
        return ""
    # Remove all text in brackets, because constant expressions contain commas. An operand's first word is its type.
    flat, depth = "", 0
    for char in match[1]:
        depth += char in "([{<"
        if not depth:
            flat += char
        depth -= char in ")]}>"
    return ",".join(operand.split()[0] for operand in flat.split(","))
