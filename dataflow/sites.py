"""Read from machine code what an instrumented function passes to the callbacks.

Takes the images of a kernel and of its modules. Gives the calls of the callbacks, the constants in the operand
registers before each call, and the tables that they point at: from these follows how many values a record should have.
Never reads debug information, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UnderTest, UserError
from dataflow import image, machine
from dataflow.effects import Stack
from dataflow.image import Image, Section
from dataflow.layouts import CLAMP, ENTRY, RETURN
from dataflow.machine import Call, Rules
from dataflow.symbols import Symbols

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALLBACKS = {"__sanitizer_cov_trace_args": ENTRY, "__sanitizer_cov_trace_ret": RETURN}
# The callback behind the gates of generation G1. It gets the address of a descriptor: addresses of the function and of
# a shape. A shape has the number of operands, the kind, and for each operand table, number of fields, size and the
# place of the value (docs/pass.md, "Behind gates").
GATED = "__sanitizer_cov_trace_gated"
_OPERAND = 24  # bytes
_MAX_FIELDS = 65535  # no structure has more fields: a larger number is not a number of fields


@dataclass(frozen=True)
class Site:
    """One call of a callback.

    Attributes:
        kind: ENTRY or RETURN.
        pc: the function that it names.
        index: number of the argument; 0 for returns.
        size: bytes, as the code passes it (records clamp it to 255); None if it is not a constant.
        fields: (offset, size) pairs of the table in bytes; None if there is no table.
        slot: the passed address, in bytes above the stack pointer at the function's start; None if it is not in the
            function's own frame.
        place: address of the call; after: address that it returns to.
    """

    kind: int
    pc: int
    index: int
    size: int | None
    fields: tuple[tuple[int, int], ...] | None
    slot: int | None
    place: int
    after: int = 0

    @property
    def values(self) -> int:
        """Return the number of values that its record has."""
        return len(self.fields) if self.fields else 1

    @property
    def recorded_index(self) -> int:
        """Return the index as a record contains it."""
        return min(self.index, CLAMP)


@dataclass(frozen=True)
class Code:
    """The calls in the code of a function.

    Attributes:
        sites: its calls of the callbacks, in the order of its code.
        callees: (function, stack pointer at its start) of each direct call and tail call. The stack pointer is relative
            to that at this function's start; None if it is not constant.
        open_calls: stack pointers at the start of functions that it calls through pointers.
        opaque: it calls through pointers, so it may call any function.
    """

    sites: tuple[Site, ...]
    callees: frozenset[tuple[int, int | None]]
    open_calls: frozenset[int]
    opaque: bool

    @property
    def has_parameters(self) -> bool:
        return any(site.kind == ENTRY for site in self.sites)

    @property
    def returns_value(self) -> bool:
        return any(site.kind == RETURN for site in self.sites)

    def of(self, kind: int, index: int) -> tuple[Site, ...]:
        """Return the sites that a record of this kind and recorded index may come from."""
        return tuple(s for s in self.sites if s.kind == kind and s.recorded_index == index)

    def inside(self, pc: int) -> tuple[Site, ...]:
        """Return the sites whose call has its last byte at an address: one, or none."""
        return tuple(s for s in self.sites if s.after - 1 == pc)


class Kernel:
    """The code of a kernel and of its loaded modules; each function is read when it is first needed."""

    def __init__(self, images: Sequence[Image], symbols: Symbols, *, by_value: bool = False) -> None:
        """See `load`; `symbols` include those of the images."""
        self.symbols = symbols
        self.by_value = by_value
        self.images = tuple(images)
        self.arch = images[0].arch
        self._rules = machine.RULES[self.arch]
        self.callbacks: dict[int, int] = {
            address: kind for name, kind in CALLBACKS.items() if (address := symbols.address(name)) is not None
        }
        self.gated = symbols.address(GATED)
        self._codes: dict[int, Code] = {}

    def instrumented(self) -> NDArray[np.uint64]:
        """Return the starts of all functions with a direct call of a callback, sorted, u64."""
        import numpy as np

        called = sorted([*self.callbacks, *([] if self.gated is None else [self.gated])])
        addresses = [_calls(self._rules, s, called) for loaded in self.images for s in loaded.sections if s.code]
        return np.unique(self.symbols.starts(np.concatenate([np.empty(0, dtype=np.uint64), *addresses])))

    def sites(self, function: int) -> tuple[Site, ...]:
        """Return the callback calls of the function that starts at a link-time address; see `code`."""
        return self.code(function).sites

    def code(self, function: int) -> Code:
        """Return the calls in the function that starts at a link-time address.

        Raises:
            UnderTest: there is no code at the address, or an operand of a callback is not constant.
        """
        if function not in self._codes:
            self._codes[function] = self._read(function)
        return self._codes[function]

    def _image(self, address: int) -> Image:
        holder = next((candidate for candidate in self.images if candidate.section(address)), None)
        if holder is None:
            raise UnderTest(f"neither the kernel nor a module has code at {address:#x}")
        return holder

    def _read(self, function: int) -> Code:
        size = self.symbols.end(function) - function
        bytes_ = self._image(function).read(function, size)
        sites: list[Site] = []
        callees: set[tuple[int, int | None]] = set()
        open_calls: set[int] = set()
        opaque = False
        for call in machine.calls(self.arch, bytes_, function):
            if call.target in self.callbacks:
                sites.append(self._site(self.callbacks[call.target], call, function))
                continue
            if call.target is not None and call.target == self.gated:
                sites += self._gate(call)
                continue
            at = call.state.get(self._rules.stack)
            start = at.offset - (0 if call.jump else self._rules.pushed) if isinstance(at, Stack) else None
            if call.target is None or any(n.startswith(self._rules.thunks) for n in self.symbols.at(call.target)):
                opaque = True
                open_calls |= {start} if start is not None else set()
            else:
                callees.add((call.target, start))
        return Code(tuple(sites), frozenset(callees), frozenset(open_calls), opaque)

    def _site(self, kind: int, call: Call, function: int) -> Site:
        # Registers of pc, index, size, pointer, table and number of fields (docs/architecture.md, generation L0). A
        # return has no index. Generation L3 has no pc, and passes the value instead of the pointer.
        registers = list(self._rules.operands)
        if self.by_value:
            registers = ["", *registers[:-1]]
        if kind == RETURN:
            registers[1:] = ["", *registers[1:-1]]
        pc, index, size, pointer, table, count = (call.state.get(name) if name else 0 for name in registers)
        if self.by_value:
            pc = function
        if not isinstance(pc, int) or not isinstance(index, int) or not isinstance(count, int):
            raise UnderTest(f"the operands of the callback at {call.place:#x} are not constants before its call")
        # Numbers are 32 bits wide: the upper half of the register does not count.
        index, count = index & 0xFFFFFFFF, count & 0xFFFFFFFF
        if count and (not isinstance(table, int) or count > _MAX_FIELDS):
            raise UnderTest(f"the callback at {call.place:#x} gets {count} fields without a table")
        fields = self._table(int(table), count) if count and isinstance(table, int) else None
        return Site(
            kind,
            pc,
            index,
            size & 0xFFFFFFFF if isinstance(size, int) else None,
            fields,
            pointer.offset if isinstance(pointer, Stack) and not self.by_value else None,
            call.place,
            call.place + self._rules.call_size,
        )

    def _gate(self, call: Call) -> list[Site]:
        """Return the sites of one call behind a gate: all parameters of a function, or its return value."""
        descriptor = call.state.get(self._rules.descriptor)
        if not isinstance(descriptor, int):
            raise UnderTest(f"the call behind a gate at {call.place:#x} has no constant descriptor")
        pc, shape = self._numbers(descriptor, 2)
        head = self._numbers(shape, 1)[0]
        count, kind = head & 0xFFFFFFFF, head >> 32
        if kind not in (ENTRY, RETURN) or count > _MAX_FIELDS:
            raise UnderTest(f"{descriptor:#x} is not a descriptor: it has {count} operands of kind {kind:#x}")
        sites: list[Site] = []
        for index in range(count):
            table, sizes, _where = self._numbers(shape + 8 + _OPERAND * index, 3)
            fields, size = sizes & 0xFFFFFFFF, sizes >> 32
            if fields and (not table or fields > _MAX_FIELDS):
                raise UnderTest(f"the descriptor at {descriptor:#x} has {fields} fields without a table")
            pairs = self._table(table, fields) if fields else None
            sites.append(Site(kind, pc, index, size, pairs, None, call.place, call.place + self._rules.call_size))
        return sites

    def _numbers(self, address: int, count: int) -> list[int]:
        """Return `count` 64-bit words at an address."""
        raw = self._image(address).read(address, 8 * count)
        return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]

    def _table(self, address: int, pairs: int) -> tuple[tuple[int, int], ...]:
        numbers = self._numbers(address, 2 * pairs)
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def load(vmlinux: Path, symbols: Symbols, modules: Sequence[Image] = (), *, by_value: bool = False) -> Kernel:
    """Open a kernel image.

    Args:
        vmlinux: with its symbol table; debug information is not needed.
        symbols: of its System.map.
        modules: from `symbols.modules`.
        by_value: its callbacks take values and no pc (generation L3), not addresses of values (L0, L1).

    Raises:
        UserError: it does not exist, is not a kernel of a known architecture, or does not match the symbols.
    """
    kernel = image.vmlinux(vmlinux)
    own = {name: address for address, _size, name in kernel.functions}
    for name in ("start_kernel", *CALLBACKS):
        mapped = symbols.address(name)
        if name in own and mapped is not None and own[name] != mapped:
            raise UserError(f"{vmlinux} has {name} at {own[name]:#x}, its System.map at {mapped:#x}")
    return Kernel((kernel, *modules), symbols.joined((kernel, *modules)), by_value=by_value)


def _calls(rules: Rules, section: Section, callbacks: Sequence[int]) -> NDArray[np.uint64]:
    """Return the addresses of the direct calls and jumps to the callbacks in a section, u64."""
    import numpy as np

    # Addresses in the upper half are negative as int64; sums stay exact.
    targets = np.array(callbacks, dtype=np.uint64).view(np.int64)
    base = np.array([section.address], dtype=np.uint64).view(np.int64)
    positions, reached = rules.direct(section.data)
    hits: NDArray[np.uint64] = (positions[np.isin(reached + base, targets)] + base).view(np.uint64)
    return hits


def all_codes(kernel: Kernel) -> Iterator[tuple[int, Code]]:
    """Yield the code of every instrumented function, many thousands; for tests and audits."""
    for function in kernel.instrumented().tolist():
        yield function, kernel.code(function)
