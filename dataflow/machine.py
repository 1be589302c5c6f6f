"""Machine: constants in registers, followed through the code of one function.

What comes in is the code of a function; what goes out are its calls, each with the registers that hold a known number
at that point. A number is known if it is the same on every way that leads there: ways are followed along the jumps, and
where they meet only what agrees is kept. Numbers are plain, or relative to the stack pointer at the function's start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_MASK = (1 << 64) - 1


class Stack(NamedTuple):
    """An address in the stack: so many bytes above where the stack pointer was at the function's start."""

    offset: int


Value = int | Stack
State = dict[str, Value]


class Step(NamedTuple):
    """One instruction; `after` is the address of the next one."""

    place: int
    after: int
    name: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call, or a jump out of the function.

    Attributes:
        place: its address.
        target: where it goes; None if that is in a register.
        jump: the function is left for good.
        state: what is known of the registers.
    """

    place: int
    target: int | None
    jump: bool
    state: Mapping[str, Value]


@dataclass(frozen=True)
class Arch:
    """What the followed registers and instructions of an architecture are.

    Attributes:
        kept: registers that a call preserves (System V AMD64 3.2.1, AAPCS64 6.1.1), the stack pointer among them.
        pushed: bytes that a call itself puts on the stack.
        apply: the effect of an instruction that is no jump and no call.
    """

    stack: str
    kept: frozenset[str]
    pushed: int
    calls: frozenset[str]
    jumps: frozenset[str]
    ends: frozenset[str]
    branch: Callable[[str], bool]
    apply: Callable[[Step, State], None]


def calls(arch: str, code: bytes, address: int) -> list[Call]:
    """The calls in a function, in the order of its code.

    Args:
        arch: `x86_64` or `arm64`.
        code: its bytes.
        address: where they are.
    """
    rules = ARCHES[arch]
    steps = _steps(arch, code, address)
    blocks = _blocks(rules, steps, address + len(code))
    before: dict[int, State] = {}
    _flow(rules, blocks, before, {address: {rules.stack: Stack(0)}} if blocks else {})
    # The rest is reached through tables of addresses, or in ways that no jump shows (static keys, exception tables).
    while hidden := [start for start in sorted(blocks) if start not in before]:
        _flow(rules, blocks, before, {hidden[0]: _seed(rules, blocks, before)})
    return list(_collected(rules, blocks, before))


def _flow(rules: Arch, blocks: Mapping[int, list[Step]], before: dict[int, State], seeds: Mapping[int, State]) -> None:
    """Follow all ways from some blocks until nothing that is known changes any more."""
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


def _seed(rules: Arch, blocks: Mapping[int, list[Step]], before: Mapping[int, State]) -> State:
    """What is known where a hidden way begins: what agrees at all jumps through registers; else at all calls."""
    jumps: list[State] = []
    calls_: list[State] = []
    for start, known in before.items():
        state = dict(known)
        for step in blocks[start]:
            if step.name in rules.jumps and (not step.operands or _number(step.operands[-1]) is None):
                jumps.append(dict(state))
            _advance(rules, step, state)
            if step.name in rules.calls:
                calls_.append(dict(state))
    ways = jumps or calls_
    return {k: v for k, v in ways[0].items() if all(other.get(k) == v for other in ways)} if ways else {}


def _collected(rules: Arch, blocks: Mapping[int, list[Step]], before: Mapping[int, State]) -> Iterator[Call]:
    for start in sorted(blocks):
        state = dict(before[start])
        for step in blocks[start]:
            target = _number(step.operands[-1]) if step.operands else None
            if step.name in rules.calls:
                yield Call(step.place, target, jump=False, state=dict(state))
            elif step.name in rules.jumps and (target is None or target not in blocks):
                yield Call(step.place, target, jump=True, state=dict(state))
            _advance(rules, step, state)


def _advance(rules: Arch, step: Step, state: State) -> None:
    if step.name in rules.calls:
        for name in [name for name in state if name not in rules.kept]:
            del state[name]
    elif not (step.name in rules.jumps or step.name in rules.ends or rules.branch(step.name)):
        rules.apply(step, state)


def _followers(rules: Arch, last: Step) -> list[int]:
    if last.name in rules.ends:
        return []
    target = _number(last.operands[-1]) if last.operands else None
    if last.name in rules.jumps:
        return [] if target is None else [target]
    return [last.after, *([target] if rules.branch(last.name) and target is not None else [])]


def _blocks(rules: Arch, steps: Sequence[Step], end: int) -> dict[int, list[Step]]:
    """The instructions, cut wherever a way may begin or end."""
    heads = {steps[0].place} if steps else set()
    for step in steps:
        leaves = step.name in rules.jumps or step.name in rules.ends
        if leaves or rules.branch(step.name):
            heads.add(step.after)
            target = _number(step.operands[-1]) if step.operands and step.name not in rules.ends else None
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


def _steps(arch: str, code: bytes, address: int) -> list[Step]:
    import capstone

    machine: Any = (
        capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        if arch == "x86_64"
        else capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    )
    machine.skipdata = True  # padding and inline data between instructions
    return [
        Step(place, place + size, name, tuple(_COMMA.split(text)) if text else ())
        for place, size, name, text in machine.disasm_lite(code, address)
    ]


def _number(text: str) -> int | None:
    digits = text.removeprefix("#")
    try:
        return int(digits, 0) & _MASK
    except ValueError:
        return None


def _sum(left: Value | None, right: Value | None) -> Value | None:
    if left is None or right is None:
        return None
    if isinstance(left, Stack):
        return None if isinstance(right, Stack) else Stack(left.offset + _signed(right))
    return Stack(right.offset + _signed(left)) if isinstance(right, Stack) else (left + right) & _MASK


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _negated(value: Value | None) -> Value | None:
    return None if value is None or isinstance(value, Stack) else -value & _MASK


def _set(state: State, register: str | None, value: Value | None) -> None:
    if register is None:
        return
    if value is None:
        state.pop(register, None)
    else:
        state[register] = value


# --- x86-64 ---


def _x86_registers() -> dict[str, tuple[str, int]]:
    """Every name of a general register: the 64-bit one that it is part of, and its bytes (Intel SDM 3.4.1.1)."""
    found: dict[str, tuple[str, int]] = {}
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp"):
        found |= {f"r{name}": (f"r{name}", 8), f"e{name}": (f"r{name}", 4), name: (f"r{name}", 2)}
        found |= {f"{name}l": (f"r{name}", 1)} if name[1] != "x" else {}
    for letter in "abcd":
        found |= {f"{letter}l": (f"r{letter}x", 1), f"{letter}h": (f"r{letter}x", 1)}
    for number in range(8, 16):
        name = f"r{number}"
        found |= {name: (name, 8), f"{name}d": (name, 4), f"{name}w": (name, 2), f"{name}b": (name, 1)}
    return found


_X86_REGISTERS = _x86_registers()
_X86_MEMORY = re.compile(r"^(?:\w+ ptr )?\[(r\w+)(?: ([+-]) (0x[0-9a-f]+|\d+))?\]$")
# These write nothing, or only their first operand.
# fmt: off
_X86_QUIET = frozenset([
    "cmp", "test", "nop", "endbr64", "stac", "clac", "mfence", "lfence", "sfence", "pause", "ud0", "ud1", "ud2",
    "int3", "sti", "cli", "swapgs", "hlt", "prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2", "prefetchw",
    "bt", "wbinvd", "invlpg",
])
# fmt: on
# The only ones that any instruction writes without naming them (Intel SDM volume 2).
_X86_IMPLICIT = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11")
# fmt: off
_X86_WRITERS = frozenset([
    "mov", "movabs", "lea", "movzx", "movsx", "movsxd", "xor", "add", "sub", "and", "or", "not", "neg", "inc", "dec",
    "shl", "shr", "sar", "sal", "rol", "ror", "bts", "btr", "btc", "sbb", "adc", "bswap", "bsf", "bsr", "tzcnt",
    "lzcnt", "popcnt", "shld", "shrd",
])
# fmt: on


def _x86_value(text: str, state: State) -> Value | None:
    """What an operand of `mov` or `lea` is; None for what is in memory."""
    if text in _X86_REGISTERS:
        name, size = _X86_REGISTERS[text]
        value = state.get(name)
        if size == 8:
            return value
        return None if value is None or isinstance(value, Stack) else value & (1 << 8 * size) - 1
    return _number(text) if not text.startswith("[") else None


def _x86_address(text: str, state: State, after: int) -> Value | None:
    found = _X86_MEMORY.match(text)
    if not found:
        return None
    base = after if found[1] == "rip" else state.get(found[1])
    return _sum(base, int((found[2] or "+") + (found[3] or "0"), 0) & _MASK)


def _x86_apply(step: Step, state: State) -> None:
    name, operands = step.name, step.operands
    first = operands[0] if operands else ""
    if name in _X86_QUIET or name.startswith("j"):
        return
    if name in ("push", "pop", "pushfq", "popfq"):
        _set(state, "rsp", _sum(state.get("rsp"), -8 & _MASK if name.startswith("push") else 8))
        if name == "pop":
            _set(state, _X86_REGISTERS.get(first, ("", 0))[0] or None, None)
        return
    if name == "leave":
        _set(state, "rsp", _sum(state.get("rbp"), 8))
        _set(state, "rbp", None)
        return
    if name not in _X86_WRITERS and not name.startswith(("set", "cmov")) and not (name == "imul" and len(operands) > 1):
        # It may write registers that it does not name: mul, cpuid, rep movs, cmpxchg, ...
        for register in _X86_IMPLICIT:
            state.pop(register, None)
        _set(state, _X86_REGISTERS.get(first, ("", 0))[0] or None, None)
        return
    if first not in _X86_REGISTERS:
        return
    register, size = _X86_REGISTERS[first]
    value: Value | None = None
    if size >= 4 and len(operands) == 2:
        second = operands[1]
        if name in ("mov", "movabs"):
            value = _x86_value(second, state)
        elif name == "lea":
            value = _x86_address(second, state, step.after)
        elif name in ("xor", "sub") and first == second:
            value = 0
        elif name in ("add", "sub"):
            amount = _x86_value(second, state)
            value = _sum(state.get(register), amount if name == "add" else _negated(amount))
        if size == 4 and value is not None:
            value = None if isinstance(value, Stack) else value & 0xFFFFFFFF
    _set(state, register, value)


# --- arm64 ---

_ARM_REGISTER = re.compile(r"^([wx])(\d+)$")
_ARM_MEMORY = re.compile(r"^\[(x\d+|sp)(?:, #(-?(?:0x[0-9a-f]+|\d+)))?\](!?)$")
# fmt: off
_ARM_QUIET = (
    "cmp", "cmn", "tst", "ccmp", "ccmn", "st", "prfm", "dmb", "dsb", "isb", "msr", "nop", "hint", "bti", "pac",
    "aut", "udf", "brk", "svc", "hvc", "smc", "wf", "yield", "tlbi", "dc", "ic", "at", "clrex", "csdb",
)
# fmt: on


def _arm_name(text: str) -> str | None:
    if text in ("sp", "wsp"):
        return "sp"
    found = _ARM_REGISTER.match(text)
    return f"x{found[2]}" if found else None


def _arm_value(text: str, state: State) -> Value | None:
    if text in ("wzr", "xzr"):
        return 0
    name = _arm_name(text)
    if name is None:
        return _number(text)
    value = state.get(name)
    if text.startswith("w") and value is not None:
        return None if isinstance(value, Stack) else value & 0xFFFFFFFF
    return value


def _arm_apply(step: Step, state: State) -> None:
    name, operands = step.name, step.operands
    _arm_writeback(operands, state)
    if name in ("stxr", "stlxr", "stxp", "stlxp"):
        _set(state, _arm_name(operands[0]), None)
        return
    if not operands or name.startswith(_ARM_QUIET):
        return
    if name.startswith(("ld", "swp", "cas")):
        for text in operands[:2]:
            _set(state, _arm_name(text), None)
        return
    value: Value | None = None
    if name in ("mov", "movz", "adr", "adrp"):
        value = _arm_value(operands[1], state) if len(operands) == 2 else _arm_shifted(operands)
    elif name == "movk" and len(operands) in (2, 3):
        shift = int(operands[2].split("#")[1], 0) if len(operands) == 3 else 0
        old, part = _arm_value(operands[0], state), _number(operands[1])
        if isinstance(old, int) and part is not None:
            value = old & ~(0xFFFF << shift) | part << shift
    elif name in ("add", "sub") and len(operands) in (3, 4):
        amount = _arm_value(operands[2], state) if len(operands) == 3 else _arm_shifted(operands[1:])
        value = _sum(_arm_value(operands[1], state), amount if name == "add" else _negated(amount))
    elif name == "eor" and len(operands) == 3 and operands[1] == operands[2]:
        value = 0
    if operands[0].startswith("w") and isinstance(value, int):
        value &= 0xFFFFFFFF
    _set(state, _arm_name(operands[0]), value)


def _arm_shifted(operands: Sequence[str]) -> Value | None:
    """`#number, lsl #bits`."""
    value = _number(operands[1])
    if value is None or not operands[2].startswith("lsl #"):
        return None
    return value << int(operands[2].removeprefix("lsl #"), 0) & _MASK


def _arm_writeback(operands: Sequence[str], state: State) -> None:
    """`[sp, #-16]!` and `[sp], #16` move their base."""
    for position, text in enumerate(operands):
        if not text.startswith("["):
            continue
        after = _number(operands[position + 1]) if position + 1 < len(operands) else None
        found = _ARM_MEMORY.match(text)
        if found and (found[3] or after is not None):
            amount = after if after is not None else _number(found[2] or "0")
            _set(state, found[1], _sum(state.get(found[1]), amount))


ARCHES: Mapping[str, Arch] = {
    "x86_64": Arch(
        stack="rsp",
        kept=frozenset({"rsp", "rbx", "rbp", "r12", "r13", "r14", "r15"}),
        pushed=8,
        calls=frozenset({"call"}),
        jumps=frozenset({"jmp"}),
        ends=frozenset({"ret", "iretq", "sysretq"}),
        branch=lambda name: name[0] == "j" or name.startswith("loop"),
        apply=_x86_apply,
    ),
    "arm64": Arch(
        stack="sp",
        kept=frozenset({"sp", *(f"x{n}" for n in range(19, 30))}),
        pushed=0,
        calls=frozenset({"bl", "blr"}),
        jumps=frozenset({"b", "br"}),
        ends=frozenset({"ret", "retaa", "retab", "eret"}),
        branch=lambda name: name.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz")),
        apply=_arm_apply,
    ),
}
