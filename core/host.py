"""What the host lacks, and getting it: Debian packages that are missing, and programs that are too old.

What comes in is a list of Debian packages; what goes out is nothing (all are there), or the exact line that installs
the missing ones. On a Debian machine the package database decides; elsewhere, and for programs that somebody installed
by hand, a program or file of the package does. Nothing is installed without root, or sudo and a yes on a terminal.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core import arch, process, store
from core.errors import InfraError, UserError

# What proves a package where dpkg does not know it: a program, or a file if it begins with a slash. Packages that are
# not here are proved by a program of their own name.
_PROOFS = {
    "binutils": "objdump",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "docker.io": "dockerd",
    "dwarves": "pahole",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "libelf-dev": "/usr/include/gelf.h",
    "libssl-dev": "/usr/include/openssl/ssl.h",
    "rust-src": "/usr/share/cargo/registry",
    "xz-utils": "xz",
    **{row.guest.package: row.guest.program for row in arch.TABLE.values()},
}
_LLVM = {"lld": "ld.lld-{}", "llvm": "llvm-ar-{}", "llvm-dev": "/usr/lib/llvm-{}/include/llvm/IR/Module.h"}
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
INSTALL_SECONDS = 1800.0


@dataclass(frozen=True)
class Need:
    """A Debian package, and the program (or file, if it begins with a slash) that proves it."""

    proof: str
    package: str


def need(package: str) -> Need:
    """The need of a package by its name alone."""
    match = re.fullmatch(r"(lld|llvm)-(\d+)(-dev)?", package)
    if match:
        return Need(_LLVM[match[1] + (match[3] or "")].format(match[2]), package)
    return Need(_PROOFS.get(package, package), package)


def _installed(packages: Sequence[str]) -> set[str]:
    """Those that the package database has as installed; none on a machine without dpkg."""
    if not packages or shutil.which("dpkg-query") is None:
        return set()
    # One line for each known package, whatever its state; unknown ones make the status 1 (dpkg-query(1)).
    found = process.capture(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages])
    return {line.split()[0] for line in found.out.splitlines() if line.endswith(" installed")}


def _proved(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof) is not None


def missing(needs: Sequence[Need]) -> list[Need]:
    """Those that are neither installed as packages nor there as programs or files."""
    installed = _installed([need.package for need in needs])
    return [need for need in needs if need.package not in installed and not _proved(need.proof)]


def apt_line(packages: Sequence[str]) -> str:
    """The exact line that installs packages."""
    return shlex.join(["apt-get", "install", "-y", "--no-install-recommends", *sorted(set(packages))])


def ensure_packages(packages: Sequence[str], *, install: bool = True) -> None:
    """Make sure that Debian packages are there; see `ensure`."""
    ensure([need(package) for package in packages], install=install)


def ensure(needs: Sequence[Need], *, install: bool = True) -> None:
    """Make sure that programs are there: as root they are installed, with sudo on a terminal after a yes.

    Args:
        install: whether anything may be installed; else what is missing is only named.

    Raises:
        InfraError: something is missing and may not or cannot be installed; the hint is the line that does it.
    """
    lacking = missing(needs)
    if not lacking:
        return
    names = sorted({need.package for need in lacking})
    if shutil.which("apt-get") is None:
        proofs = ", ".join(sorted({need.proof for need in lacking}))
        raise InfraError(f"this machine lacks {proofs}", "install them; their Debian packages are " + " ".join(names))
    line = apt_line(names)
    root = os.geteuid() == 0
    said = InfraError(f"this machine lacks {', '.join(names)}", line if root else f"sudo {line}")
    if not install or not (root or _agreed(names)):
        raise said
    _install(names, sudo=not root)
    still = sorted({need.package for need in missing(lacking)})
    if still:
        raise InfraError(f"apt-get installed no {', '.join(still)}", "see why in the log", _log())


def _agreed(names: Sequence[str]) -> bool:
    """Whether a person at the terminal lets sudo install packages."""
    if shutil.which("sudo") is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"missing: {' '.join(names)}\ninstall them with sudo? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _log() -> Path:
    return store.home() / "logs" / "apt.log"


def _install(names: Sequence[str], *, sudo: bool) -> None:
    """Run apt-get as root, or through sudo on the user's terminal.

    Raises:
        InfraError: it failed; its own words are said.
    """
    from core.progress import Progress

    print(f"installing {' '.join(names)}", file=sys.stderr, flush=True)
    update = [*_APT, "update"]
    install = [*_APT, "install", "-y", "--no-install-recommends", *names]
    with store.lock("apt"):
        if sudo:
            # sudo asks for a password on the terminal, so it must stay in the terminal's session.
            prefix = ["sudo", "env", *(f"{name}={value}" for name, value in _QUIET.items())]
            process.foreground([*prefix, *update])
            if process.foreground([*prefix, *install]) != 0:
                raise InfraError(f"apt-get could not install {' '.join(names)}", f"sudo {apt_line(names)}")
            return
        with Progress("installing packages", unit="lines") as progress:
            # An update that fails for one of several lists is not the end: what is needed may be in the others.
            for argv in (update, install):
                done = process.run(
                    argv, env=_QUIET, log=_log(), timeout=INSTALL_SECONDS, on_line=lambda line: progress.step(1, line)
                )
    if not done.ok:
        words = [line for line in done.tail if line.startswith("E: ")]
        why = "; ".join(words) or (f"no end after {INSTALL_SECONDS:g} s" if done.timed_out else "see the log")
        raise InfraError(f"apt-get could not install {' '.join(names)}: {why}", apt_line(names), _log())


def version_of(program: str, flag: str = "--version") -> str:
    """The first version number that a program says about itself, such as `14.0.6`; empty if it says none.

    Raises:
        InfraError: it is not on this machine.
    """
    said = process.capture([program, flag], env={"LC_ALL": "C.UTF-8"})
    match = re.search(r"\d+(\.\d+)+", said.out + said.err)
    return match[0] if match else ""


def need_version(program: str, least: str, *, flag: str = "--version", hint: str = "") -> str:
    """The version of a program that must be new enough.

    Args:
        least: the oldest version that works, such as `1.85`.
        hint: what to do about an old one.

    Raises:
        UserError: it is too old.
        InfraError: it is not on this machine.
    """
    from packaging.version import Version

    found = version_of(program, flag)
    if not found:
        raise UserError(f"{program} {flag} names no version; {least} or newer is needed", hint)
    if Version(found) < Version(least):
        where = shutil.which(program) or program
        raise UserError(f"{where} is version {found}, {least} or newer is needed", hint or f"install a newer {program}")
    return found
