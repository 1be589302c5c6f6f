"""Missing packages: named, refused, installed; dpkg, apt and sudo are played by scripts."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from core import host
from core.errors import InfraError, UserError
from core.host import Need

# The package database is the file `installed`; every call of apt-get and sudo is a line of `calls`.
SCRIPTS = {
    "dpkg-query": """
shift 3
status=0
for name in "$@"; do
    if grep -qx "$name" "$FAKE/installed"; then echo "$name installed"
    elif grep -qx "$name" "$FAKE/removed"; then echo "$name config-files"
    else echo "dpkg-query: no packages found matching $name" >&2; status=1; fi
done
exit $status
""",
    "apt-get": """
echo "apt-get $*; $DEBIAN_FRONTEND" >> "$FAKE/calls"
case " $* " in
*" update "*) exit "$(cat "$FAKE/update" 2>/dev/null || echo 0)" ;;
esac
for name in "$@"; do
    case $name in
    lost) echo "Reading package lists..."; echo "E: Unable to locate package lost"; exit 100 ;;
    hollow | -* | install | DPkg*) ;;
    *) echo "$name" >> "$FAKE/installed" ;;
    esac
done
""",
    "sudo": 'echo "sudo" >> "$FAKE/calls"; exec "$@"',
    "old": "echo 'old (GNU) 1.9.2 of 2020'",
    "mute": "echo 'no number'",
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian machine with root, whose only package is `there`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    for name, text in (("installed", "there\n"), ("removed", "gone\n"), ("calls", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("FAKE", str(tmp_path))
    # Only what the scripts themselves need comes from the real machine.
    for tool in ("sh", "grep", "cat", "env"):
        real = next(Path(d) / tool for d in ("/usr/bin", "/bin") if (Path(d) / tool).exists())
        (folder / tool).symlink_to(real)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def calls(fake: Path) -> list[str]:
    return (fake / "calls").read_text().splitlines()


def test_what_is_there_needs_nothing(fake: Path) -> None:
    host.ensure_packages(["there", "grep"])
    host.ensure([Need("/", "some-package")])
    host.ensure([])
    assert calls(fake) == []


def test_a_removed_package_is_missing(fake: Path) -> None:
    needs = [host.need(name) for name in ("there", "gone", "unknown")]
    assert [need.package for need in host.missing(needs)] == ["gone", "unknown"]


def test_root_installs_what_is_missing(fake: Path) -> None:
    host.ensure_packages(["there", "flexx", "bisonn"])
    assert calls(fake) == [
        "apt-get -o DPkg::Lock::Timeout=600 update; noninteractive",
        "apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends bisonn flexx; noninteractive",
    ]
    log = (Path(os.environ["KDF_HOME"]) / "logs" / "apt.log").read_text()
    assert log.count("$ DEBIAN_FRONTEND=noninteractive") == 2


def test_a_failed_update_is_not_the_end(fake: Path) -> None:
    (fake / "update").write_text("100")
    host.ensure_packages(["flexx"])


def test_refusing_names_the_line(fake: Path) -> None:
    with pytest.raises(InfraError, match="this machine lacks bisonn, flexx") as caught:
        host.ensure_packages(["flexx", "bisonn", "flexx"], install=False)
    assert caught.value.hint == "apt-get install -y --no-install-recommends bisonn flexx"
    assert calls(fake) == []


def test_packages_that_apt_does_not_have(fake: Path) -> None:
    with pytest.raises(InfraError, match="E: Unable to locate package lost") as caught:
        host.ensure_packages(["lost"])
    assert caught.value.log is not None
    with pytest.raises(InfraError, match="apt-get did not install hollow"):
        host.ensure_packages(["hollow"])


@pytest.mark.parametrize(
    ("answer", "terminal", "installs"), [("y\n", True, True), ("\n", True, False), ("y\n", False, False)]
)
def test_a_user_is_asked(
    answer: str, terminal: bool, installs: bool, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    if installs:
        host.ensure_packages(["flexx"])
        assert calls(fake)[0] == "sudo"
        return
    with pytest.raises(InfraError) as caught:
        host.ensure_packages(["flexx"])
    assert caught.value.hint == "sudo apt-get install -y --no-install-recommends flexx"
    assert calls(fake) == []


def test_another_distribution(fake: Path) -> None:
    (fake / "bin" / "apt-get").unlink()
    (fake / "bin" / "dpkg-query").unlink()
    with pytest.raises(InfraError, match=r"this machine lacks /nowhere/at/all, ld\.lld-19") as caught:
        host.ensure([host.need("lld-19"), Need("/nowhere/at/all", "libnowhere-dev"), Need("grep", "grep")])
    assert "apt-get" not in caught.value.hint
    assert "libnowhere-dev lld-19" in caught.value.hint


@pytest.mark.parametrize(
    ("package", "proof"),
    [
        ("clang-19", "clang-19"),
        ("lld-23", "ld.lld-23"),
        ("llvm-23", "llvm-ar-23"),
        ("llvm-19-dev", "/usr/lib/llvm-19/include/llvm/IR/Module.h"),
        ("qemu-system-x86", "qemu-system-x86_64"),
        ("bc", "bc"),
    ],
)
def test_proofs(package: str, proof: str) -> None:
    assert host.need(package) == Need(proof, package)


def test_versions(fake: Path) -> None:
    assert host.need_version("old", "1.9") == "1.9.2"
    with pytest.raises(UserError, match=r"bin/old is version 1.9.2, 1.10 or newer is needed") as caught:
        host.need_version("old", "1.10")
    assert "newer old" in caught.value.hint
    with pytest.raises(UserError, match="does not print a version"):
        host.need_version("mute", "1")
    with pytest.raises(InfraError, match="the program none is not on this machine"):
        host.need_version("none", "1")
