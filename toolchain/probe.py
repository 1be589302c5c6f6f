"""Probe: what a compiler really does with the flags of the RFC, found by compiling a few lines and reading the calls.

What comes in is a compiler in a session; what goes out is its callback generation and, per spelling of the flags,
whether they are unknown, accepted and ignored, or obeyed. A compiler is never believed by its name or its version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session

ARGS, RET = "__sanitizer_cov_trace_args", "__sanitizer_cov_trace_ret"

# The flags of the RFC: the first posting's, then those of the later ones (spec/kcov-dataflow.md, 5.1); and ours.
FLAGS: Mapping[str, str] = {
    "dataflow": "-fsanitize-coverage=dataflow-args,dataflow-ret",
    "trace": "-fsanitize-coverage=trace-args,trace-ret",
    "gated": "-fsanitize-coverage=gated-args,gated-ret",
}
# What a compiler does with them.
UNKNOWN, IGNORED, OBEYED = "unknown", "ignored", "obeyed"

# Generation -> operands of the args callback, of the ret callback, spelling of the flags (spec, sections 0 and 5).
GENERATIONS: Mapping[str, tuple[str, str, str]] = {
    "L0": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "dataflow"),
    "L1": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "trace"),
    "L2": ("i64,i32,i32,i64,ptr,i32", "i64,i32,i64,ptr,i32", "trace"),
    "L3": ("i32,i32,i64,ptr,i32", "i32,i64,ptr,i32", "trace"),
    # What has no gate, as the probe has none, is reported as in L0 (docs/pass.md, "Behind gates").
    "G1": ("i64,i32,i32,ptr,ptr,i32", "i64,i32,ptr,ptr,i32", "gated"),
}

_PROBE = """
struct probe { int a; long b; };
long kdf_probe(struct probe *p, int x) { return p->a + p->b + x; }
"""


@dataclass(frozen=True)
class Generation:
    """What a compiler's callbacks look like.

    Attributes:
        name: `L0` .. `L3`, `G1`, or `unknown`.
        flags: the option that asks for them.
        args: LLVM types of the operands of `__sanitizer_cov_trace_args`, comma-separated.
        ret: the same of `__sanitizer_cov_trace_ret`.
    """

    name: str
    flags: str
    args: str
    ret: str


def name_of(args: str, ret: str, spelling: str) -> str:
    """The generation that has these operands and flags, or `unknown`."""
    return next((name for name, its in GENERATIONS.items() if its == (args, ret, spelling)), "unknown")


def ask(session: Session, clang: str, scratch: Path) -> tuple[Generation | None, dict[str, str]]:
    """Find out what a compiler's callbacks look like, by compiling a probe and reading the calls in it.

    Args:
        clang: the compiler, as the session sees it.
        scratch: a writable directory that the session sees.

    Returns:
        The generation, None if it calls nothing; and what it does with each spelling of the flags.
    """
    source, out = scratch / "probe.c", scratch / "probe.ll"
    source.write_text(_PROBE)
    found: Generation | None = None
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
        if found is None and (args or ret):
            found = Generation(name_of(args, ret, spelling), flag, args, ret)
    return found, answers


def operands(ir: str, callback: str) -> str:
    """Types of the operands of the first call of a function in textual IR; empty if there is none."""
    found = re.search(rf"call void @{callback}\((.*)\)", ir)
    if not found:
        return ""
    # A constant expression holds commas of its own, inside of brackets; what counts is the first word of each operand.
    flat, depth = "", 0
    for char in found[1]:
        depth += char in "([{<"
        if not depth:
            flat += char
        depth -= char in ")]}>"
    return ",".join(operand.split()[0] for operand in flat.split(","))
