"""Follow constants in registers through the code of one function.

Takes the code of a function. Gives its calls, each with the registers whose number is known at that point: a plain
number, or one relative to the stack pointer at the function's start. Keeps a number only if it is the same on every
path that leads there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow import effects
from dataflow.effects import Stack, State, Step, Value, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Call:
    """A call, or a jump out of the function.

    Attributes:
        place: its address.
        target: the address that it calls; None if that is in a register.
        jump: it is a jump: control does not come back to the function.
        state: the known registers.
    """

    place: int
    target: int | None
    jump: bool
    state: Mapping[str, Value]


@dataclass(frozen=True)
class Rules:
    """The registers and instructions of an architecture that are followed.

    Attributes:
        open: makes capstone's disassembler.
        operands: registers with the first six arguments of a call (System V AMD64 3.2.3, AAPCS64 6.8.2).
        descriptor: register with the address of the descriptor in calls behind gates of generation G1 (docs/pass.md).
        direct: finds the direct calls and jumps in code: position and target of each, in bytes from the start of the
            code.
        call_size: bytes of a direct call.
        thunks: name prefixes of functions that make an indirect call.
        kept: registers that a call preserves (System V AMD64 3.2.1, AAPCS64 6.1.1), the stack pointer among them.
        pushed: bytes that a call itself pushes onto the stack.
        apply: applies the effect of an instruction that is not a jump or a call.
    """

    open: Callable[[], Any]
    operands: tuple[str, ...]
    descriptor: str
    direct: Callable[[NDArray[np.uint8]], tuple[NDArray[np.int64], NDArray[np.int64]]]
    call_size: int
    thunks: tuple[str, ...]
    stack: str
    kept: frozenset[str]
    pushed: int
    calls: frozenset[str]
    jumps: frozenset[str]
    ends: frozenset[str]
    branch: Callable[[str], bool]
    apply: Callable[[Step, State], None]


def calls(arch: str, code: bytes, address: int) -> list[Call]:
    """Return the calls in a function, in the order of its code.

    Args:
        arch: a name of `core.arch`.
        code: the bytes of the function.
        address: the address of the first byte.
    """
    rules = RULES[arch]
    steps = _steps(rules, code, address)
    blocks = _blocks(rules, steps, address + len(code))
    before: dict[int, State] = {}
    _flow(rules, blocks, before, {address: {rules.stack: Stack(0)}} if blocks else {})
    # The other blocks are reached through tables of addresses, static keys or exception tables, which no jump shows.
    while hidden := [start for start in sorted(blocks) if start not in before]:
        _flow(rules, blocks, before, {hidden[0]: _seed(rules, blocks, before)})
    return list(_collected(rules, blocks, before))


def _flow(rules: Rules, blocks: Mapping[int, list[Step]], before: dict[int, State], seeds: Mapping[int, State]) -> None:
    """Follow all paths from the seed blocks until the known state of each block no longer changes."""
    before.update(seeds)
    todo = list(seeds)
    while todo:
        start = todo.pop()
        state = dict(before[start])
        for step in blocks[start]:
            _advance(rules, step, state)
        for following in _followers(rules, blocks[start][-1]):
            if following not in blocks:
                continue
            known = before.get(following)
            merged = state if known is None else {k: v for k, v in known.items() if state.get(k) == v}
            if known is None or len(merged) != len(known):
                before[following] = dict(merged)
                todo.append(following)


def _seed(rules: Rules, blocks: Mapping[int, list[Step]], before: Mapping[int, State]) -> State:
    """Return the state where a hidden path begins: what all jumps through registers share, or if none, all calls."""
    jumps: list[State] = []
    calls_: list[State] = []
    for start, known in before.items():
        state = dict(known)
        for step in blocks[start]:
            if step.name in rules.jumps and (not step.operands or number(step.operands[-1]) is None):
                jumps.append(dict(state))
            _advance(rules, step, state)
            if step.name in rules.calls:
                calls_.append(dict(state))
    ways = jumps or calls_
    return {k: v for k, v in ways[0].items() if all(other.get(k) == v for other in ways)} if ways else {}


def _collected(rules: Rules, blocks: Mapping[int, list[Step]], before: Mapping[int, State]) -> Iterator[Call]:
    for start in sorted(blocks):
        state = dict(before[start])
        for step in blocks[start]:
            target = number(step.operands[-1]) if step.operands else None
            if step.name in rules.calls:
                yield Call(step.place, target, jump=False, state=dict(state))
            elif step.name in rules.jumps and (target is None or target not in blocks):
                yield Call(step.place, target, jump=True, state=dict(state))
            _advance(rules, step, state)


def _advance(rules: Rules, step: Step, state: State) -> None:
    if step.name in rules.calls:
        for name in [name for name in state if name not in rules.kept]:
            del state[name]
    elif not (step.name in rules.jumps or step.name in rules.ends or rules.branch(step.name)):
        rules.apply(step, state)


def _followers(rules: Rules, last: Step) -> list[int]:
    if last.name in rules.ends:
        return []
    target = number(last.operands[-1]) if last.operands else None
    if last.name in rules.jumps:
        return [] if target is None else [target]
    return [last.after, *([target] if rules.branch(last.name) and target is not None else [])]


def _blocks(rules: Rules, steps: Sequence[Step], end: int) -> dict[int, list[Step]]:
    """Cut the instructions into blocks, wherever a path may begin or end."""
    heads = {steps[0].place} if steps else set()
    for step in steps:
        leaves = step.name in rules.jumps or step.name in rules.ends
        if leaves or rules.branch(step.name):
            heads.add(step.after)
            target = number(step.operands[-1]) if step.operands and step.name not in rules.ends else None
            if target is not None and steps[0].place <= target < end:
                heads.add(target)
    blocks: dict[int, list[Step]] = {}
    current: list[Step] = []
    for step in steps:
        if step.place in heads:
            current = blocks.setdefault(step.place, [])
        current.append(step)
    return blocks


_COMMA = re.compile(r",\s*(?![^\[]*\])")


def _steps(rules: Rules, code: bytes, address: int) -> list[Step]:
    machine = rules.open()
    machine.skipdata = True  # padding and inline data between instructions
    return [
        Step(place, place + size, name, tuple(_COMMA.split(text)) if text else ())
        for place, size, name, text in machine.disasm_lite(code, address)
    ]


def _open_x86() -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def _open_arm() -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)


def _direct_x86(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find call rel32 (E8) and jmp rel32 (E9) (Intel SDM volume 2).

    This also finds bytes that look like such a call by chance, but those almost never reach exactly a callback.
    """
    import numpy as np

    places = np.flatnonzero((data[:-4] == 0xE8) | (data[:-4] == 0xE9))
    parts = [data[places + i].astype(np.uint32) << np.uint32(8 * (i - 1)) for i in range(1, 5)]
    offsets = (parts[0] | parts[1] | parts[2] | parts[3]).view(np.int32).astype(np.int64)
    return places, places + 5 + offsets


def _direct_arm(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find BL (100101) and B (000101), each followed by 26 bits of offset in words (Arm ARM C6.2)."""
    import numpy as np

    code = data[: len(data) & ~3].view("<u4")
    words = np.flatnonzero((code & np.uint32(0x7C000000)) == np.uint32(0x14000000))
    offsets = (code[words] << np.uint32(6)).view(np.int32).astype(np.int64) >> 4
    return words * 4, words * 4 + offsets


# One row for each architecture of core.arch.
RULES: Mapping[str, Rules] = {
    "x86_64": Rules(
        open=_open_x86,
        operands=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
        descriptor="r11",
        direct=_direct_x86,
        call_size=5,  # E8 and 32 bits
        thunks=("__x86_indirect_thunk_",),  # of retpolines
        stack="rsp",
        kept=frozenset({"rsp", "rbx", "rbp", "r12", "r13", "r14", "r15"}),
        pushed=8,
        calls=frozenset({"call"}),
        jumps=frozenset({"jmp"}),
        ends=frozenset({"ret", "iretq", "sysretq"}),
        branch=lambda name: name[0] == "j" or name.startswith("loop"),
        apply=effects.x86_64,
    ),
    "arm64": Rules(
        open=_open_arm,
        operands=("x0", "x1", "x2", "x3", "x4", "x5"),
        descriptor="x16",
        direct=_direct_arm,
        call_size=4,  # BL
        thunks=(),
        stack="sp",
        kept=frozenset({"sp", *(f"x{n}" for n in range(19, 30))}),
        pushed=0,
        calls=frozenset({"bl", "blr"}),
        jumps=frozenset({"b", "br"}),
        ends=frozenset({"ret", "retaa", "retab", "eret"}),
        branch=lambda name: name.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz")),
        apply=effects.arm64,
    ),
}
