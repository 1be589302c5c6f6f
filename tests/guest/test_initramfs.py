"""The cpio writer, read back by the system's own cpio and by a reader of ours."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from core.errors import UserError
from guest import initramfs, shells
from guest.initramfs import Entry


def entries_of(data: bytes) -> dict[str, Entry]:
    """All entries of one or more archives, one behind the other, as the kernel reads them (init/initramfs.c)."""
    found: dict[str, Entry] = {}
    at = 0
    while at < len(data):
        assert data[at : at + 6] == b"070701", at
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        assert at % 4 == 0
        mode, size, major, minor, name_size = numbers[1], numbers[6], numbers[9], numbers[10], numbers[11]
        assert numbers[5] == 0, "no time"
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) // 4 * 4
        if name != "TRAILER!!!":
            found[name] = Entry(name, mode, data[at : at + size], (major, minor))
        at = (at + size + 3) // 4 * 4
    return found


def test_the_base_archive() -> None:
    made = initramfs.base(b"agent!")
    found = entries_of(made)
    assert found["init"].data == b"agent!"
    assert stat.S_IMODE(found["init"].mode) == 0o755
    assert stat.S_ISCHR(found["dev/console"].mode)
    assert found["dev/console"].device == (5, 1)
    assert {"proc", "sys", "tmp", "dev"} <= set(found)
    assert made == initramfs.base(b"agent!")


def test_two_archives_behind_each_other(tmp_path: Path) -> None:
    program, module = tmp_path / "prog", tmp_path / "x.ko"
    program.write_bytes(b"\x7fELF")
    module.write_bytes(b"mod")
    extra = initramfs.regular("data/deep/file", b"x" * 5)
    found = entries_of(initramfs.base(b"a") + initramfs.run_files("k=v\n", program, [module], [extra]))
    assert found["kdf.plan"].data == b"k=v\n"
    assert stat.S_IMODE(found["kdf.exec"].mode) == 0o755
    assert found["kdf/modules/x.ko"].data == b"mod"
    assert found["data/deep/file"].data == b"xxxxx"
    assert stat.S_ISDIR(found["data"].mode)
    assert list(found).index("data") < list(found).index("data/deep") < list(found).index("data/deep/file")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio here")
def test_the_systems_cpio_reads_it() -> None:
    made = initramfs.base(b"agent!")
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=made, capture_output=True, check=True)
    assert listed.stdout.decode().split() == list(entries_of(made))


@pytest.mark.parametrize("name", ["", "/etc", "a\0b"])
def test_names_that_no_archive_has(name: str) -> None:
    with pytest.raises(ValueError):
        initramfs.archive([initramfs.regular(name, b"")])


def test_a_name_twice() -> None:
    with pytest.raises(ValueError):
        initramfs.archive([initramfs.directory("a"), initramfs.directory("a")])


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        initramfs.run_files("", tmp_path / "none")


def test_two_files_of_one_name_for_the_shell_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    for file in files:
        file.parent.mkdir()
        file.write_text("x")
    with pytest.raises(UserError, match="two files are named x"):
        shells.archive(b"busybox", files, "all", "xterm", (80, 24))
