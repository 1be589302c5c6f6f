"""Make a Docker image with a toolchain, for people and pipelines that use `docker run` without this toolkit.

Takes a toolchain of the docker runtime. Gives the tag of an image: the one in which the toolchain was checked, plus the
toolchain. The image's label is the toolchain's key, so an old image is never used for a new toolchain.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import engine
from core.errors import InfraError, UserError
from core.progress import Progress
from toolchain import image
from toolchain.toolchains import Toolchain

KEY_LABEL = "org.kcov-dataflow-kit.key"
_DOCKERFILE = image.FOLDER / "toolchain.Dockerfile"


@dataclass(frozen=True)
class Published:
    """An image that contains a toolchain.

    Attributes:
        tag: `kcov-dataflow-kit/NAME:` and the first digits of the toolchain's key.
        ref: the engine's id.
        size: in bytes, all layers.
        new: whether this call made it.
    """

    tag: str
    ref: str
    size: int
    new: bool


def publish(made: Toolchain) -> Published:
    """Make and tag an image with a toolchain, unless the engine already has it.

    Raises:
        UserError: the toolchain was built for the host.
        InfraError: the engine failed.
    """
    import docker.errors

    if made.image is None:
        raise UserError(
            f"{made.name} was built for the host, so it cannot be put into an image", "use --runtime docker"
        )
    tag = f"kcov-dataflow-kit/{made.name}:{made.product.key[:12]}"
    client = engine.client()
    try:
        with engine.errors(f"making the image {tag}"), Progress(f"image {tag}", unit="lines") as progress:
            new = False
            try:
                existing = client.images.get(tag)
            except docker.errors.ImageNotFound:
                existing = None
            if existing is None or existing.labels.get(KEY_LABEL) != made.product.key:
                new = True
                for event in client.api.build(
                    path=str(made.product.path),
                    dockerfile=str(_DOCKERFILE),
                    decode=True,
                    rm=True,
                    forcerm=True,
                    tag=tag,
                    buildargs={
                        "BASE": made.image.ref,
                        "NAME": made.name,
                        "KEY": made.product.key,
                        "GENERATION": made.generation or "none",
                    },
                ):
                    if "error" in event:
                        raise InfraError(f"making the image {tag} failed: {event['error'].strip()}", "check the disk")
                    progress.step(1, event.get("stream", "").strip())
                existing = client.images.get(tag)
        return Published(tag, str(existing.id), int(existing.attrs["Size"]), new)
    finally:
        client.close()
