"""The callbacks of a built x86-64 kernel, run in an emulator on values that no boot would bring about.

Only the code of the callbacks runs: there is a task, its buffer, and memory of each kind that a pointer may point to.
A read of what is not there goes where the kernel's exception table says. What must come of it is told by a model, which
knows the layout kit-1 and the rules for reading (Documentation/dev-tools/kcov-dataflow.rst of the series) and not the
code.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import drgn
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import x86_const as x86

from dataflow import image

PAGE = 0x1000
UNREADABLE = 0xBADADD85  # KCOV_DF_UNREADABLE, include/uapi/linux/kcov_dataflow.h
ENABLED = 1  # KCOV_DF_STATE_ENABLED, include/linux/kcov_dataflow.h
ENTRY, RETURN = 0xE, 0xF
WORDS = 3  # of a record before its values
STACK_SIZE = 0x4000
# Where things are in this machine: the linear map, and what is mapped of it.
DIRECT = 0xFFFF888000000000
MEMORY = 0x40000000
LOW = DIRECT + 0x90000  # memory below the legacy hole
HOLE = DIRECT + 0xA0000
ABOVE = DIRECT + 0x100000
OBJECTS = DIRECT + 0x10000000
ABSENT = OBJECTS + 16 * PAGE  # in the linear map, but nothing is there
LAST = DIRECT + MEMORY - PAGE
STACK = 0xFFFFC90000100000
VMALLOC = 0xFFFFC90000200000
USER = 0x700000
TASK, BUFFER, DATA = 0xFFFF888020000000, 0xFFFF888020100000, 0xFFFF888020200000
GUARD = 0x5A5A5A5A5A5A5A5A
KEPT = {x86.UC_X86_REG_RBX: 11, x86.UC_X86_REG_RBP: 12} | {x86.UC_X86_REG_R12 + n: 20 + n for n in range(4)}


@dataclass(frozen=True)
class Operand:
    """What a callback is told of one argument. With `registers`, the value is in these instead of behind an address.

    Attributes:
        size: bytes.
        fields: (offset, size) of a struct's fields; empty: no struct.
        address: the pointer to it; None: in registers, or removed.
        value: what the register has, for a number; the pieces, for what is in two registers.
        second: where the second piece begins, 0 if there is none.
    """

    size: int
    fields: tuple[tuple[int, int], ...] = ()
    address: int | None = None
    value: tuple[int, ...] = ()
    second: int = 0


@dataclass(frozen=True)
class State:
    """Buffer and task, before or behind a callback. `words` is the buffer with word 0 and what was behind it."""

    words: tuple[int, ...]
    sequence: int
    dropped: int


class Machine:
    """A kernel's callbacks and a task that records."""

    def __init__(self, vmlinux: Path) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        start, end = image.extent(vmlinux)
        self._map(start, end - start + PAGE)
        with vmlinux.open("rb") as file:
            elf = ELFFile(file)
            for one in elf.iter_segments("PT_LOAD"):
                self.uc.mem_write(one["p_vaddr"], one.data())
            self.symbols = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
            table = elf.get_section_by_name("__ex_table")
            self.fixups = dict(
                _entry(table["sh_addr"] + at, table.data()[at:]) for at in range(0, table["sh_size"], 12)
            )
        program = drgn.Program(drgn.host_platform)
        kernel = program.extra_module("vmlinux", create=True)
        kernel.address_ranges = [image.extent(vmlinux)]
        kernel.try_file(str(vmlinux))
        self.task = {m.name: m.bit_offset // 8 for m in program.type("struct task_struct").members if m.name}
        self.device = {m.name: m.bit_offset // 8 for m in program.type("struct kcov_df").members}
        # Behind the end of what may be read there is something, so that a read too far gets a value.
        for at, size in (
            (LOW, 0x10000 + PAGE), (ABOVE - PAGE, 2 * PAGE), (OBJECTS, 16 * PAGE), (LAST, 2 * PAGE),
            (STACK - PAGE, STACK_SIZE + 2 * PAGE), (VMALLOC, PAGE), (USER, PAGE), (TASK, 8 * PAGE), (BUFFER, 0x80000),
            (DATA, 0x10000),
        ):  # fmt: skip
            self._map(at, size)
            # Each word is its own address: no two places can be taken for each other.
            self.uc.mem_write(at, b"".join(struct.pack("<Q", at + n) for n in range(0, size, 8)))
        # The kernel's own data: tables of the compiler are in there, and structs may be.
        self.image = self.symbols["__log_buf"]
        self.uc.mem_write(self.symbols["__preempt_count"], bytes(4))
        self._set(page_offset_base=DIRECT, vmalloc_base=0xFFFFC90000000000, vmemmap_base=0xFFFFEA0000000000)
        self._set(high_memory=DIRECT + MEMORY, max_pfn=MEMORY // PAGE, current_task=TASK)
        self.uc.reg_write(x86.UC_X86_REG_GS_BASE, 0)
        # What a callback returns to.
        self.back = self.image + 0x8000

    def _map(self, at: int, size: int) -> None:
        first = at & -PAGE
        self.uc.mem_map(first, (at + size - first + PAGE - 1) & -PAGE)

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self.uc.mem_write(self.symbols[name], struct.pack("<Q", value))

    def _put(self, at: int, *words: int) -> None:
        self.uc.mem_write(at, struct.pack(f"<{len(words)}Q", *words))

    def readable_end(self, address: int) -> int:
        """The end of the readable memory that an address is in, as the rules have it; 0: it may not be read."""
        first, last = self.symbols["_stext"], self.symbols["_end"]
        areas = ((STACK, STACK + STACK_SIZE), (first, last), (DIRECT, HOLE), (ABOVE, DIRECT + MEMORY))
        return next((end for start, end in areas if start <= address < end), 0)

    def read(self, address: int, size: int) -> int:
        """The number at an address, of its first 8 bytes at most; UNREADABLE if something of it is not there."""
        try:
            return int.from_bytes(self.uc.mem_read(address, min(size, 8)), "little")
        except unicorn.UcError:
            return UNREADABLE

    def start(self, state: State) -> None:
        """Let a task record; `state.words` is all of its buffer."""
        task = self.task
        self._put(BUFFER, *state.words, *[GUARD] * 8)
        self._put(TASK + task["kcov_df_area"], BUFFER)
        self._put(TASK + task["kcov_df"], DATA)
        self._put(TASK + task["stack"], STACK)
        self._put(DATA + self.device["dropped"], state.dropped)
        for name, value in (
            ("kcov_df_state", ENABLED), ("kcov_df_seq", state.sequence), ("kcov_df_size", len(state.words)),
            ("pagefault_disabled", 0),
        ):  # fmt: skip
            self.uc.mem_write(TASK + task[name], struct.pack("<I", value))

    def state(self, words: int) -> State:
        """What has come of it. Nothing may be written behind the buffer, and the task must be as it was."""
        for name, value in (("kcov_df_state", ENABLED), ("pagefault_disabled", 0)):
            assert self._word32(TASK + self.task[name]) == value, name
        assert self.uc.mem_read(BUFFER + 8 * words, 64) == struct.pack("<8Q", *[GUARD] * 8), "written behind the buffer"
        buffer = struct.unpack(f"<{words}Q", self.uc.mem_read(BUFFER, 8 * words))
        dropped = struct.unpack("<Q", self.uc.mem_read(DATA + self.device["dropped"], 8))[0]
        return State(buffer, self._word32(TASK + self.task["kcov_df_seq"]), dropped)

    def _word32(self, at: int) -> int:
        return int(struct.unpack("<I", self.uc.mem_read(at, 4))[0])

    def call(self, name: str, *arguments: int) -> None:
        """Call a function of the kernel, on a stack of its own; it must keep what a function has to keep."""
        top = STACK + STACK_SIZE - 0x108
        self._put(top, self.back)
        registers = (
            x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_R8,
            x86.UC_X86_REG_R9,
        )  # fmt: skip
        for register, value in [*zip(registers, arguments, strict=False), *KEPT.items(), (x86.UC_X86_REG_RSP, top)]:
            self.uc.reg_write(register, value)
        place = self.symbols[name]
        while place != self.back:
            try:
                self.uc.emu_start(place, self.back, count=1_000_000)
                place = self.uc.reg_read(x86.UC_X86_REG_RIP)
                assert place == self.back, f"{name} does not return"
            except unicorn.UcError:
                at = self.uc.reg_read(x86.UC_X86_REG_RIP)
                assert at in self.fixups, f"{name} faults at {at:#x}, where nothing catches it"
                place = self.fixups[at]
        assert {one: self.uc.reg_read(one) for one in KEPT} == KEPT
        assert self.uc.reg_read(x86.UC_X86_REG_RSP) == top + 8

    def table(self, at: int, fields: Sequence[tuple[int, int]]) -> int:
        """Put a table of fields into the kernel's data."""
        self._put(at, *(word for one in fields for word in one))
        return at

    def one_by_one(self, pc: int, kind: int, operands: Sequence[Operand]) -> None:
        """Report as generation L0 does: a call for each operand, the value behind an address."""
        for index, one in enumerate(operands):
            assert one.address is not None
            table = self.table(self.image, one.fields) if one.fields else 0
            rest = (one.size, one.address, table, len(one.fields))
            if kind == RETURN:
                self.call("__sanitizer_cov_trace_ret", pc, *rest)
            else:
                self.call("__sanitizer_cov_trace_args", pc, index, *rest)

    def gate(self, pc: int, kind: int, operands: Sequence[Operand]) -> None:
        """Report as generation G1 does: one call with a descriptor, the operands in saved registers (include/linux/
        kcov_dataflow.h and struct kcov_df_op of the series)."""
        saved: list[int] = []
        parts = [struct.pack("<II", len(operands), kind)]
        table = self.image + 0x1000
        for one in operands:
            here = self.table(table, one.fields) if one.fields else 0
            table += 16 * len(one.fields)
            values = one.value if one.address is None else (one.address,)
            taken = (len(saved), len(saved) + 1)
            saved += values
            code = 2 if one.address is not None else 0 if not values else 1 if not one.fields and not one.second else 3
            second = taken[1] if one.second else 0
            parts.append(struct.pack("<QII4BI", here, len(one.fields), one.size, code, taken[0], second, one.second, 0))
        assert len(saved) <= 8
        self._put(self.image, pc, self.image + 0x100)
        self.uc.mem_write(self.image + 0x100, b"".join(parts))
        self._put(DATA + 0x1000, *saved, *[0] * (8 - len(saved)))
        self.call("__sanitizer_cov_trace_operands", DATA + 0x1000, self.image)


def _entry(at: int, data: bytes) -> tuple[int, int]:
    # struct exception_table_entry of arch/x86: places from their own addresses.
    place, fixup = struct.unpack("<ii", data[:8])
    return at + place, at + 4 + fixup


def expected(machine: Machine, before: State, pc: int, kind: int, operands: Sequence[Operand]) -> State:
    """What the layout and the rules say must come of a report."""
    words, size = list(before.words), len(before.words)
    sequence, dropped = before.sequence, before.dropped
    for index, one in enumerate(operands):
        used = words[0]
        values = [_value(machine, one, n) for n in range(len(one.fields) or 1)]
        if used >= size or WORDS + len(values) >= size - used:
            dropped += 1
            continue
        address = one.address or 0
        words[1 + used : 1 + used + WORDS + len(values)] = [
            len(values) << 32 | kind << 28 | sequence & 0xFFFFFF,
            pc,
            index << 56 | min(one.size, 255) << 48 | address & (1 << 48) - 1,
            *values,
        ]
        words[0] = used + WORDS + len(values)
        sequence = (sequence + 1) & 0xFFFFFFFF
    return State(tuple(words), sequence, dropped)


def _value(machine: Machine, one: Operand, index: int) -> int:
    if one.address is None:
        return _piece(one, index)
    pointer, error = one.address, one.address >= 2**64 - 4095
    end = 0 if not pointer or error else machine.readable_end(pointer)
    if not one.fields:
        size = min(one.size, 8)
        if not size or not pointer or error:
            return 0
        return machine.read(pointer, size) if end and size <= end - pointer else UNREADABLE
    offset, size = one.fields[index]
    if not pointer:
        return 0
    size = min(size, 8)
    if not end or offset >= end - pointer or size > end - pointer - offset:
        return UNREADABLE
    return machine.read(pointer + offset, size) if size else 0


def _piece(one: Operand, index: int) -> int:
    # The pieces as they would be in memory.
    memory = bytearray(24)
    for at, value in zip((0, one.second), one.value, strict=False):
        memory[at : at + 8] = value.to_bytes(8, "little")
    offset, size = one.fields[index] if one.fields else (0, one.size)
    return int.from_bytes(memory[offset : offset + min(size, 8)], "little")


def without_copies(state: State, used: int, operands: Sequence[Operand]) -> tuple[tuple[int, ...], int, int]:
    """A state without what nobody can foretell: where on the stack a copy of two registers was."""
    words, at = list(state.words), 1 + used
    end = min(words[0] + 1, len(words))
    while at < end:
        one = operands[min(words[at + 2] >> 56, len(operands) - 1)]
        if one.address is None and one.value and (one.fields or one.second):
            words[at + 2] &= ~((1 << 48) - 1)
        at += WORDS + (words[at] >> 32 & 0xFFFF)
    return tuple(words), state.sequence, state.dropped
