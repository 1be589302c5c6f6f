"""Find what the host lacks (missing Debian packages, programs that are too old), and install it.

Takes a list of Debian packages. Installs the missing ones, or raises an error with the line that installs them. A
package counts as there if dpkg has it, or if its program or file exists. Never installs anything unless it runs as
root, or with sudo after a yes on a terminal.
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

# The program (or the file, if it begins with a slash) that proves a package that dpkg does not have. A package that is
# not in this table is proved by a program of the same name.
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
    """Return the need of a package by its name."""
    match = re.fullmatch(r"(lld|llvm)-(\d+)(-dev)?", package)
    if match:
        return Need(_LLVM[match[1] + (match[3] or "")].format(match[2]), package)
    return Need(_PROOFS.get(package, package), package)


def _installed(packages: Sequence[str]) -> set[str]:
    """Return the packages that dpkg lists as installed; empty on a machine without dpkg."""
    if not packages or shutil.which("dpkg-query") is None:
        return set()
    # One line for each known package in any state; the exit status is 1 if a package is unknown (dpkg-query(1)).
    done = process.capture(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages])
    return {line.split()[0] for line in done.out.splitlines() if line.endswith(" installed")}


def _proved(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof) is not None


def missing(needs: Sequence[Need]) -> list[Need]:
    """Return the needs that are neither installed packages nor existing programs or files."""
    installed = _installed([need.package for need in needs])
    return [need for need in needs if need.package not in installed and not _proved(need.proof)]


def apt_line(packages: Sequence[str]) -> str:
    """Return the shell line that installs packages."""
    return shlex.join(["apt-get", "install", "-y", "--no-install-recommends", *sorted(set(packages))])


def ensure_packages(packages: Sequence[str], *, install: bool = True) -> None:
    """Make sure that Debian packages are installed; see `ensure`."""
    ensure([need(package) for package in packages], install=install)


def ensure(needs: Sequence[Need], *, install: bool = True) -> None:
    """Make sure that programs exist: install the missing ones as root, or with sudo after a yes on a terminal.

    Args:
        install: whether anything may be installed; if not, the error only names what is missing.

    Raises:
        InfraError: something is missing and may not or cannot be installed; the hint is the line that installs it.
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
    error = InfraError(f"this machine lacks {', '.join(names)}", line if root else f"sudo {line}")
    if not install or not (root or _agreed(names)):
        raise error
    _install(names, sudo=not root)
    still = sorted({need.package for need in missing(lacking)})
    if still:
        raise InfraError(f"apt-get did not install {', '.join(still)}", "read the reason in the log", _log())


def _agreed(names: Sequence[str]) -> bool:
    """Ask the person at the terminal whether sudo may install packages; False without sudo or terminal."""
    if shutil.which("sudo") is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"missing: {' '.join(names)}\ninstall them with sudo? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _log() -> Path:
    return store.home() / "logs" / "apt.log"


def _install(names: Sequence[str], *, sudo: bool) -> None:
    """Run apt-get as root, or through sudo on the user's terminal.

    Raises:
        InfraError: it failed; the error quotes apt-get's own message.
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
            # If the update of one of several lists fails, the others may still have what is needed.
            for argv in (update, install):
                done = process.run(
                    argv, env=_QUIET, log=_log(), timeout=INSTALL_SECONDS, on_line=lambda line: progress.step(1, line)
                )
    if not done.ok:
        errors = [line for line in done.tail if line.startswith("E: ")]
        why = "; ".join(errors) or (f"still running after {INSTALL_SECONDS:g} s" if done.timed_out else "see the log")
        raise InfraError(f"apt-get could not install {' '.join(names)}: {why}", apt_line(names), _log())


def version_of(program: str, flag: str = "--version") -> str:
    """Return the first version number that a program prints, such as `14.0.6`; empty if it prints none.

    Raises:
        InfraError: the program is not on this machine.
    """
    done = process.capture([program, flag], env={"LC_ALL": "C.UTF-8"})
    match = re.search(r"\d+(\.\d+)+", done.out + done.err)
    return match[0] if match else ""


def need_version(program: str, least: str, *, flag: str = "--version", hint: str = "") -> str:
    """Return the version of a program; raise if it is too old.

    Args:
        least: the oldest version that works, such as `1.85`.
        flag: the option that makes the program print its version.
        hint: what to do about an old version.

    Raises:
        UserError: the program is too old.
        InfraError: the program is not on this machine.
    """
    from packaging.version import Version

    version = version_of(program, flag)
    if not version:
        raise UserError(f"{program} {flag} does not print a version; {least} or newer is needed", hint)
    if Version(version) < Version(least):
        where = shutil.which(program) or program
        raise UserError(
            f"{where} is version {version}, {least} or newer is needed", hint or f"install a newer {program}"
        )
    return version
