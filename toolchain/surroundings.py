"""Surroundings of a toolchain: the image that it runs in, or the packages of the host that stand in for one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from core import process
from core.host import ensure_packages
from core.runtime import Image, Runtime
from toolchain import image, specs
from toolchain.specs import ToolchainSpec


def _host_packages(packages: Sequence[str]) -> list[str]:
    """NAME=VERSION:ARCHITECTURE of the host packages that stand in for an image, sorted."""
    found = process.capture(["dpkg-query", "-W", "-f", "${Package}=${Version}:${Architecture}\n", *packages])
    return sorted(found.out.splitlines())


def _host_identity(packages: Sequence[str]) -> str:
    """sha256 of the versions of the host packages that stand in for an image."""
    return hashlib.sha256("".join(f"{line}\n" for line in _host_packages(packages)).encode()).hexdigest()


def package_list(name: str, runtime: str, packages: str) -> list[str]:
    """The packages around a toolchain, NAME=VERSION:ARCHITECTURE, sorted; empty if nobody here knows them any more.

    Args:
        runtime: the name of it, `docker` or `host`.
        packages: the identity of them, as `of_toolchain` returned it.
    """
    if runtime == "docker":
        return image.package_list(packages)
    listed = image.host_packages(specs.spec(name).image)
    return _host_packages(listed) if _host_identity(listed) == packages else []


def of_toolchain(own: ToolchainSpec, runtime: Runtime) -> tuple[Image | None, str]:
    """Make ready what is around a toolchain: its image, or the host's packages.

    Returns:
        The image (None on the host) and the identity of the packages.
    """
    return of_image(own.image, runtime)


def of_image(name: str, runtime: Runtime) -> tuple[Image | None, str]:
    """Make an image ready, or the packages of the host that stand in for it; return it and the packages' identity."""
    if runtime.name == "docker":
        made = image.ensure(name, install=runtime.install)
        return made, made.packages
    listed = image.host_packages(name)
    ensure_packages(listed, install=runtime.install)
    return None, _host_identity(listed)
