"""A cell: one way through the toolkit, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What a kernel is built from, by name.

    Attributes:
        toolchain: a name of toolchains.yaml.
        series: a name of series.yaml.
        profile, base: names of profiles.yaml; a base may be `path:FILE`.
        arch: a name of `core.arch`.
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
