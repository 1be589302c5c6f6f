"""invoke guest.*: boot kernels."""

from __future__ import annotations

from typing import Any

from commands.cells import MEMORY_HELP, SMP_HELP, Asked, cell_command
from commands.common import print_json


@cell_command(smp=SMP_HELP, memory=MEMORY_HELP)
def boot(_c: Any, asked: Asked, smp: str = "", memory: str = "") -> None:
    """Build a kernel, boot it, and say whether it came up. Example: ./invoke guest.boot --profile none --base tiny"""
    from ci import run as cells
    from guest import plan, qemu
    from kconfig import survival
    from kernel import build as kernels

    qemu.size_of(smp, memory)
    kernel = kernels.build(asked.cell, asked.where, install=asked.install, guard=asked.guard)
    folder = cells.new_folder(f"boot-{asked.cell.profile}-{asked.cell.base}-{asked.cell.arch}")
    size = qemu.size_of(smp, memory, survival.values((kernel.path / "config").read_text()))
    booted = cells.boot(asked.cell, kernel, asked.where, plan.draw([]), folder, install=asked.install, size=size)
    verdict, release = booted.verdict, booted.outcome.said.hello.get("release", "")
    if asked.json:
        print_json(
            {
                "status": str(verdict.status),
                "reasons": list(verdict.reasons),
                "release": release,
                "seconds": round(booted.outcome.ended.seconds, 2),
                "accelerator": booted.accelerator,
                "device": booted.outcome.said.device,
                "folder": str(folder),
            }
        )
    verdict.require(booted.outcome.console)
    if not asked.json:
        print(booted.accelerator)
        print(f"{verdict.status}: {release} in {booted.outcome.ended.seconds:.1f} s\n{booted.outcome.console}")
