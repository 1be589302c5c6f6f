"""Boot a guest with a shell on the user's own terminal.

Takes a directory with a kernel, and the user's files. Gives QEMU's exit status. The guest has busybox, and ends when
the shell ends. Never judges or records anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core import process, store
from core.errors import InfraError, UserError
from core.runtime import Session, foreground
from guest import guests, initramfs, qemu
from guest.initramfs import Entry
from guest.qemu import Size

BUSYBOX = "busybox"
_PATHS = ("/bin/busybox", "/usr/bin/busybox")
# cttyhack gives the shell a controlling terminal, so that Ctrl-C reaches the programs in it (busybox's FAQ, "Job
# control"). With -no-reboot, QEMU exits at the reset.
_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM={term} PS1='{name} # '
mount -t proc none /proc
mount -t sysfs none /sys
mount -t debugfs none /sys/kernel/debug 2>/dev/null
mount -t devtmpfs none /dev 2>/dev/null
stty cols {columns} rows {rows} 2>/dev/null
cd /root
echo
echo "Linux $(uname -r). Your files are here; its end is the guest's. Ctrl-a x ends QEMU, Ctrl-a c is its monitor."
setsid cttyhack sh
reboot -f
"""


def busybox(session: Session, folder: Path) -> bytes:
    """Return the static busybox of a session.

    Args:
        session: of the image `debug`, or the host's.
        folder: a directory that the session may write to.

    Raises:
        InfraError: there is no busybox, or it is not static.
    """
    target = folder / BUSYBOX
    for path in _PATHS:
        if session.run(["cp", path, session.path(target)], timeout=30).ok:
            break
    else:
        raise InfraError("there is no busybox", "install the package busybox-static, or use --runtime docker")
    try:
        if why := initramfs.lacking(target):
            raise InfraError(f"busybox {why}", "install the package busybox-static, or use --runtime docker")
        return target.read_bytes()
    finally:
        target.unlink()


def archive(shell: bytes, files: Sequence[Path], name: str, term: str, size: tuple[int, int]) -> bytes:
    """Return the archive with the guest's files.

    Args:
        shell: the bytes of busybox.
        files: of the user, for the shell's directory.
        name: text of the prompt.
        size: columns and rows of the user's terminal.

    Raises:
        UserError: a file cannot be read, or two of them have the same name.
    """
    names = [file.name for file in files]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"two files are named {twice}", "rename one of them: the guest has all files in one directory")
    script = _INIT.format(term=term, name=name, columns=size[0], rows=size[1])
    entries = [initramfs.directory(folder) for folder in ("bin", "dev", "proc", "root", "sys", "tmp")]
    entries += [
        initramfs.characters("dev/console", 5, 1),
        initramfs.characters("dev/null", 1, 3),
        initramfs.regular("bin/busybox", shell, executable=True),
        initramfs.regular("init", script.encode(), executable=True),
    ]
    return initramfs.archive([*entries, *(_taken(file) for file in files)])


def _taken(file: Path) -> Entry:
    try:
        return initramfs.regular(f"root/{file.name}", file.read_bytes(), executable=True)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def enter(kernel: Path, arch: str, session: Session, folder: Path, files: bytes, accelerator: str, size: Size) -> int:
    """Boot a kernel on the user's terminal.

    Args:
        kernel: directory with its image.
        session: where QEMU runs; it sees both directories (guest.guests.mounts).
        files: the archive.

    Returns:
        QEMU's exit status.

    Raises:
        InfraError: there is no terminal, or QEMU is not installed.
    """
    initrd = folder / "initrd.cpio"
    with store.disk_errors(folder):
        initrd.write_bytes(files)
    machine = qemu.Machine(
        arch=arch,
        accelerator=accelerator,
        kernel=session.path(kernel / guests.IMAGE),
        initrd=session.path(initrd),
        console="",
        channel=session.path(folder / guests.CHANNEL),
        memory_mb=size.memory_mb,
        cpus=size.cpus,
        append=("quiet",),
        interactive=True,
    )
    argv = qemu.command(machine)
    print(process.shown(argv), flush=True)
    return foreground(session, argv)
