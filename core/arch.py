"""Know the architectures: one table of facts for all rooms.

To add an architecture, add a row here, its instructions to `dataflow.machine`, its system calls to
`guest/agent/sys.h`, a `guest-NAME.config` to `kconfig/fragments`, and its target to the recipes in `toolchain/recipes`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import InfraError, UserError, nearest


@dataclass(frozen=True)
class Guest:
    """How QEMU runs a guest of an architecture.

    `exact` guests have a clock that counts instructions and must repeat to the digit (docs/performance.md).

    Attributes:
        program: QEMU for this architecture.
        package: Debian's package of it.
        machine: value of -machine.
        exact_machine: what an exact guest adds to it.
        exact_cpu: value of -cpu for an exact guest: a CPU without instructions that return random numbers.
        one_thread: several CPUs under TCG must share one thread of QEMU (`guest.qemu` has the reason).
        channel: options that make the device with the channel's port, without its ioeventfd.
        console: the kernel's console device.
        early_console: value of earlycon=: a kernel that dies before its console driver starts still prints.
        parameters: further kernel parameters.
        exact_parameters: kernel parameters of an exact guest.
    """

    program: str
    package: str
    machine: str
    exact_machine: str
    exact_cpu: str
    one_thread: bool
    channel: tuple[str, ...]
    console: str
    early_console: str
    parameters: tuple[str, ...] = ()
    exact_parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """The facts of one architecture.

    Attributes:
        name: the kernel's name, as `make ARCH=` takes it; options, keys and JSON have it too.
        machine: as `uname -m` prints it.
        boot_image: what the boot loader loads, a path in the build tree of a kernel.
        elf_machine: `e_machine` of its ELF files, as pyelftools names it.
        triple: value of clang's --target.
        rust_triple: rustc's target for Linux with glibc.
        debian: Debian's name.
        dynamic_linker: path of glibc's dynamic linker, as the psABI fixes it.
        syscall_prefix: what the kernel puts before the name of a system call's function.
        o_largefile: the flag that openat() adds in a 64-bit kernel.
    """

    name: str
    machine: str
    boot_image: str
    elf_machine: str
    triple: str
    rust_triple: str
    debian: str
    dynamic_linker: str
    syscall_prefix: str
    o_largefile: int
    guest: Guest


_ROWS = (
    Architecture(
        name="x86_64",
        machine="x86_64",
        boot_image="arch/x86/boot/bzImage",
        elf_machine="EM_X86_64",
        triple="x86_64-linux-gnu",
        rust_triple="x86_64-unknown-linux-gnu",
        debian="amd64",
        dynamic_linker="/lib64/ld-linux-x86-64.so.2",
        syscall_prefix="__x64_sys_",  # arch/x86/include/asm/syscall_wrapper.h
        o_largefile=0o100000,  # include/uapi/asm-generic/fcntl.h
        guest=Guest(
            program="qemu-system-x86_64",
            package="qemu-system-x86",
            machine="pc",
            exact_machine="",
            exact_cpu="max,-rdrand,-rdseed",
            one_thread=True,
            channel=("-device", "virtio-serial-pci,ioeventfd=off"),
            console="ttyS0",
            early_console="uart8250,io,0x3f8,115200n8",
            # `-cpu max` has 5-level paging, whose pointers do not fit the 48 bits of a record.
            parameters=("no5lvl",),
            # Without these the kernel spends 200 ms of its boot waiting for ticks. Waiting is counted too, and hides
            # what the rest costs. Under KVM it does not wait: no_timer_check is on, the timer needs no calibration.
            exact_parameters=("no_timer_check", "nolapic_timer"),
        ),
    ),
    Architecture(
        name="arm64",
        machine="aarch64",
        boot_image="arch/arm64/boot/Image",
        elf_machine="EM_AARCH64",
        triple="aarch64-linux-gnu",
        rust_triple="aarch64-unknown-linux-gnu",
        debian="arm64",
        dynamic_linker="/lib/ld-linux-aarch64.so.1",
        syscall_prefix="__arm64_sys_",  # arch/arm64/include/asm/syscall_wrapper.h
        o_largefile=0o400000,  # arch/arm64/include/uapi/asm/fcntl.h
        guest=Guest(
            program="qemu-system-aarch64",
            package="qemu-system-arm",
            machine="virt,gic-version=max",
            # The device tree has a seed for the kernel's random numbers unless this is off.
            exact_machine=",dtb-randomness=off",
            # `-cpu max` has RNDR, and no option turns it off.
            exact_cpu="neoverse-n1",
            one_thread=False,
            channel=("-global", "virtio-mmio.ioeventfd=off", "-device", "virtio-serial-device"),
            console="ttyAMA0",
            early_console="pl011,0x9000000",  # the UART of QEMU's virt machine (hw/arm/virt.c, base_memmap)
        ),
    ),
)

TABLE: Mapping[str, Architecture] = {row.name: row for row in _ROWS}
ARCHES = tuple(TABLE)


def architecture(name: str) -> Architecture:
    """Look up an architecture by the kernel's name.

    Raises:
        UserError: the table does not have it.
    """
    if name not in TABLE:
        raise UserError(f"there is no architecture {name}{nearest(name, TABLE)}")
    return TABLE[name]


def check_arch(name: str) -> str:
    """Return the name, if the table has it.

    Raises:
        UserError: the table does not have it.
    """
    return architecture(name).name


def of_machine(machine: str) -> Architecture | None:
    """Look up an architecture by what `uname -m` prints; None if the table does not have it."""
    return next((row for row in _ROWS if row.machine == machine), None)


def of_elf(elf_machine: str) -> Architecture | None:
    """Look up an architecture by `e_machine` as pyelftools names it; None if the table does not have it."""
    return next((row for row in _ROWS if row.elf_machine == elf_machine), None)


def host_arch() -> str:
    """Return the kernel's name of this machine's architecture.

    Raises:
        UserError: the table does not have it.
    """
    machine = platform.machine()
    if (row := of_machine(machine)) is None:
        raise UserError(f"this machine is a {machine}", f"name one with --arch: {', '.join(ARCHES)}")
    return row.name


def of_host(problem: str) -> Architecture:
    """Look up this machine's architecture, where another one will not do.

    Args:
        problem: start of the message, such as `no LLVM is built for`.

    Raises:
        InfraError: the table does not have it.
    """
    machine = platform.machine()
    if (row := of_machine(machine)) is None:
        raise InfraError(f"{problem} a machine {machine}")
    return row
