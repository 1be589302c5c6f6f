"""Make a toolchain, or find it in the store; open sessions that see it.

What comes in is a name and a runtime; what goes out is a directory with `bin/clang` and the LLVM tools that `LLVM=` of
a kernel build takes, and its manifest. A toolchain of one runtime is never used in the other: the compilers differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import process, runtime, store
from core.host import ensure_packages
from core.runtime import Image, Mount, Session
from core.store import Product
from toolchain import image, names

PASS_FOLDER = Path(__file__).parent / "pass"
INSIDE = "/kdf/toolchain"


@dataclass(frozen=True)
class Toolchain:
    """A toolchain that is ready.

    Attributes:
        runtime: where it runs, `docker` or `host`.
        image: the image that it runs in; None on the host.
        packages: sha256 of the packages around it: the image's, or those of the host that the image would have.
    """

    name: str
    product: Product
    runtime: str
    image: Image | None
    packages: str

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Versions, hashes and the callback generation, as the build found them."""
        loaded: Mapping[str, Any] = json.loads((self.product.path / "manifest.json").read_text())
        return loaded

    @property
    def generation(self) -> str | None:
        """The callback generation that a probe found, or None if it has no pass."""
        found = self.manifest.get("generation")
        return str(found) if found else None


def default_name() -> str:
    """The toolchain to use when none is named: the first preferred one that was ever built, else the last."""
    preferred = names.load()[1]
    kinds = {p.metadata["inputs"].get("name") for p in store.products() if p.kind == "toolchain"}
    return next((name for name in preferred if name in kinds), preferred[-1])


def _host_identity(packages: Sequence[str]) -> str:
    """sha256 of the versions of the host packages that stand in for an image."""
    found = process.capture(["dpkg-query", "-W", "-f", "${Package}=${Version}:${Architecture}\n", *packages])
    return hashlib.sha256("".join(sorted(found.out.splitlines(keepends=True))).encode()).hexdigest()


def place(name: str, where: str, *, install: bool = True) -> tuple[Image | None, str]:
    """Make ready what is around a toolchain: its image, or the host's packages.

    Args:
        where: `docker` or `host`.
        install: whether missing host packages may be installed.

    Returns:
        The image (None on the host) and the identity of the packages.
    """
    own = names.spec(name)
    if where == "docker":
        made = image.ensure(own.image, install=install)
        return made, made.packages
    packages = image.host_packages(own.image)
    ensure_packages(packages, install=install)
    return None, _host_identity(packages)


def _pass_hash() -> str:
    """sha256 over the names and bytes of the pass sources and of the recipe that compiles them."""
    digest = hashlib.sha256()
    files = [p for p in PASS_FOLDER.rglob("*") if p.is_file()] + [PASS_FOLDER.parent / "plugin.py"]
    for path in sorted(files):
        digest.update(f"{path.name}\0{store.hash_file(path)}\n".encode())
    return digest.hexdigest()


def ensure(name: str, where: str, *, install: bool = True) -> Toolchain:
    """A toolchain by name, made now if the store does not have it.

    Args:
        where: `docker` or `host`, as `runtime.choose` returned it.
        install: whether missing host packages may be installed.

    Raises:
        UserError: there is none of that name.
        UnderTest: our pass does not compile with this LLVM.
        InfraError: no engine, no disk, no packages.
    """
    own = names.spec(name)
    made, packages = place(name, where, install=install)
    inputs = {
        "name": name,
        "kind": own.kind,
        "llvm": own.llvm,
        "pass": _pass_hash(),
        "packages": packages,
        "runtime": where,
        "machine": platform.machine(),
    }

    def work(tmp: Path) -> dict[str, Any]:
        from toolchain import plugin

        mounts = [Mount(PASS_FOLDER, "/kdf/pass"), Mount(tmp, INSIDE, writable=True)]
        with runtime.open_session(where, image=made, mounts=mounts) as session:
            plugin.build(session, own.llvm, PASS_FOLDER, tmp, with_pass=own.kind == "plugin")
        return {}

    return Toolchain(name, store.make("toolchain", inputs, work), where, made, packages)


@contextlib.contextmanager
def open_session(
    toolchain: Toolchain, mounts: Sequence[Mount] = (), *, devices: Sequence[str] = ()
) -> Iterator[Session]:
    """A session in the toolchain's image, or on the host, that sees the toolchain read-only."""
    with runtime.open_session(
        toolchain.runtime,
        image=toolchain.image,
        mounts=[Mount(toolchain.product.path, INSIDE), *mounts],
        devices=devices,
    ) as session:
        yield session
