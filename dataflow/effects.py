"""Apply the effect of one instruction to the known values of registers.

Takes an instruction as capstone prints it, and a state: the registers whose value is known. Changes the state in place.
Never keeps a register that the instruction may write, unless its new value is certain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_MASK = (1 << 64) - 1


class Stack(NamedTuple):
    """An address in the stack: `offset` bytes above the stack pointer at the function's start."""

    offset: int


Value = int | Stack
State = dict[str, Value]


class Step(NamedTuple):
    """One instruction; `after` is the address of the next one."""

    place: int
    after: int
    name: str
    operands: tuple[str, ...]


def number(text: str) -> int | None:
    """Return the value of an immediate operand; None if it is not one."""
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
    """Return name of a general register -> its 64-bit register and its size in bytes (Intel SDM 3.4.1.1)."""
    registers: dict[str, tuple[str, int]] = {}
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp"):
        registers |= {f"r{name}": (f"r{name}", 8), f"e{name}": (f"r{name}", 4), name: (f"r{name}", 2)}
        registers |= {f"{name}l": (f"r{name}", 1)} if name[1] != "x" else {}
    for letter in "abcd":
        registers |= {f"{letter}l": (f"r{letter}x", 1), f"{letter}h": (f"r{letter}x", 1)}
    for number in range(8, 16):
        name = f"r{number}"
        registers |= {name: (name, 8), f"{name}d": (name, 4), f"{name}w": (name, 2), f"{name}b": (name, 1)}
    return registers


_X86_REGISTERS = _x86_registers()
_X86_MEMORY = re.compile(r"^(?:\w+ ptr )?\[(r\w+)(?: ([+-]) (0x[0-9a-f]+|\d+))?\]$")
# These instructions write no followed register.
# fmt: off
_X86_QUIET = frozenset([
    "cmp", "test", "nop", "endbr64", "stac", "clac", "mfence", "lfence", "sfence", "pause", "ud0", "ud1", "ud2",
    "int3", "sti", "cli", "swapgs", "hlt", "prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2", "prefetchw",
    "bt", "wbinvd", "invlpg",
])
# fmt: on
# The registers that an instruction may write without naming them (Intel SDM volume 2).
_X86_IMPLICIT = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11")
# fmt: off
_X86_WRITERS = frozenset([
    "mov", "movabs", "lea", "movzx", "movsx", "movsxd", "xor", "add", "sub", "and", "or", "not", "neg", "inc", "dec",
    "shl", "shr", "sar", "sal", "rol", "ror", "bts", "btr", "btc", "sbb", "adc", "bswap", "bsf", "bsr", "tzcnt",
    "lzcnt", "popcnt", "shld", "shrd",
])
# fmt: on


def _x86_value(text: str, state: State) -> Value | None:
    """Return the value of an operand of `mov`; None if it is in memory or not known."""
    if text in _X86_REGISTERS:
        name, size = _X86_REGISTERS[text]
        value = state.get(name)
        if size == 8:
            return value
        return None if value is None or isinstance(value, Stack) else value & (1 << 8 * size) - 1
    return number(text) if not text.startswith("[") else None


def _x86_address(text: str, state: State, after: int) -> Value | None:
    match = _X86_MEMORY.match(text)
    if not match:
        return None
    base = after if match[1] == "rip" else state.get(match[1])
    return _sum(base, int((match[2] or "+") + (match[3] or "0"), 0) & _MASK)


def x86_64(step: Step, state: State) -> None:
    """Apply the effect of an x86-64 instruction that is not a call or a jump."""
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
    match = _ARM_REGISTER.match(text)
    return f"x{match[2]}" if match else None


def _arm_value(text: str, state: State) -> Value | None:
    if text in ("wzr", "xzr"):
        return 0
    name = _arm_name(text)
    if name is None:
        return number(text)
    value = state.get(name)
    if text.startswith("w") and value is not None:
        return None if isinstance(value, Stack) else value & 0xFFFFFFFF
    return value


def arm64(step: Step, state: State) -> None:
    """Apply the effect of an arm64 instruction that is not a call or a jump."""
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
        old, part = _arm_value(operands[0], state), number(operands[1])
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
    """Return the value of `#number, lsl #bits`."""
    value = number(operands[1])
    if value is None or not operands[2].startswith("lsl #"):
        return None
    return value << int(operands[2].removeprefix("lsl #"), 0) & _MASK


def _arm_writeback(operands: Sequence[str], state: State) -> None:
    """Update the base register of `[sp, #-16]!` and `[sp], #16`."""
    for position, text in enumerate(operands):
        if not text.startswith("["):
            continue
        after = number(operands[position + 1]) if position + 1 < len(operands) else None
        match = _ARM_MEMORY.match(text)
        if match and (match[3] or after is not None):
            amount = after if after is not None else number(match[2] or "0")
            _set(state, match[1], _sum(state.get(match[1]), amount))
