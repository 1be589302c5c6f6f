"""Prepare the surroundings of a toolchain: its image, or the host's packages in place of an image.

Takes a toolchain or the name of an image, and a runtime. Gives the image and the identity of the packages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from core import process
from core.host import ensure_packages
from core.runtime import Image, Runtime
from toolchain import image, specs
from toolchain.specs import ToolchainSpec


def _host_packages(packages: Sequence[str]) -> list[str]:
    """Return the sorted NAME=VERSION:ARCHITECTURE of the host packages that replace an image."""
    listing = process.capture(["dpkg-query", "-W", "-f", "${Package}=${Version}:${Architecture}\n", *packages])
    return sorted(listing.out.splitlines())


def _host_identity(packages: Sequence[str]) -> str:
    """Return the sha256 of the list of the host packages that replace an image."""
    return hashlib.sha256("".join(f"{line}\n" for line in _host_packages(packages)).encode()).hexdigest()


def package_list(name: str, runtime: str, packages: str) -> list[str]:
    """Return the sorted NAME=VERSION:ARCHITECTURE around a toolchain; empty if this machine no longer has the list.

    Args:
        runtime: its name, `docker` or `host`.
        packages: their identity, as `of_toolchain` returned it.
    """
    if runtime == "docker":
        return image.package_list(packages)
    listed = image.host_packages(specs.spec(name).image)
    return _host_packages(listed) if _host_identity(listed) == packages else []


def of_toolchain(own: ToolchainSpec, runtime: Runtime) -> tuple[Image | None, str]:
    """Prepare the surroundings of a toolchain: its image, or the host's packages.

    Returns:
        The image (None on the host) and the identity of the packages.
    """
    return of_image(own.image, runtime)


def of_image(name: str, runtime: Runtime) -> tuple[Image | None, str]:
    """Prepare an image, or the host packages that replace it; return the image and the packages' identity."""
    if runtime.name == "docker":
        made = image.ensure(name, install=runtime.install)
        return made, made.packages
    listed = image.host_packages(name)
    ensure_packages(listed, install=runtime.install)
    return None, _host_identity(listed)
