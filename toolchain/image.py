"""Make container images from `images/images.yaml` and one Dockerfile.

Takes the name of an image. Gives the engine's image and its identity: a hash of the sorted list of its packages with
their versions, because an image id differs each time an image is made. The store has the list of each image; an image
that the engine no longer has is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import engine, process, store
from core.arch import of_host
from core.data import load_yaml
from core.errors import InfraError, UserError, nearest
from core.host import ensure_packages
from core.progress import Progress
from core.runtime import Image
from sources.origins import apt_origin

FOLDER = Path(__file__).parent / "images"
_DOCKERFILE = FOLDER / "kernel.Dockerfile"
# The program that makes the base image, and the keys with which it checks the packages.
_BOOTSTRAP_PACKAGES = ("mmdebstrap", "debian-archive-keyring")
_QUERY = ["dpkg-query", "-W", "-f", "${Package}=${Version}:${Architecture}\n"]


@dataclass(frozen=True)
class ImageSpec:
    """One image of images.yaml.

    Attributes:
        stands_on: the image that it is based on; empty for the base image.
        suite: a second distribution suite to install from; empty for none.
        packages: Debian packages that a host needs as well, for the same work.
        image_packages: Debian packages that only the image has.
    """

    name: str
    about: str
    stands_on: str = ""
    suite: str = ""
    packages: tuple[str, ...] = ()
    image_packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseSpec:
    """The base of every image: a suite, and the digest to pull, if it is known."""

    suite: str
    digest: str = ""


def specs() -> tuple[BaseSpec, dict[str, ImageSpec]]:
    """Read images.yaml.

    Raises:
        UserError: it is malformed.
    """
    root = load_yaml(FOLDER / "images.yaml")
    root.only("base", "images")
    base = root.get("base").convert(BaseSpec)
    images: dict[str, ImageSpec] = {}
    for name, node in root.mapping("images").items():
        own = node.convert(ImageSpec, name=name)
        if own.stands_on and own.stands_on not in images:
            raise node.get("stands_on").error(
                f"there is no image {own.stands_on} above{nearest(own.stands_on, images)}"
            )
        images[name] = own
    digest = os.environ.get("KDF_BASE_IMAGE", "") or base.digest
    if digest and "@sha256:" not in digest:
        raise UserError(f"the base image {digest} is not pinned", "name it as NAME@sha256:DIGEST")
    return replace(base, digest=digest), images


def spec(name: str) -> ImageSpec:
    """Return an image of images.yaml.

    Raises:
        UserError: there is no image of that name.
    """
    images = specs()[1]
    if name not in images:
        raise UserError(f"there is no image {name}{nearest(name, images)}")
    return images[name]


def host_packages(name: str) -> list[str]:
    """Return the Debian packages that a host needs in place of the image."""
    images = specs()[1]
    own = spec(name)
    below = host_packages(own.stands_on) if own.stands_on else []
    return sorted({*below, *images[name].packages})


def ensure(name: str, *, renew: bool = False, install: bool = True) -> Image:
    """Return an image; make it if the engine does not have it.

    Args:
        renew: whether to make it even if the engine has it.
        install: whether mmdebstrap may be installed on the host, if the base has to be made.

    Raises:
        UserError: there is no image of that name.
        InfraError: there is no engine, or the image could not be made.
    """
    own = spec(name)
    below = ensure(own.stands_on, install=install) if own.stands_on else _ensure_base(install=install)
    inputs = {
        "dockerfile": store.hash_file(_DOCKERFILE),
        "below": below.packages,
        "packages": sorted({*own.packages, *own.image_packages}),
        "suite": own.suite,
    }
    client = engine.client()
    try:
        metadata = None if renew else _known(client, inputs)
        if metadata:
            return Image(name, metadata["ref"], metadata["packages"])
        product = store.make(
            "image",
            inputs,
            lambda tmp: _build(client, own, below.ref, inputs, tmp / "build.log"),
            renew=True,
        )
        return Image(name, product.metadata["ref"], product.metadata["packages"])
    finally:
        client.close()


def _known(client: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the metadata of an image that was made from these inputs and that the engine still has, or None."""
    import docker.errors

    product = store.find("image", inputs)
    if product is None:
        return None
    with engine.errors("looking for an image"):
        try:
            client.images.get(product.metadata["ref"])
        except docker.errors.ImageNotFound:
            return None
    return product.metadata


def _build(client: Any, own: ImageSpec, below: str, inputs: Mapping[str, Any], log: Path) -> dict[str, Any]:
    """Run the Dockerfile, and write its output to the log."""
    with (
        engine.errors(f"building the image {own.name}"),
        Progress(f"image {own.name}", unit="lines") as progress,
        log.open("w") as out,
    ):
        failed = ""
        for event in client.api.build(
            path=str(FOLDER),
            dockerfile=_DOCKERFILE.name,
            decode=True,
            rm=True,
            forcerm=True,
            tag=f"kcov-dataflow-kit/{own.name}:{store.key_of(inputs)[:12]}",
            buildargs={"BASE": below, "PACKAGES": " ".join(inputs["packages"]), "SUITE": own.suite},
        ):
            text = event.get("stream", "") or event.get("error", "")
            out.write(text)
            failed = event.get("error", failed)
            progress.step(text.count("\n"), text.strip())
    if failed:
        # The engine repeats the whole instruction, and the error is at its end.
        why = " ".join(failed.split())[-120:]
        raise InfraError(f"building the image {own.name} failed: {why}", "read the log", _keep(log, own.name))
    with engine.errors(f"looking at the image {own.name}"):
        ref = client.images.get(f"kcov-dataflow-kit/{own.name}:{store.key_of(inputs)[:12]}").id
    return {"name": own.name, "ref": ref, "packages": _packages(client, ref, log.parent)}


def _keep(log: Path, name: str) -> Path:
    """Copy a log out of its temporary directory; return the copy."""
    kept = store.home() / "logs" / f"image-{name}.log"
    store.write_text(kept, log.read_text(errors="replace"))
    return kept


def _packages(client: Any, ref: str, folder: Path) -> str:
    """Write the list of packages of an image to packages.txt; return its hash."""
    with engine.errors("listing the packages of an image"):
        text = client.containers.run(ref, _QUERY, remove=True, network_mode="none").decode()
    listing = "".join(sorted(text.splitlines(keepends=True)))
    (folder / "packages.txt").write_text(listing)
    return hashlib.sha256(listing.encode()).hexdigest()


def package_list(packages: str) -> list[str]:
    """Return the sorted NAME=VERSION:ARCHITECTURE of the image with this identity; empty if it is not in the store."""
    for product in reversed(store.products()):
        if product.kind == "image" and product.metadata.get("packages") == packages:
            with contextlib.suppress(FileNotFoundError):
                return (product.path / "packages.txt").read_text().splitlines()
    return []


def _ensure_base(*, install: bool) -> Image:
    """Return the base image; pull it by digest, or make it with mmdebstrap."""
    base, _images = specs()
    inputs = {"suite": base.suite, "digest": base.digest, "machine": platform.machine()}
    client = engine.client()
    try:
        metadata = _known(client, inputs)
        if metadata is None:
            if not base.digest:
                ensure_packages(_BOOTSTRAP_PACKAGES, install=install)
            work = _pull_base if base.digest else _bootstrap_base
            metadata = store.make("image", inputs, lambda tmp: work(client, base, tmp), renew=True).metadata
        return Image("base", metadata["ref"], metadata["packages"])
    finally:
        client.close()


def _pull_base(client: Any, base: BaseSpec, tmp: Path) -> dict[str, Any]:
    with engine.errors(f"pulling {base.digest}"):
        ref = client.images.pull(base.digest).id
    return {"name": "base", "ref": ref, "packages": _packages(client, ref, tmp), "origin": base.digest}


def _bootstrap_base(client: Any, base: BaseSpec, tmp: Path) -> dict[str, Any]:
    """Make the base image from the packages of this machine's apt origin."""
    origin = apt_origin()
    if origin is None:
        raise InfraError(
            "no base image is pinned, and this machine does not have an apt origin to make one from",
            "set KDF_BASE_IMAGE=NAME@sha256:DIGEST",
        )
    archive = tmp / "base.tar"
    log = tmp / "mmdebstrap.log"
    debian = of_host("no base image is made for").debian
    with Progress(f"base image {base.suite}", unit="lines") as progress:
        done = process.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--architectures={debian}",
                "--include=ca-certificates",
                base.suite,
                str(archive),
                f"deb {origin} {base.suite} main",
                f"deb {origin} {base.suite}-updates main",
            ],
            env={"SOURCE_DATE_EPOCH": "1"},
            log=log,
            timeout=1800,
            on_line=lambda line: progress.step(1, line),
        )
    if not done.ok:
        raise InfraError(
            f"mmdebstrap could not make the base image: {done.tail[-1] if done.tail else 'no output'}",
            "read the log",
            _keep(log, "base"),
        )
    with engine.errors("importing the base image"):
        answer = client.api.import_image_from_file(str(archive), repository="kcov-dataflow-kit/base", tag=base.suite)
        ref = str(json.loads(answer.splitlines()[-1])["status"])
    archive.unlink()
    return {"name": "base", "ref": ref, "packages": _packages(client, ref, tmp), "origin": "mmdebstrap"}
