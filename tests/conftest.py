"""What all tests stand on: a home of their own and no network but loopback, unless a test is marked e2e or slow."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests import plugins

# Repositories of a test are gone before git would tidy them up, and no power fails in between.
_GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "maintenance.auto",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_CONFIG_KEY_2": "core.fsync",
    "GIT_CONFIG_VALUE_2": "none",
}
_SETTINGS = ("KDF_SNAPSHOT", "KDF_BASE_IMAGE", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


def _is_loopback(host: object) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing that a test needs may be missing: a skipped test there is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        reporter.write_line("tests were skipped, and in CI none may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def isolation(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests see an empty home; names outside do not resolve, addresses outside do not answer."""
    if request.node.get_closest_marker("e2e") or request.node.get_closest_marker("slow"):
        return
    home = tmp_path / "user-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "kdf-home"))
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in _GIT.items():
        monkeypatch.setenv(name, value)
    # What fsync protects from, a test cannot bring about; that it is called, and may fail, has tests of its own.
    monkeypatch.setattr(os, "fsync", lambda _file: None)
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not _is_loopback(name):
            raise socket.gaierror(socket.EAI_NONAME, f"a unit test asked for {name}")
        return resolve(host, *args, **options)

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise OSError(101, f"a unit test connected to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def plugin_19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plugin-19 in it: callbacks take addresses (generation L0)."""
    return plugins.built(tmp_path_factory, "plugin-19", "L0")


@pytest.fixture(scope="session")
def plugin_19_l3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plugin-19-l3 in it: callbacks take values."""
    return plugins.built(tmp_path_factory, "plugin-19-l3", "L3")


@pytest.fixture(scope="session")
def plugin_19_g1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plugin-19-g1 in it: callbacks are called behind gates."""
    return plugins.built(tmp_path_factory, "plugin-19-g1", "G1")
