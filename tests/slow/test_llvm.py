"""LLVM itself, compiled with the pass: what it makes, killed half way, changed a little, and the same bytes each time.

The first test compiles it if the usual home does not have it, which takes most of an hour; the others go through the
compiler cache that this fills.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import store
from tests.e2e.user import ROOT, Said, invoke

pytestmark = pytest.mark.slow

BUILD = ("toolchain.build", "--runtime", "docker")
HOUR = 3600.0


def product(said: Said) -> Path:
    assert said.code == 0, said.err
    return Path(said.out.splitlines()[-1])


def facts(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "metadata.json").read_text())["build"]
    return loaded


def files(path: Path) -> dict[str, str]:
    loaded: dict[str, str] = json.loads((path / "manifest.json").read_text())["files"]
    return loaded


@pytest.fixture(scope="module")
def usual() -> Path:
    return product(invoke(*BUILD, timeout=3 * HOUR))


@pytest.fixture
def other_home(usual: Path, tmp_path: Path) -> Iterator[Path]:
    """A home that has the source, the images and the compiler cache of the usual one, and no compiler."""
    home = tmp_path / "home"
    (home / "store").mkdir(parents=True)
    for part in ("downloads", "ccache-llvm", "store/source", "store/image"):
        (home / part).symlink_to(store.home() / part)
    yield home
    store.remove_tree(home)


def test_what_is_installed_is_what_a_kernel_needs(usual: Path) -> None:
    for tool in ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump", "llvm-readelf", "llvm-strip",
                 "llvm-symbolizer", "opt", "llc", "FileCheck", "llvm-config"):  # fmt: skip
        assert (usual / "bin" / tool).exists(), tool
    manifest = json.loads((usual / "manifest.json").read_text())
    assert manifest["generation"] == "L0"
    assert "23.1.1" in manifest["versions"]["clang"]
    assert (usual / "include/llvm/Transforms/Instrumentation/KcovDataflow.h").is_file()


def test_killed_half_way_it_goes_on_and_ends_with_the_same_bytes(usual: Path, other_home: Path) -> None:
    env = {"KDF_HOME": str(other_home)}
    process = subprocess.Popen(
        [str(ROOT / "invoke"), *BUILD], env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + HOUR
    while True:
        logs = list((other_home / "store" / "toolchain").glob(".making-*/build.log"))
        done = re.findall(r"^\[(\d+)/(\d+)\]", logs[0].read_text(), re.MULTILINE) if logs else []
        if done and int(done[-1][0]) * 2 >= int(done[-1][1]):
            break
        assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = product(invoke(*BUILD, env=env, timeout=HOUR))
    told = facts(resumed)
    assert 0 < told["steps_run"] <= told["steps"] * 0.6, "steps that were done were done again"
    assert files(resumed) == files(usual)
    assert resumed.name == usual.name


def test_the_same_key_is_not_built_again(usual: Path) -> None:
    before = (usual / "metadata.json").read_text()
    assert product(invoke(*BUILD)) == usual
    assert (usual / "metadata.json").read_text() == before


def test_make_llvm_1_works_in_the_image(usual: Path, tmp_path: Path) -> None:
    tag = invoke("toolchain.image", "llvm-23", "--json")
    assert tag.code == 0, tag.err
    linux = product(invoke("patches.apply", "--series", "kit", "--linux", "7.1.8"))
    script = "cd /out; make -s -C /src O=/out LLVM=1 tinyconfig; make -s -C /src O=/out LLVM=1 -j4 kernel/sched/core.o"
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "-v", f"{linux}:/src:ro", "-v", f"{tmp_path}:/out",
         "-u", f"{os.getuid()}:{os.getgid()}", tag.json()["tag"], "sh", "-ec",
         script],
        capture_output=True, text=True, timeout=1200, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    config = (tmp_path / ".config").read_text()
    assert "CONFIG_CC_IS_CLANG=y" in config and "CONFIG_CLANG_VERSION=230101" in config
    assert (tmp_path / "kernel/sched/core.o").is_file()


def test_llvm_19_serves_the_distributions_rustc() -> None:
    path = product(invoke(*BUILD, "--name", "llvm-19", timeout=3 * HOUR))
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["versions"]["rustc"].startswith("rustc 1.85.")
    assert manifest["rustc"] == "bin/rustc", "the toolchain's own, which runs on its libLLVM"
    said = invoke("toolchain.verify", "llvm-19", "--runtime", "docker", timeout=HOUR)
    assert said.code == 0, said.err
