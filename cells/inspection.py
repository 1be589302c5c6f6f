"""Let a person look into a guest: with a shell, with gdb, or with crash at the memory of a hung guest.

Takes a cell, or a run's folder. Gives an exit status. Takes the kernel from the store, or builds it. Never judges a
guest and never writes a result.
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
    """Return the static busybox of this machine's architecture.

    Args:
        folder: of the run.

    Raises:
        InfraError: there is no busybox.
    """
    mounts = [Mount(folder, "/kdf/run", writable=True)]
    with runtime.open_session(image=_image(runtime), mounts=mounts) as session:
        return shells.busybox(session, folder)


def shell(cell: Cell, runtime: Runtime, files: Sequence[Path], smp: str, memory: str) -> int:
    """Boot a cell's kernel with a shell on the user's terminal; return QEMU's exit status.

    Args:
        files: files to put into the guest's /root.
        smp, memory: of the guest, as the user writes them; empty for the defaults.

    Raises:
        KitError: there is no kernel, no busybox for its architecture, or no terminal.
    """
    size_of(smp, memory)
    if cell.arch != host_arch():
        raise UserError(
            f"a shell for {cell.arch} needs a machine of that architecture",
            "run a program in the guest instead: ./invoke test.run --profile all --exec FILE",
        )
    for file in files:
        if not file.is_file():
            raise UserError(f"there is no file {file}")
    kernel = kernels.build(cell, runtime)
    folder = new_folder(f"shell-{cell.profile.name}-{cell.names.base}")
    box = busybox(runtime, folder)
    toolchain = toolchains.ensure(cell.toolchain, runtime, targets=(cell.arch,))
    columns, rows = shutil.get_terminal_size()
    content = shells.archive(box, files, cell.profile.name, os.environ.get("TERM", "linux"), (columns, rows))
    with toolchains.open_session(toolchain, guests.mounts(kernel.path, folder), devices=guests.DEVICES) as session:
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
    """Boot a cell's kernel with gdb attached; return gdb's exit status.

    Args:
        commands: gdb commands; empty for a person at a terminal.
        told: called with each line that gdb prints, if there are commands.

    Raises:
        KitError: there is no kernel, no gdb, or no terminal.
    """
    size_of(smp, memory)
    ready = kernels.prepare(cell, runtime)
    kernel = kernels.build(cell, runtime)
    folder = new_folder(f"gdb-{cell.profile.name}-{cell.names.base}")
    target = debug.Kernel(kernel.path, cell.arch, ready.tree.path / "linux", _scripts(ready, kernel))
    opened = runtime.open_session(image=_image(runtime), mounts=target.mounts(folder))
    guest = toolchains.open_session(ready.toolchain, guests.mounts(kernel.path, folder), devices=guests.DEVICES)
    with guest as machine, opened as debugger:
        todo = plan.draw(plan.STANDARD)
        return debug.gdb(target, todo, machine, debugger, folder, commands, _size(kernel, smp, memory), told)


def _scripts(ready: Ready, kernel: Kernel) -> Path | None:
    """Make the kernel's own gdb scripts and return their build directory; None if GDB_SCRIPTS is off."""
    if kernel.config.get("GDB_SCRIPTS") != "y":
        return None
    with open_workplace(ready) as work:
        work.configure()
        done = work.session.run([*work.command, "scripts_gdb"], env=work.env, log=work.log)
        return work.build_dir if done.ok else None


def crash(folder: Path, runtime: Runtime, commands: Sequence[str], told: Callable[[str], None]) -> int:
    """Open the memory dump of a run's guest in crash; return crash's exit status.

    Args:
        folder: of the run.
        commands: crash commands; empty for a person at a terminal.
        told: called with each line that crash prints, if there are commands.

    Raises:
        KitError: the run has no kernel or no memory dump, or the program crash is missing.
    """
    try:
        kernel = Path(json.loads((folder / result.FILE).read_text())["facts"]["kernel"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} is not a run that booted a kernel", "list the latest runs: ./invoke report.html"
        ) from None
    if not (kernel / "vmlinux").is_file():
        raise UserError(f"the kernel of this run is no longer in the store: {kernel}", "run it again")
    with runtime.open_session(image=_image(runtime), mounts=guests.mounts(kernel, folder)) as session:
        return debug.crash(kernel, session, folder, commands, told)
