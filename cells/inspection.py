"""Look: a person in a guest, at a debugger, or at the memory that a hung guest left.

What comes in is a cell, or a run's folder; what goes out is an exit status. Kernels come from the store, or are built.
Nothing here is a verdict, and no result is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cells import result
from cells.runs import new_folder
from core.arch import host_arch
from core.errors import UserError
from core.runtime import Image, Mount, Runtime
from guest import debug, guests, kvm, plan, shells
from guest.qemu import Size, size_of
from kernel import kernels
from kernel.built import Kernel
from kernel.cell import Cell
from kernel.workplace import Ready, open_workplace
from toolchain import image, toolchains

_IMAGE = "debug"


def _image(runtime: Runtime) -> Image | None:
    return image.ensure(_IMAGE, install=runtime.install) if runtime.name == "docker" else None


def _size(kernel: Kernel, smp: str, memory: str) -> Size:
    return size_of(smp, memory, kernel.config)


def busybox(runtime: Runtime, folder: Path) -> bytes:
    """The static busybox of this machine's architecture.

    Args:
        folder: of the run.

    Raises:
        InfraError: there is none.
    """
    mounts = [Mount(folder, "/kdf/run", writable=True)]
    with runtime.open_session(image=_image(runtime), mounts=mounts) as session:
        return shells.busybox(session, folder)


def shell(cell: Cell, runtime: Runtime, files: Sequence[Path], smp: str, memory: str) -> int:
    """Boot a cell's kernel on the user's terminal, with a shell; returns QEMU's exit status.

    Args:
        files: what the guest has in /root.
        smp, memory: of the guest, as the user says them; empty for the usual.

    Raises:
        KitError: there is no kernel, no busybox for its architecture, or no terminal.
    """
    size_of(smp, memory)
    if cell.arch != host_arch():
        raise UserError(
            f"a shell for {cell.arch} is only on such a machine",
            "run a program in it: ./invoke test.run --profile all --exec FILE",
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"there is no file {file}")
    kernel = kernels.build(cell, runtime)
    folder = new_folder(f"shell-{cell.profile.name}-{cell.names.base}")
    box = busybox(runtime, folder)
    made = toolchains.ensure(cell.toolchain, runtime, targets=(cell.arch,))
    columns, rows = shutil.get_terminal_size()
    content = shells.archive(box, files, cell.profile.name, os.environ.get("TERM", "linux"), (columns, rows))
    with toolchains.open_session(made, guests.mounts(kernel.path, folder), devices=guests.DEVICES) as session:
        proved = kvm.prove(kernel.path, cell.arch, session, folder)
        print(proved.sentence)
        return shells.enter(kernel.path, cell.arch, session, folder, content, proved.name, _size(kernel, smp, memory))


def gdb(
    cell: Cell,
    runtime: Runtime,
    commands: Sequence[str],
    smp: str,
    memory: str,
    told: Callable[[str], None],
) -> int:
    """Boot a cell's kernel with a debugger on it; returns gdb's exit status.

    Args:
        commands: of gdb; none for a person at a terminal.
        told: gets each line of gdb's if there are commands.

    Raises:
        KitError: there is no kernel, no gdb, or no terminal.
    """
    size_of(smp, memory)
    ready = kernels.prepare(cell, runtime)
    kernel = kernels.build(cell, runtime)
    folder = new_folder(f"gdb-{cell.profile.name}-{cell.names.base}")
    looked = debug.Kernel(kernel.path, cell.arch, ready.tree.path / "linux", _scripts(ready, kernel))
    opened = runtime.open_session(image=_image(runtime), mounts=looked.mounts(folder))
    guest = toolchains.open_session(ready.toolchain, guests.mounts(kernel.path, folder), devices=guests.DEVICES)
    with guest as machine, opened as debugger:
        todo = plan.draw(plan.STANDARD)
        return debug.gdb(looked, todo, machine, debugger, folder, commands, _size(kernel, smp, memory), told)


def _scripts(ready: Ready, kernel: Kernel) -> Path | None:
    """The build directory with the kernel's own scripts for gdb, if it was built for them (GDB_SCRIPTS)."""
    if kernel.config.get("GDB_SCRIPTS") != "y":
        return None
    with open_workplace(ready) as place:
        place.configure()
        done = place.session.run([*place.command, "scripts_gdb"], env=place.env, log=place.log)
        return place.build_dir if done.ok else None


def crash(folder: Path, runtime: Runtime, commands: Sequence[str], told: Callable[[str], None]) -> int:
    """Look into the memory that the guest of a run left; returns crash's exit status.

    Args:
        folder: of the run.
        commands: of crash; none for a person at a terminal.
        told: gets each line of crash's if there are commands.

    Raises:
        KitError: the run has no kernel or no memory, or there is no crash.
    """
    try:
        kernel = Path(json.loads((folder / result.FILE).read_text())["facts"]["kernel"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is no run that booted a kernel", "see ./invoke report.html for the latest") from None
    if not (kernel / "vmlinux").is_file():
        raise UserError(f"the kernel of this run is no longer in the store: {kernel}", "run it again")
    with runtime.open_session(image=_image(runtime), mounts=guests.mounts(kernel, folder)) as session:
        return debug.crash(kernel, session, folder, commands, told)
