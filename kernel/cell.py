"""Resolve the names of a cell, which is one combination of toolchain, series, configuration and Linux.

Takes `CellNames`, as a user wrote them. Gives a `Cell` with the checked data of every name. Never fetches or builds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from core import outside
from core.arch import check_arch
from core.errors import UserError
from guest.allow import Rule
from kconfig import fragment, profiles
from kconfig.fragment import Asked
from kconfig.profiles import Base, Profile, Request
from kernel import instrument
from patches import series
from patches.series import Series
from sources import catalogue
from toolchain import specs
from toolchain.specs import ToolchainSpec


@dataclass(frozen=True)
class CellNames:
    """The names from which a kernel is built, as a user writes them and as JSON shows them.

    Attributes:
        toolchain: a name of toolchains.yaml.
        series: a name of series.yaml.
        profile, base: names of profiles.yaml; a base may be `path:FILE`.
        arch: a name of `core.arch`.
        linux: a version of sources.yaml, `path:DIR`, or `git:REPOSITORY@COMMIT`.
        instrument: objects and directories to instrument, such as `fs/open.o` and `net/`.
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


@dataclass(frozen=True)
class Cell:
    """The data from which a kernel is built, with every name resolved and checked.

    Attributes:
        names: the names that were resolved.
        base_text: the user's `.config` to start from; empty if the base is not a file.
        fragments: the requests of each further fragment file of the user.
        sets: symbol -> further request from the command line.
        allow: rules for splats that do not fail its guest.
    """

    names: CellNames
    toolchain: ToolchainSpec
    series: Series
    profile: Profile
    base: Base
    base_text: str = ""
    fragments: Sequence[Sequence[Asked]] = ()
    sets: Mapping[str, Asked] = field(default_factory=dict)
    allow: Sequence[Rule] = ()

    @property
    def arch(self) -> str:
        """Return `x86_64` or `arm64`."""
        return self.names.arch

    @property
    def linux(self) -> str:
        """Return the source of Linux, as `sources.catalogue.source_tree` takes it."""
        return self.names.linux

    @property
    def instrument(self) -> tuple[str, ...]:
        """Return the objects and directories to instrument."""
        return self.names.instrument

    @property
    def label(self) -> str:
        """Return a short text for the name of a folder."""
        return f"{self.names.profile}-{self.names.base}-{self.names.arch}"

    def request(self, version: str) -> Request:
        """Compose its configuration.

        Args:
            version: of the kernel, for conditions; such as `7.1.8`.

        Raises:
            UserError: two requests give a symbol different values, and neither has precedence.
        """
        return profiles.request(
            self.profile,
            self.base,
            self.names.base,
            self.base_text,
            self.arch,
            version,
            self.fragments,
            self.sets,
        )

    def with_series(self, other: Series) -> Cell:
        """Return the same cell with another series, such as a prefix of its own series."""
        return replace(self, names=replace(self.names, series=other.name), series=other)

    def with_linux(self, spec: str) -> Cell:
        """Return the same cell with another source of Linux.

        Raises:
            UserError: there is no such source.
        """
        _check_linux(spec)
        return replace(self, names=replace(self.names, linux=spec))

    def with_fragment(self, file: Path) -> Cell:
        """Return the same cell with one more fragment file.

        Raises:
            UserError: the file is missing or malformed.
        """
        names = replace(self.names, fragments=(*self.names.fragments, str(file)))
        return replace(self, names=names, fragments=(*self.fragments, fragment.load_file(file)))

    def with_profile(self, name: str) -> Cell:
        """Return the same cell with another profile.

        Raises:
            UserError: there is no such profile.
        """
        return resolve(replace(self.names, profile=name))


def resolve(names: CellNames) -> Cell:
    """Resolve the names of a cell, without making or fetching anything.

    Raises:
        UserError: a name is not known, or a file of the user is missing or malformed.
    """
    check_arch(names.arch)
    instrument.check_words(names.instrument)
    base, profile, base_text = profiles.look_up(names.profile, names.base, names.arch)
    _check_linux(names.linux)
    return Cell(
        names,
        specs.spec(names.toolchain),
        series.load(names.series),
        profile,
        base,
        base_text,
        tuple(fragment.load_file(Path(file)) for file in names.fragments),
        profiles.read_sets(names.sets),
    )


def _check_linux(spec: str) -> None:
    catalogue.check(spec)
    kind, _, rest = spec.partition(":")
    if kind == "path" and outside.path(rest).is_dir():
        require_linux(outside.path(rest), spec)


def require_linux(folder: Path, spec: str) -> None:
    """Refuse a directory that does not have the source of Linux.

    Args:
        spec: the name that the user gave for it.

    Raises:
        UserError: it has no Makefile.
    """
    if not (folder / "Makefile").is_file():
        raise UserError(f"{spec} is not a Linux source: it has no Makefile", "name its top: --linux path:DIR")
