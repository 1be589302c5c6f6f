"""QEMU's command lines, and how long a run may take.

What comes in is what to boot; what goes out is an argument list that a person can paste into a shell. Nothing is
started here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.arch import Guest, architecture
from core.data import load_yaml
from core.errors import UserError, nearest

PORT = "kdf.channel"
MEMORY_MB = 1024
CPUS = 1

# What every kernel gets. A broken kernel must end, not wait: any oops is a panic, and a panic restarts at once, which
# -no-reboot turns into QEMU's end. panic=-1: Documentation/admin-guide/kernel-parameters.txt.
_KERNEL = ("panic=-1", "oops=panic", "printk.time=1", "loglevel=8", "rdinit=/init")

# A guest whose clock is the number of its instructions, 2**1 ns each, and whose entropy and date are the same in each
# run: what it counts repeats to the digit (docs/performance.md). It takes TCG and one CPU.
_ICOUNT = ("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01,clock=vm")
_EXACT_KERNEL = ("nokaslr", "norandmaps", "random.trust_cpu=off", "random.trust_bootloader=off")
NS_PER_INSTRUCTION = 2

# Ctrl-C is the guest's.
_TERMINAL = "stdio,id=console,mux=on,signal=off"

TIMEOUTS = Path(__file__).parent / "timeouts.yaml"


@dataclass(frozen=True)
class Size:
    """How large a guest is; the RFC's by default."""

    cpus: int = CPUS
    memory_mb: int = MEMORY_MB


@dataclass(frozen=True)
class Limit:
    """One line of timeouts.yaml, which explains the attributes; seconds."""

    boot: int
    work: int
    measured: int
    works: int
    run: str


def size_of(cpus: str, memory: str, config: Mapping[str, str] | None = None) -> Size:
    """A size as a user names it.

    Args:
        cpus, memory: numbers, of processors and of MB; empty for the usual.
        config: of the kernel, if it is known.

    Raises:
        UserError: it is no number, no machine has it, or the kernel could not use it.
    """
    numbers = []
    for word, text, usual, least, most in (
        ("--smp", cpus, CPUS, 1, 255),
        ("--memory", memory, MEMORY_MB, 128, 1 << 20),
    ):
        if not re.fullmatch(r"\d{0,7}", text) or not least <= int(text or usual) <= most:
            raise UserError(f"{word} {text} is no number from {least} to {most}")
        numbers.append(int(text or usual))
    if numbers[0] > 1 and config is not None and config.get("SMP") != "y":
        raise UserError(
            f"the kernel has no SMP, it would use one of {numbers[0]} processors", "build it with --set SMP=y"
        )
    most_cpus = (config or {}).get("NR_CPUS", "")
    if most_cpus.isdigit() and numbers[0] > int(most_cpus):
        raise UserError(
            f"the kernel would use {most_cpus} of {numbers[0]} processors", f"build it with --set NR_CPUS={numbers[0]}"
        )
    return Size(*numbers)


@dataclass(frozen=True)
class Machine:
    """What to boot, by inside paths.

    Attributes:
        arch: a name of `core.arch`.
        accelerator: `tcg` or `kvm`.
        kernel, initrd: files that QEMU reads.
        console, channel: files that QEMU writes.
        append: kernel parameters behind ours, so that they win.
        exact: instructions are its clock, so that a run repeats to the digit.
        qmp: socket that QEMU makes for its own connection; empty for none.
        gdb: socket that QEMU makes for a debugger, which it waits for before the first instruction; empty for none.
        interactive: the console is the user's terminal, which has QEMU's monitor as well (Ctrl-a c; Ctrl-a x ends it).
    """

    arch: str
    accelerator: str
    kernel: str
    initrd: str
    console: str
    channel: str
    memory_mb: int = MEMORY_MB
    cpus: int = CPUS
    append: tuple[str, ...] = ()
    exact: bool = False
    qmp: str = ""
    gdb: str = ""
    interactive: bool = False

    def __post_init__(self) -> None:
        if self.exact and (self.accelerator != "tcg" or self.cpus != 1):
            raise ValueError("instructions are counted by TCG and on one CPU only")


def command_line(machine: Machine) -> str:
    """The kernel's parameters."""
    own = architecture(machine.arch).guest
    exact = (*_EXACT_KERNEL, *own.exact_parameters) if machine.exact else ()
    first = (f"console={own.console}", f"earlycon={own.early_console}", *own.parameters)
    return " ".join([*first, *_KERNEL, *exact, *machine.append])


def command(machine: Machine) -> list[str]:
    """QEMU's argument list.

    Raises:
        UserError: there is no such architecture.
    """
    own = architecture(machine.arch).guest
    emulated = own.exact_cpu if machine.exact else "max"
    return [
        own.program,
        *("-machine", f"{own.machine}{own.exact_machine if machine.exact else ''}"),
        *("-accel", f"{machine.accelerator}{_one_thread(machine, own)}"),
        *("-cpu", "host" if machine.accelerator == "kvm" else emulated),
        *_common(machine),
        # Without ioeventfd a frame is in the file when the guest's write() returns: nothing is lost at the end, and no
        # thread of QEMU decides when the guest goes on, which would change the count of instructions.
        *own.channel,
        *_port(machine),
    ]


def _one_thread(machine: Machine, own: Guest) -> str:
    """Put all CPUs of a guest on one thread, for TCG on x86-64.

    With a thread for each, a CPU now and then runs code that another one has changed already, once the threads are kept
    waiting (QEMU 10.0.13; seen when thousands of static branches changed): an INT3 that is no longer there ends the
    kernel. docs/guest.md has the runs.
    """
    return ",thread=single" if own.one_thread and machine.accelerator == "tcg" and machine.cpus > 1 else ""


def _common(machine: Machine) -> list[str]:
    return [
        *(_ICOUNT if machine.exact else ()),
        # A BIOS without ACPI tells the kernel of one CPU in each socket (SeaBIOS, mptable.c).
        *("-smp", str(machine.cpus) if machine.cpus == 1 else f"{machine.cpus},sockets={machine.cpus}"),
        *("-m", f"{machine.memory_mb}M"),
        # Nothing but what is named here: no display, no network, no default devices, no configuration files.
        *("-nodefaults", "-no-user-config"),
        *("-display", "none"),
        *("-no-reboot",),
        *("-chardev", _TERMINAL if machine.interactive else f"file,id=console,path={_escape(machine.console)}"),
        *("-serial", "chardev:console"),
        *(("-mon", "chardev=console,mode=readline") if machine.interactive else ()),
        *("-kernel", machine.kernel),
        *("-initrd", machine.initrd),
        *("-append", command_line(machine)),
        *(_socket("qmp", machine.qmp, "-mon", "chardev=qmp,mode=control") if machine.qmp else ()),
        *(_socket("gdb", machine.gdb, "-gdb", "chardev:gdb", "-S") if machine.gdb else ()),
    ]


def _socket(name: str, path: str, *use: str) -> list[str]:
    return ["-chardev", f"socket,id={name},path={_escape(path)},server=on,wait=off", *use]


def _port(machine: Machine) -> list[str]:
    return [
        *("-chardev", f"file,id=channel,path={_escape(machine.channel)}"),
        *("-device", f"virtserialport,chardev=channel,name={PORT}"),
    ]


def _escape(path: str) -> str:
    """A path as the value of an option: QEMU reads two commas as one."""
    return path.replace(",", ",,")


def timeout(accelerator: str, sanitizer: str = "none", works: int = 1) -> float:
    """Wall seconds after which a guest is lost.

    Args:
        accelerator: `tcg` or `kvm`.
        sanitizer: `none`, `ubsan` or `kasan`: the slowest that the kernel has.
        works: how many workloads it runs.

    Raises:
        UserError: there is no such sanitizer, or the table is wrong.
    """
    table = load_yaml(TIMEOUTS).get(accelerator)
    if not table.has(sanitizer):
        raise UserError(f"there is no sanitizer {sanitizer}{nearest(sanitizer, [name for name, _ in table.items()])}")
    limit = table.get(sanitizer).convert(Limit)
    return float(limit.boot + works * limit.work)


def sanitizer_of(config: str) -> str:
    """The slowest sanitizer of a kernel's `.config`."""
    on: Sequence[str] = [line for line in config.splitlines() if line.endswith("=y")]
    return next((name for name in ("kasan", "ubsan") if f"CONFIG_{name.upper()}=y" in on), "none")
