"""The recipe mechanism on a project of twenty steps, in Docker: killed, resumed, changed, and the same bytes each time.

LLVM itself takes most of an hour; what can be wrong with killing and resuming is wrong here as well.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import store
from core.runtime import Runtime
from tests.e2e.user import ROOT
from toolchain import image, llvm, recipe, specs

pytestmark = pytest.mark.e2e

_PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(mini C)
foreach(n RANGE 1 12)
  add_custom_command(OUTPUT slow${n}.c
    COMMAND sleep 0.7
    COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/part.c slow${n}.c
    DEPENDS ${CMAKE_SOURCE_DIR}/part.c)
  add_executable(tool${n} slow${n}.c)
  install(TARGETS tool${n} DESTINATION bin)
  list(APPEND tools tool${n})
endforeach()
add_custom_target(distribution DEPENDS ${tools})
add_custom_target(install-distribution-stripped COMMAND ${CMAKE_COMMAND} --install ${CMAKE_BINARY_DIR} --strip
  DEPENDS distribution USES_TERMINAL)
"""

_CALL = """
import sys
from pathlib import Path
from tests.e2e.test_5_recipe import make
make(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def the_plan(project: Path) -> llvm.Plan:
    spec = specs.ToolchainSpec("mini", "", "patched", 23, "kernel", f"path:{project}")
    variables = {
        key: value
        for key, value in recipe.load("llvm").variables.items()
        if key.startswith("CMAKE_") and "CXX" not in key
    }
    own = recipe.Recipe("mini", "llvm", ("llvm",), {"x86_64": "X86", "arm64": "AArch64"}, variables, (), {})
    return llvm.Plan(spec, own, recipe.choose(own, llvm.host_arch()), (), {})


def make(project: Path, out: Path) -> dict[str, object]:
    out.mkdir()
    made = image.ensure("llvm")
    return llvm.build(the_plan(project), Runtime("docker"), made, made.packages, out)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    usual = store.home()
    home = tmp_path / "home"
    (home / "store").mkdir(parents=True)
    # What is known of images stays known; everything else is made in a home that goes away.
    (usual / "store" / "image").mkdir(parents=True, exist_ok=True)
    (home / "store" / "image").symlink_to(usual / "store" / "image")
    monkeypatch.setenv("KDF_HOME", str(home))
    source = tmp_path / "project"
    (source / "llvm").mkdir(parents=True)
    (source / "llvm" / "CMakeLists.txt").write_text(_PROJECT)
    (source / "llvm" / "part.c").write_text("int main(void) { return 0; }\n")
    yield source
    store.remove_tree(home)


def files(root: Path) -> dict[str, str]:
    return {p.name: store.hash_file(p) for p in sorted((root / "bin").iterdir())}


def test_a_killed_build_goes_on_where_it_was(project: Path, tmp_path: Path) -> None:
    whole = make(project, tmp_path / "whole")
    assert whole["steps_run"] == whole["steps"] and int(str(whole["steps"])) >= 24
    plan = the_plan(project)
    place = llvm.build_directory(plan, image.ensure("llvm").packages, Runtime("docker"))
    store.remove_tree(place)

    child = subprocess.Popen(
        [sys.executable, "-c", _CALL, str(project), str(tmp_path / "killed")],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = tmp_path / "killed" / "build.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "[12/" in log.read_text()):
        assert child.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()

    resumed = make(project, tmp_path / "resumed")
    assert 0 < int(str(resumed["steps_run"])) <= int(str(whole["steps"])) - 10
    assert files(tmp_path / "resumed") == files(tmp_path / "whole")

    again = make(project, tmp_path / "again")
    assert again["steps_run"] == 0
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_a_tool_that_does_not_compile_is_the_sources_fault(project: Path, tmp_path: Path) -> None:
    from core.errors import UnderTest

    (project / "llvm" / "part.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(UnderTest, match=r"\.c:1: use of undeclared identifier 'missing'"):
        make(project, tmp_path / "broken")
