"""Make QEMU's command line, and compute the time limit of a run.

Takes the files and options of a boot. Gives an argument list that a person can paste into a shell. Never starts QEMU.
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

# The parameters of every kernel. A broken kernel must end and not wait. So every oops is a panic, a panic restarts at
# once (panic=-1, Documentation/admin-guide/kernel-parameters.txt), and -no-reboot makes QEMU exit then.
_KERNEL = ("panic=-1", "oops=panic", "printk.time=1", "loglevel=8", "rdinit=/init")

# For guests that count exactly: the clock is the number of instructions, 2**1 ns each, and entropy and date are the
# same in each run. So counts repeat to the digit (docs/performance.md). This needs TCG and one CPU.
_ICOUNT = ("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01,clock=vm")
_EXACT_KERNEL = ("nokaslr", "norandmaps", "random.trust_cpu=off", "random.trust_bootloader=off")
NS_PER_INSTRUCTION = 2

# signal=off: Ctrl-C goes to the guest.
_TERMINAL = "stdio,id=console,mux=on,signal=off"

TIMEOUTS = Path(__file__).parent / "timeouts.yaml"


@dataclass(frozen=True)
class Size:
    """The size of a guest; the defaults are those of the RFC of June 2026 on LKML."""

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
    """Read the size of a guest from a user's options.

    Args:
        cpus, memory: number of processors, and MB of memory; empty for the default.
        config: of the kernel, if it is known.

    Raises:
        UserError: it is not a number, not in the range of the machine, or the kernel cannot use it.
    """
    numbers = []
    for word, text, usual, least, most in (
        ("--smp", cpus, CPUS, 1, 255),
        ("--memory", memory, MEMORY_MB, 128, 1 << 20),
    ):
        if not re.fullmatch(r"\d{0,7}", text) or not least <= int(text or usual) <= most:
            raise UserError(f"{word} {text} is not a number from {least} to {most}")
        numbers.append(int(text or usual))
    if numbers[0] > 1 and config is not None and config.get("SMP") != "y":
        raise UserError(
            f"the kernel has no SMP: it would use one of {numbers[0]} processors", "build it with --set SMP=y"
        )
    most_cpus = (config or {}).get("NR_CPUS", "")
    if most_cpus.isdigit() and numbers[0] > int(most_cpus):
        raise UserError(
            f"the kernel would use {most_cpus} of {numbers[0]} processors", f"build it with --set NR_CPUS={numbers[0]}"
        )
    return Size(*numbers)


@dataclass(frozen=True)
class Machine:
    """The files and options of a boot; all paths are those that QEMU sees.

    Attributes:
        arch: a name of `core.arch`.
        accelerator: `tcg` or `kvm`.
        kernel, initrd: files that QEMU reads.
        console, channel: files that QEMU writes.
        append: kernel parameters after ours, so that they win.
        exact: the clock counts instructions, so that a run repeats to the digit.
        qmp: socket that QEMU makes for QMP; empty for none.
        gdb: socket that QEMU makes for a debugger; QEMU waits for it before the first instruction; empty for none.
        interactive: the console is the user's terminal, with QEMU's monitor (Ctrl-a c; Ctrl-a x ends QEMU).
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
            raise ValueError("counting instructions needs TCG and one CPU")


def command_line(machine: Machine) -> str:
    """Return the kernel's parameters."""
    own = architecture(machine.arch).guest
    exact = (*_EXACT_KERNEL, *own.exact_parameters) if machine.exact else ()
    first = (f"console={own.console}", f"earlycon={own.early_console}", *own.parameters)
    return " ".join([*first, *_KERNEL, *exact, *machine.append])


def command(machine: Machine) -> list[str]:
    """Return QEMU's argument list.

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
        # Without ioeventfd, a frame is in the file when the guest's write() returns. So nothing is lost at the end, and
        # no thread of QEMU decides when the guest continues, which would change the count of instructions.
        *own.channel,
        *_port(machine),
    ]


def _one_thread(machine: Machine, own: Guest) -> str:
    """Return the option that runs all CPUs of a guest on one thread, for TCG on x86-64.

    If each CPU has its own thread and the threads have to wait, a CPU sometimes runs code that another CPU has already
    changed (QEMU 10.0.13; seen when thousands of static branches changed). The kernel then dies of an INT3 that is no
    longer there. docs/guest.md lists the runs.
    """
    return ",thread=single" if own.one_thread and machine.accelerator == "tcg" and machine.cpus > 1 else ""


def _common(machine: Machine) -> list[str]:
    return [
        *(_ICOUNT if machine.exact else ()),
        # Without ACPI, the kernel finds only one CPU in each socket (SeaBIOS, mptable.c).
        *("-smp", str(machine.cpus) if machine.cpus == 1 else f"{machine.cpus},sockets={machine.cpus}"),
        *("-m", f"{machine.memory_mb}M"),
        # Only the devices of this command line: no display, no network, no default devices, no configuration files.
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
    """Return a path as the value of an option: QEMU reads two commas as one."""
    return path.replace(",", ",,")


def timeout(accelerator: str, sanitizer: str = "none", works: int = 1) -> float:
    """Return the wall seconds after which a guest is lost.

    Args:
        accelerator: `tcg` or `kvm`.
        sanitizer: the slowest sanitizer of the kernel: `none`, `ubsan` or `kasan`.
        works: number of workloads.

    Raises:
        UserError: there is no such sanitizer, or the table is wrong.
    """
    table = load_yaml(TIMEOUTS).get(accelerator)
    if not table.has(sanitizer):
        raise UserError(f"there is no sanitizer {sanitizer}{nearest(sanitizer, [name for name, _ in table.items()])}")
    limit = table.get(sanitizer).convert(Limit)
    return float(limit.boot + works * limit.work)


def sanitizer_of(config: str) -> str:
    """Return the slowest sanitizer in a kernel's `.config`."""
    on: Sequence[str] = [line for line in config.splitlines() if line.endswith("=y")]
    return next((name for name in ("kasan", "ubsan") if f"CONFIG_{name.upper()}=y" in on), "none")
