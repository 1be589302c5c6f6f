"""Connect to the Docker engine (or to podman's socket, which has the same API).

Gives a client, turns errors of the SDK into `InfraError`s that name the step, and removes containers of killed runs.
Never runs commands: `core.runtime` does.
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
    """Return a client of the Docker engine, or of podman's socket.

    Raises:
        InfraError: no engine answers.
    """
    import docker

    try:
        engine = docker.from_env(timeout=600)
        engine.ping()
    except Exception as error:  # the SDK raises exceptions of its own, of requests and of urllib3
        raise InfraError("no Docker engine answers", "start one (as root: dockerd), or use --runtime host") from error
    return engine


@contextlib.contextmanager
def errors(doing: str, log: Path | None = None) -> Iterator[None]:
    """Turn exceptions of the SDK into an error that names the step.

    Args:
        doing: the step, as it follows `while`.
        log: file with the output so far.

    Raises:
        InfraError: the engine refused or went away.
    """
    import docker.errors
    import requests
    import urllib3

    again = "start the engine and run the same command again; finished work is kept"
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
    """Return a name for a process that a later process with the same pid does not get; empty if it is gone."""
    try:
        # Field 22 of /proc/pid/stat is the start time (proc(5)); the name in field 2 may contain spaces and brackets.
        return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def sweep(client: Any) -> int:
    """Remove the containers that killed runs with this home left; return how many."""
    gone = 0
    mine = {"label": f"{LABEL}.home={home()}"}
    # The client asks for the list, and then for each container in it: another run may remove one in between.
    with errors("removing containers of killed runs"):
        for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
            mark = container.labels.get(f"{LABEL}.owner", "")
            pid = mark.partition(":")[0]
            if not pid.isdigit() or process_mark(int(pid)) != mark:
                with contextlib.suppress(Exception):  # another run may be removing it too
                    container.remove(force=True, v=True)
                    gone += 1
    return gone
