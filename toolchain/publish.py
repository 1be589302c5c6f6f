"""Docker images with a toolchain in them, for people and pipelines that know `docker run` and nothing of this toolkit.

What comes in is a toolchain of the docker runtime; what goes out is a tag. The image is that in which the toolchain
was checked, with everything a kernel build needs; its label is the toolchain's key: a tag never lies about its content.
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
    """An image that holds a toolchain.

    Attributes:
        tag: `kcov-dataflow-kit/NAME:` and the first digits of the toolchain's key.
        ref: the engine's id.
        size: in bytes, all layers.
        new: whether it was made just now.
    """

    tag: str
    ref: str
    size: int
    new: bool


def publish(made: Toolchain) -> Published:
    """Tag an image that holds a toolchain; made if the engine has none with its key.

    Raises:
        UserError: it is a toolchain of the host.
        InfraError: the engine refused or went away.
    """
    import docker.errors

    if made.image is None:
        raise UserError(f"{made.name} was built for the host: there is no image to put it on", "say --runtime docker")
    tag = f"kcov-dataflow-kit/{made.name}:{made.product.key[:12]}"
    client = engine.client()
    try:
        with engine.errors(f"making the image {tag}"), Progress(f"image {tag}", unit="lines") as progress:
            new = False
            try:
                there = client.images.get(tag)
            except docker.errors.ImageNotFound:
                there = None
            if there is None or there.labels.get(KEY_LABEL) != made.product.key:
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
                        raise InfraError(f"making the image {tag} failed: {event['error'].strip()}", "look at the disk")
                    progress.step(1, event.get("stream", "").strip())
                there = client.images.get(tag)
        return Published(tag, str(there.id), int(there.attrs["Size"]), new)
    finally:
        client.close()
