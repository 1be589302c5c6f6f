"""Write the golden console logs again: boot kernels that are made to misbehave, keep what QEMU and the console said.

    python tests/golden/console/make.py [--only LOG,LOG] [NAME=KERNEL ...]

The kernels are tiny ones of Linux 7.1.8, named in KERNELS; each is built if a case needs it, unless the line names a
directory with its `image`. Each log is NAME.log with NAME.json beside it; what a test expects of it is in
tests/guest/test_verdict_golden.py, written by a person who read the log. Needs clang-19 and QEMU on this machine.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from core import process, runtime, step
from guest import agent, initramfs, qemu
from kernel import kernels
from kernel.cell import CellNames, resolve

HERE = Path(__file__).parent
KEPT = 25000  # bytes of a long log's beginning and end


# Name -> profile and fragment.
KERNELS = {
    "plain": ("none", ""),
    "debug": ("none", "debug.config"),
    "kasan": ("none", "kasan.config"),
    "sanitized": ("kasan", "sanitized.config"),
    "smp": ("none", "smp.config"),
}


@dataclass(frozen=True)
class Case:
    """One way to misbehave: on which kernel, what, with which parameters, how long QEMU may run, on how many CPUs."""

    name: str
    kernel: str
    how: str
    append: tuple[str, ...] = ()
    seconds: float = 60.0
    cpus: int = 1


CASES = (
    Case("init-exits", "plain", "exit"),
    Case("init-segfaults", "plain", "segv"),
    Case("init-missing", "plain", "exit", ("rdinit=/missing",)),
    Case("sysrq-crash", "plain", "sysrq c"),
    Case("out-of-memory-init", "plain", "oom-init"),
    Case("out-of-memory-child", "plain", "oom-child"),
    Case("triple-fault", "plain", "reboot", ("reboot=t",)),
    Case("silent-restart", "plain", "reboot"),
    Case("sleeps-for-ever", "plain", "sleep", (), 6),
    Case("spins-for-ever", "plain", "spin", (), 6),
    Case("killed-before-boot", "plain", "sleep", (), 0.5),
    Case("killed-while-booting", "plain", "sleep", (), 1.3),
    Case("never-stops-talking", "plain", "talk", ("printk.devkmsg=on",), 4),
    Case("harmless-noise", "plain", "noise"),
    Case("null-dereference", "debug", "crash EXCEPTION"),
    Case("execute-null", "debug", "crash EXEC_NULL"),
    Case("write-read-only", "debug", "crash WRITE_RO"),
    Case("bug", "debug", "crash BUG"),
    Case("panic", "debug", "crash PANIC"),
    Case("warning", "debug", "crash WARNING"),
    Case("warning-message", "debug", "crash WARNING_MESSAGE"),
    Case("stack-overflow", "debug", "crash EXHAUST_STACK"),
    Case("stack-smashed", "debug", "crash CORRUPT_STACK"),
    Case("list-corrupted", "debug", "crash CORRUPT_LIST_ADD"),
    Case("refcount", "debug", "crash REFCOUNT_INC_OVERFLOW"),
    Case("soft-lockup", "debug", "crash SOFTLOCKUP", ("watchdog_thresh=2",), 30),
    Case("rcu-stall", "smp", "stall SOFTLOCKUP", ("nosoftlockup", "rcupdate.rcu_cpu_stall_timeout=3"), 12, 2),
    Case("hung-task", "debug", "child-crash HUNG_TASK", ("hung_task_panic=1",), 40),
    Case("loops-for-ever", "debug", "crash LOOP", ("nosoftlockup",), 6),
    Case("kasan-use-after-free", "kasan", "crash WRITE_AFTER_FREE"),
    Case("kasan-out-of-bounds", "kasan", "crash SLAB_LINEAR_OVERFLOW"),
    Case("kasan-null-dereference", "kasan", "crash EXCEPTION"),
    Case("ubsan-bounds", "kasan", "crash ARRAY_BOUNDS"),
    Case("lock-left-held", "kasan", "crash SPINLOCKUP"),
    Case("bug-in-interrupt", "sanitized", "crash BUG_IN_HARDIRQ"),
    Case("panic-in-interrupt", "sanitized", "crash PANIC_IN_HARDIRQ"),
    Case("bug-in-child", "sanitized", "child-crash BUG"),
    Case("locked-twice", "sanitized", "crash SPINLOCKUP+SPINLOCKUP", ("nosoftlockup",), 12),
    Case("sleeps-while-atomic", "sanitized", "crash SPINLOCKUP+sleep"),
    Case("kasan-double-free", "sanitized", "crash SLAB_FREE_DOUBLE"),
    Case("kasan-vmalloc", "sanitized", "crash VMALLOC_LINEAR_OVERFLOW"),
    Case("kasan-read-after-free", "sanitized", "crash READ_AFTER_FREE"),
    Case("kasan-user-address", "sanitized", "crash ACCESS_USERSPACE"),
    Case("usercopy", "sanitized", "crash USERCOPY_SLAB_SIZE_TO"),
    Case("list-deleted", "sanitized", "crash CORRUPT_LIST_DEL"),
    Case("two-splats", "sanitized", "crash WARNING+WRITE_AFTER_FREE"),
)


def make(case: Case, image: Path, misbehave: Path, work: Path) -> None:
    """Boot one case and keep its log."""
    initrd, log, facts = work / "initrd.cpio", HERE / f"{case.name}.log", HERE / f"{case.name}.json"
    initrd.write_bytes(initramfs.base(misbehave.read_bytes()) + initramfs.run_files(case.how + "\n"))
    log.unlink(missing_ok=True)
    machine = qemu.Machine(
        "x86_64",
        "tcg",
        str(image),
        str(initrd),
        str(log),
        str(work / "channel.bin"),
        append=case.append,
        memory_mb=256,
        cpus=case.cpus,
    )
    done = process.run(qemu.command(machine), log=work / "qemu.log", timeout=case.seconds)
    if len(said := log.read_bytes()) > 2 * KEPT:
        log.write_bytes(said[:KEPT] + b"\n(cut here)\n" + said[-KEPT:])
    value = {"code": done.code, "timed_out": done.timed_out, "kernel": case.kernel, "how": case.how}
    facts.write_text(json.dumps(value | {"append": list(case.append)}, indent=2, sort_keys=True) + "\n")
    print(f"{case.name}: code {done.code}, timed out {done.timed_out}, {done.seconds:.1f} s", flush=True)


def image_of(name: str) -> Path:
    """The image of a kernel of KERNELS, built if the store does not have it."""
    profile, fragment = KERNELS[name]
    fragments = (str(HERE / fragment),) if fragment else ()
    cell = resolve(CellNames("plugin-19", "kit", profile, "tiny", "x86_64", "7.1.8", fragments=fragments))
    return kernels.build(cell, runtime.choose("auto")).path / "image"


def misbehave(work: Path) -> Path:
    """misbehave.c as a static program."""
    out = work / "misbehave"
    sources = [str(HERE / "misbehave.c"), str(agent.SOURCES / "text.c")]
    step.require(
        process.run(agent.compile_command("clang-19", "x86_64", sources, str(out))), "compiling misbehave.c", None
    )
    return out


def main(arguments: list[str]) -> None:
    only = set(arguments.pop(arguments.index("--only") + 1).split(",")) if "--only" in arguments else None
    images = {
        name: Path(folder) / "image" for name, _, folder in (word.partition("=") for word in arguments if "=" in word)
    }
    work = Path("/tmp") / "misbehave-work"  # noqa: S108
    work.mkdir(exist_ok=True)
    program = misbehave(work)
    for case in CASES:
        if only is None or case.name in only:
            if case.kernel not in images:
                images[case.kernel] = image_of(case.kernel)
            make(case, images[case.kernel], program, work)


if __name__ == "__main__":
    main(sys.argv[1:])
