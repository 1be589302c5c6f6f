"""Shell: a guest with a person in it, on the user's own terminal.

What comes in is a directory with a kernel and the user's files; what goes out is QEMU's exit status. The guest has
busybox and nothing of the host; it ends when the shell does. Nothing is judged or recorded here.
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
_PLACES = ("/bin/busybox", "/usr/bin/busybox")
# cttyhack gives the shell a terminal of its own, so that Ctrl-C reaches what runs in it (busybox's FAQ, "Job control").
# -no-reboot turns the reset into QEMU's end.
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
    """The static busybox of a session.

    Args:
        session: of the image `debug`, or the host's.
        folder: a directory that the session may write to.

    Raises:
        InfraError: there is none, or it needs libraries that no guest has.
    """
    target = folder / BUSYBOX
    for place in _PLACES:
        if session.run(["cp", place, session.path(target)], timeout=30).ok:
            break
    else:
        raise InfraError("there is no busybox", "install the package busybox-static, or say --runtime docker")
    try:
        if why := initramfs.lacking(target):
            raise InfraError(f"busybox {why}", "install the package busybox-static, or say --runtime docker")
        return target.read_bytes()
    finally:
        target.unlink()


def archive(shell: bytes, files: Sequence[Path], name: str, term: str, size: tuple[int, int]) -> bytes:
    """The guest's files.

    Args:
        shell: busybox.
        files: of the user, for the shell's directory.
        name: what the prompt says.
        size: columns and rows of the user's terminal.

    Raises:
        UserError: a file cannot be read, or two have one name.
    """
    script = _INIT.format(term=term, name=name, columns=size[0], rows=size[1])
    entries = [initramfs.directory(one) for one in ("bin", "dev", "proc", "root", "sys", "tmp")]
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
        InfraError: there is no terminal, or no QEMU.
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
