"""The same without containers, and without an engine to be found."""

from __future__ import annotations

import pytest

from tests.e2e.test_1_first_record import ALL, verified
from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e


def test_all_on_tiny_on_the_host() -> None:
    """No engine answers at the address that the client looks at, so `auto` takes the host and says so."""
    said = invoke(*ALL, env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert "runtime host" in said.err
    assert verified(said)["runtime"] == "host"


def test_docker_asked_and_absent_is_the_machines_failure() -> None:
    said = invoke("toolchain.build", "--runtime", "docker", env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert said.code == 3
    assert "no Docker engine answers" in said.err
