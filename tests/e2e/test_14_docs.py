"""Commands of the documents that need a kernel, run as they stand, on the cells that other end-to-end tests have built.

Each takes seconds then. A command that no page has any more is refused: what is run here is what a reader types.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs import documented
from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e

# The command, how it ends, and what it says.
RUN = {
    "./invoke doctor": (0, "python"),
    "./invoke doctor --json": (0, '"rows"'),
    "./invoke ci.plan --matrix tiny": (0, "plugin-19_kit_all_tiny_x86_64_7.1.8"),
    "./invoke cell.run plugin-19_kit_all_tiny_x86_64_7.1.8": (0, "passed, 46 of 46 checks hold"),
    "./invoke ci.run --matrix small": (0, "up to date: passed"),
    "./invoke patches.apply --series kit --linux 7.1.8": (0, "/linux"),
    "./invoke kernel.build --profile all --base tiny": (0, "Linux 7.1.8 (in the store since "),
    "./invoke kernel.run --profile all --base tiny": (0, "passed: 46 of 46 checks hold"),
    "./invoke dataflow.show --workload open-close --filter do_sys_openat2": (0, "do_sys_openat2(dfd=-100"),
    "./invoke dataflow.show --workload getpid": (0, "__do_sys_getpid("),
    './invoke toolchain.shell plugin-19 -c "clang --version"': (0, "clang version 19"),
    "./invoke toolchain.build --name plugin-19": (0, "plugin-19"),
    "./invoke report.html -o report.html": (0, "report.html"),
}


@pytest.fixture(scope="module")
def typed() -> set[str]:
    return {line.text for page in documented.PAGES for line in documented.commands(page.read_text(), page.name)}


@pytest.mark.parametrize("text", RUN)
def test_a_command_of_the_pages(text: str, typed: set[str], tmp_path: Path) -> None:
    assert text in typed, "no page says so any more"
    code, says = RUN[text]
    ended = invoke(*shlex.split(text)[1:], cwd=tmp_path, timeout=600)
    assert ended.code == code, ended.err
    assert says in ended.out


def test_the_program_of_the_guide(tmp_path: Path, typed: set[str]) -> None:
    """docs/guide-fuzzing.md, "Your own program": as it stands there, with a program that opens its argument."""
    build = "cc -static -o prog prog.c"
    capture = './invoke dataflow.capture --exec "./prog /proc" --base tiny --filter do_sys_openat2'
    assert {build, capture} <= typed
    (tmp_path / "prog.c").write_text(
        "#include <fcntl.h>\nint main(int argc, char **argv) { return argc < 2 || open(argv[1], O_RDONLY) < 0; }\n"
    )
    assert shutil.which("cc"), "the host's compiler builds the user's program"
    subprocess.run(build.split(), cwd=tmp_path, check=True)
    ended = invoke(
        "dataflow.capture", "--exec", "./prog /proc", "--base", "tiny", "--filter", "do_sys_openat2", cwd=tmp_path
    )
    assert ended.code == 0, ended.err
    assert "do_sys_openat2(dfd=-100" in ended.out
    assert "0 records dropped, the program ended with 0" in ended.out


def test_no_engine(tmp_path: Path) -> None:
    ended = invoke(
        "kernel.build", "--profile", "all", "--base", "tiny", "--runtime", "docker",
        env={"DOCKER_HOST": "tcp://127.0.0.1:1"},
    )  # fmt: skip
    assert ended.code == 3
    assert ended.err.splitlines()[0] == "error: no Docker engine answers"
    assert "--runtime host" in ended.err.splitlines()[1]
