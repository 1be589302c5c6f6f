"""Sites: what the machine code of an instrumented function passes to the callbacks.

A record says how many values it has; the code that made it says how many it should have. This reads the second from the
kernel image itself: the calls of the callbacks, the constants in the operand registers before each call, and the tables
that they point at. It never asks the debug information, so that the two can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UnderTest, UserError
from dataflow.records import ENTRY, RETURN
from dataflow.symbols import Symbols

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALLBACKS = {"__sanitizer_cov_trace_args": ENTRY, "__sanitizer_cov_trace_ret": RETURN}


@dataclass(frozen=True)
class Site:
    """One call of a callback.

    Attributes:
        kind: ENTRY or RETURN.
        index: number of the argument; 0 for returns.
        size: bytes, as the code passes it (records clamp it to 255).
        fields: (offset, size) pairs of the table in bytes; None if the value is a scalar.
    """

    kind: int
    index: int
    size: int | None
    fields: tuple[tuple[int, int], ...] | None

    @property
    def values(self) -> int:
        """How many values its record has."""
        return len(self.fields) if self.fields else 1


@dataclass(frozen=True)
class _Arch:
    """What differs between architectures: operand registers by callback (index, size, pointer, table, count), calls."""

    args: tuple[str | None, str, str, str, str]
    ret: tuple[str | None, str, str, str, str]
    kept: frozenset[str]


# System V AMD64 and AAPCS64: operands in order are pc, index (arguments only), size, pointer, table, number of fields.
_ARCHES = {
    "x86_64": _Arch(
        ("si", "dx", "cx", "r8", "r9"),
        (None, "si", "dx", "cx", "r8"),
        frozenset({"bx", "bp", "r12", "r13", "r14", "r15"}),
    ),
    "arm64": _Arch(
        ("x1", "x2", "x3", "x4", "x5"),
        (None, "x1", "x2", "x3", "x4"),
        frozenset(f"x{n}" for n in range(19, 30)),
    ),
}


class Kernel:
    """The text and read-only data of a vmlinux, with the addresses of the callbacks."""

    def __init__(self, vmlinux: Path, symbols: Symbols) -> None:
        """Open a kernel image.

        Raises:
            UserError: it is not there or is no kernel of a known architecture.
        """
        import numpy as np
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        self.symbols = symbols
        try:
            with vmlinux.open("rb") as source:
                elf = ELFFile(source)
                self.arch = {"EM_X86_64": "x86_64", "EM_AARCH64": "arm64"}.get(elf["e_machine"], "")
                self._sections = [
                    (int(s["sh_addr"]), np.frombuffer(s.data(), dtype=np.uint8), bool(s["sh_flags"] & 4))
                    for s in elf.iter_sections()
                    if s["sh_type"] == "SHT_PROGBITS" and s["sh_flags"] & 2 and s["sh_size"]
                ]
        except FileNotFoundError:
            raise UserError(f"there is no {vmlinux}") from None
        except ELFError as error:
            raise UserError(f"{vmlinux} is no ELF file: {error}") from None
        if not self.arch:
            raise UserError(f"{vmlinux} is for a machine that the toolkit does not know")
        self.callbacks: dict[int, int] = {
            address: kind for name, kind in CALLBACKS.items() if (address := symbols.address(name)) is not None
        }
        self._sites: dict[int, tuple[Site, ...]] = {}

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the image.

        Raises:
            UnderTest: the image has none there.
        """
        for start, data, _code in self._sections:
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size].tobytes()
        raise UnderTest(f"the kernel image has no {size} bytes at {address:#x}")

    def instrumented(self) -> NDArray[np.uint64]:
        """Starts of all functions whose code calls a callback, sorted, u64."""
        import numpy as np

        found = [sites for start, data, code in self._sections if code for sites in self._calls(start, data)]
        if not found:
            return np.empty(0, dtype=np.uint64)
        return np.unique(self.symbols.starts(np.concatenate(found)))

    def _calls(self, start: int, data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint64]]:
        """Addresses of direct calls and jumps to the callbacks in a section."""
        import numpy as np

        targets = np.array(sorted(self.callbacks), dtype=np.uint64).view(np.int64)
        base = np.array([start], dtype=np.uint64).view(np.int64)
        if self.arch == "x86_64":
            # call rel32 is E8, jmp rel32 is E9 (Intel SDM); an immediate that looks so is in a function, too.
            places = np.nonzero((data[:-4] == 0xE8) | (data[:-4] == 0xE9))[0]
            bytes_ = [data[places + i].astype(np.uint32) << np.uint32(8 * (i - 1)) for i in range(1, 5)]
            offsets = (bytes_[0] | bytes_[1] | bytes_[2] | bytes_[3]).view(np.int32).astype(np.int64)
            # Addresses of the upper half are negative as int64; sums stay exact.
            reached = places + 5 + offsets + base
        else:
            code = data[: len(data) & ~3].view("<u4")
            # BL is 100101, B is 000101, then 26 bits of offset in words (Arm ARM C6.2).
            words = np.nonzero((code & np.uint32(0x7C000000)) == np.uint32(0x14000000))[0]
            offsets = (code[words] << np.uint32(6)).view(np.int32).astype(np.int64) >> 4
            places = words * 4
            reached = places + offsets + base
        hits = places[np.isin(reached, targets)]
        yield hits.astype(np.uint64) + np.uint64(start)

    def sites(self, function: int) -> tuple[Site, ...]:
        """The callback calls of the function that starts at a link-time address, in the order of its code."""
        if function not in self._sites:
            self._sites[function] = tuple(self._disassemble(function))
        return self._sites[function]

    def _disassemble(self, function: int) -> Iterator[Site]:
        size = self.symbols.end(function) - function
        code = self.read(function, size)
        state: dict[str, int] = {}
        for mnemonic, operands, following in _instructions(self.arch, code, function):
            target = _target(self.arch, mnemonic, operands)
            if target is not None and target in self.callbacks:
                yield self._site(self.callbacks[target], state)
            _step(self.arch, mnemonic, operands, following, state)

    def _site(self, kind: int, state: Mapping[str, int]) -> Site:
        arch = _ARCHES[self.arch]
        index, size, _pointer, table, count = arch.args if kind == ENTRY else arch.ret
        if count not in state or (index is not None and index not in state):
            raise UnderTest("the operands of a callback are not constants before its call")
        fields = self._table(state[table], state[count]) if state[count] else None
        return Site(kind, state[index] if index else 0, state.get(size), fields)

    def _table(self, address: int, pairs: int) -> tuple[tuple[int, int], ...]:
        raw = self.read(address, 16 * pairs)
        numbers = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _instructions(arch: str, code: bytes, address: int) -> Iterator[tuple[str, str, int]]:
    """Mnemonic, operands, and address of the next instruction."""
    import capstone

    machine: Any = (
        capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        if arch == "x86_64"
        else capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    )
    machine.skipdata = True  # padding and inline data between instructions
    for place, size, mnemonic, operands in machine.disasm_lite(code, address):
        yield mnemonic, operands, place + size


def _target(arch: str, mnemonic: str, operands: str) -> int | None:
    """Where a direct call or jump goes."""
    if mnemonic not in (("call", "jmp") if arch == "x86_64" else ("bl", "b")):
        return None
    text = operands.removeprefix("#")
    return int(text, 16) if text.startswith("0x") else None


_X86 = re.compile(r"^[re]?([abcd]x|[sd]i|[bs]p)$|^(r(?:8|9|1[0-5]))d?$")
_ARM = re.compile(r"^[wx](\d+)$")
_NUMBER = re.compile(r"^#?(-?(?:0x[0-9a-f]+|\d+))$")
_RIP = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
# These write no register that could hold an operand.
_X86_READERS = ("cmp", "test", "push", "jmp", "ret", "nop", "bt", "stac", "clac", "prefetch", "ud")


def _register(arch: str, text: str) -> str | None:
    """One name for a register and its halves; None for memory, constants and partial registers."""
    if arch == "x86_64":
        found = _X86.match(text)
        return (found[1] or found[2]) if found else None
    found = _ARM.match(text)
    return f"x{found[1]}" if found else None


def _value(arch: str, text: str, state: Mapping[str, int]) -> int | None:
    """The value of an operand, if it is known."""
    if number := _NUMBER.match(text):
        return int(number[1], 0) & (1 << 64) - 1
    if text in ("wzr", "xzr"):
        return 0
    register = _register(arch, text)
    return state.get(register) if register else None


def _step(arch: str, mnemonic: str, operands: str, following: int, state: dict[str, int]) -> None:
    """Follow the constants in registers through one instruction."""
    parts = [part.strip() for part in operands.split(",")]
    is_call = mnemonic == "call" or mnemonic in ("bl", "blr")
    if is_call:
        for name in [name for name in state if name not in _ARCHES[arch].kept]:
            del state[name]
        return
    written = _register(arch, parts[0]) if parts[0] else None
    if written is None or (arch == "x86_64" and mnemonic.startswith(_X86_READERS)):
        return
    value: int | None = None
    if mnemonic in ("mov", "movabs", "movz", "movl", "movq") and len(parts) == 2:
        value = _value(arch, parts[1], state)
        if value is not None and parts[0].startswith(("e", "w")):
            value &= 0xFFFFFFFF
    elif mnemonic in ("xor", "eor", "sub") and parts[-1] == parts[-2]:
        value = 0
    elif mnemonic in ("adrp", "adr"):
        value = _value(arch, parts[1], state)
    elif mnemonic == "add" and arch == "arm64" and len(parts) == 3:
        left, right = (_value(arch, part, state) for part in parts[1:])
        value = left + right if left is not None and right is not None else None
    elif mnemonic == "lea" and arch == "x86_64" and (found := _RIP.search(operands)):
        value = following + int(found[1] + found[2], 0)
    if value is None:
        state.pop(written, None)
    else:
        state[written] = value
