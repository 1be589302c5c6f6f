"""A user's own program as a test of the guest: what it needs there, and what no guest can run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cells import tests
from core.arch import host_arch
from core.errors import UserError


def script(folder: Path, first: str) -> str:
    path = folder / "prog"
    path.write_text(f"#!{first}\necho hello\n")
    return str(path)


def test_a_script_for_the_shell_gets_busybox(tmp_path: Path) -> None:
    own = tests.own_program([script(tmp_path, "/bin/sh -e"), "two words"], host_arch())
    assert own.busybox
    assert own.program.path == "/bin/busybox"
    assert own.program.arguments[-4:] == ("sh", "-e", "/kdf/tests/exec/prog", "two words")
    assert [entry.name for entry in own.files] == ["kdf/tests/exec/prog"]


def test_another_interpreter_is_taken_along(tmp_path: Path) -> None:
    static, source = tmp_path / "lisp", tmp_path / "lisp.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", str(static), str(source)], check=True)
    own = tests.own_program([script(tmp_path, f"{static} -q")], host_arch())
    assert not own.busybox
    assert (own.program.path, own.program.arguments) == ("/kdf/tests/exec/bin/lisp", ("-q", "/kdf/tests/exec/prog"))
    assert [entry.name for entry in own.files] == ["kdf/tests/exec/prog", "kdf/tests/exec/bin/lisp"]


@pytest.mark.parametrize(
    ("first", "arch", "said"),
    [
        ("/no/such/thing", host_arch(), "is a script for /no/such/thing, which does not exist"),
        (os.path.realpath("/usr/bin/env"), host_arch(), "which needs a dynamic linker"),
        ("/bin/sh", "arm64" if host_arch() == "x86_64" else "x86_64", "this machine cannot provide one for"),
    ],
)
def test_scripts_that_no_guest_runs(tmp_path: Path, first: str, arch: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        tests.own_program([script(tmp_path, first)], arch)
