"""What is read from a console besides splats."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UnderTest
from guest import console


def test_the_line_that_the_rfc_times(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(
        b"[    0.000000] Linux version 7.1.8\r\n"
        b"[    0.479401] Freeing unused kernel image (initmem) memory: 1024K\r\n"
        b"[    0.480000] Freeing unused kernel image (text/rodata gap) memory: 2K\r\n"
    )
    assert console.initmem_us(log) == 479_401
    # In arm64's words.
    log.write_bytes(
        b"[    0.021210] Freeing initrd memory: 32K\r\n[    0.087398] Freeing unused kernel memory: 384K\r\n"
    )
    assert console.initmem_us(log) == 87_398
    log.write_bytes(b"Freeing unused kernel image (initmem) memory: 1024K\n")
    with pytest.raises(UnderTest, match="no line"):
        console.initmem_us(log)
