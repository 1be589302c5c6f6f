"""The Docker engine (or podman's socket, which speaks the same API): a client, its errors as sentences, its leftovers.

What comes in are calls of the SDK; what goes out are `InfraError`s that say what was being done. Nothing is run here:
that is `core.runtime`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import InfraError
from core.store import home

LABEL = "org.kcov-dataflow-kit"


def client() -> Any:
    """A client of the Docker engine (or of podman's socket, which speaks the same API).

    Raises:
        InfraError: no engine answers.
    """
    import docker

    try:
        found = docker.from_env(timeout=600)
        found.ping()
    except Exception as error:  # the SDK raises its own, requests' and urllib3's kinds
        raise InfraError("no Docker engine answers", "start one (as root: dockerd), or say --runtime host") from error
    return found


@contextlib.contextmanager
def errors(doing: str, log: Path | None = None) -> Iterator[None]:
    """Turn what the SDK raises when the engine goes away into a sentence.

    Args:
        log: where what was done until then can be read.

    Raises:
        InfraError: the engine refused or went away.
    """
    import docker.errors
    import requests
    import urllib3

    again = "start the engine and run the same command again; what was finished is kept"
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise InfraError(f"the engine has no such image while {doing}: {error.explanation}", again, log) from error
    except docker.errors.APIError as error:
        raise InfraError(f"the Docker engine refused while {doing}: {error.explanation}", again, log) from error
    except (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        EOFError,
    ) as error:
        raise InfraError(f"the Docker engine went away while {doing}", again, log) from error


def process_mark(pid: int) -> str:
    """A name for a process that its successors with the same pid do not share; empty if it is gone."""
    try:
        # Field 22 of /proc/pid/stat is the start time (proc(5)); the name in field 2 may hold spaces and brackets.
        return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def sweep(client: Any) -> int:
    """Remove the containers that killed runs with this home left behind; returns how many."""
    gone = 0
    mine = {"label": f"{LABEL}.home={home()}"}
    # The client asks for the list, and then for each one in it: another run may have removed one meanwhile.
    with errors("removing containers of killed runs"):
        for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
            mark = container.labels.get(f"{LABEL}.owner", "")
            pid = mark.partition(":")[0]
            if not pid.isdigit() or process_mark(int(pid)) != mark:
                with contextlib.suppress(Exception):  # another run may be removing it, too
                    container.remove(force=True, v=True)
                    gone += 1
    return gone
