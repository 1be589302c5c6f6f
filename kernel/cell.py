"""A cell: one way through the toolkit, as data."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from core.errors import UserError, nearest

ARCHES = ("x86_64", "arm64")
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Cell:
    """What a kernel is built from, by name.

    Attributes:
        toolchain: a name of toolchains.yaml.
        series: a name of series.yaml.
        profile, base: names of profiles.yaml; a base may be `path:FILE`.
        arch: `x86_64` or `arm64`.
        linux: a version of sources.yaml, `path:DIR`, or `git:REPOSITORY@COMMIT`.
        instrument: objects and directories that are opted in, such as `fs/open.o` and `net/`.
        fragments: further fragment files of the user.
        sets: further `SYMBOL=value` requests.
    """

    toolchain: str
    series: str
    profile: str
    base: str
    arch: str
    linux: str
    instrument: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f", instrument {','.join(self.instrument)}" if self.instrument else ""
        return (
            f"profile {self.profile} on base {self.base}, Linux {self.linux} with series {self.series}, "
            f"{self.arch}, toolchain {self.toolchain}{more}"
        )


def host_arch() -> str:
    """The kernel's name for this machine's architecture.

    Raises:
        UserError: it is one that the toolkit does not know.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise UserError(f"this machine is a {machine}", f"name one with --arch: {', '.join(ARCHES)}")
    return _MACHINES[machine]


def check_arch(arch: str) -> str:
    """The architecture itself.

    Raises:
        UserError: it is none that the toolkit knows.
    """
    if arch not in ARCHES:
        raise UserError(f"there is no architecture {arch}{nearest(arch, ARCHES)}")
    return arch
