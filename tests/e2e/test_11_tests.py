"""Tests in the guest, on a kernel that other tests have built: selftests, a program that crashes the kernel, a typo."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e

RUN = ("test.run", "--profile", "all", "--base", "tiny", "--toolchain", "plugin-19", "--runtime", "docker")
CRASH = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	printf("TAP version 13\n1..2\nok 1 before\n");
	fflush(stdout);
	usleep(100000);
	return write(open("/proc/sysrq-trigger", O_WRONLY), "c", 1) != 1;
}
"""


def test_a_crash_in_the_middle(tmp_path: Path) -> None:
    """What ran before passed, what did not report is lost, and the splat has a test, a file and a line."""
    compiler = shutil.which("clang-19") or shutil.which("cc")
    assert compiler
    (tmp_path / "crash.c").write_text(CRASH)
    subprocess.run([compiler, "-static", "-o", str(tmp_path / "crash"), str(tmp_path / "crash.c")], check=True)
    said = invoke(*RUN, "--kselftest", "size", "--exec", str(tmp_path / "crash"), "--json")
    assert said.code == 1
    result = said.json()
    assert result["status"] == "failed"
    size, own = result["suites"]
    assert [test["status"] for test in size["tests"]] == ["passed"]
    assert [(test["name"], test["status"]) for test in own["tests"][0]["subtests"]] == [
        ("before", "passed"),
        ("test 2", "lost"),
    ]
    splat = result["splats"][0]
    assert (splat["kind"], splat["during"]) == ("panic", "exec/crash")
    assert "sysrq_handle_crash" in splat["frames"][0]
    assert "drivers/tty/sysrq.c:" in splat["frames"][0]
    read = JUnitXml.fromfile(str(Path(result["folder"]) / "junit.xml"))
    assert [(one.name, one.tests, one.failures, one.errors) for one in read] == [
        ("size", 1, 0, 0),
        ("exec", 2, 0, 1),
        ("(the run)", 1, 1, 0),
    ]
    assert json.loads((Path(result["folder"]) / "result.json").read_text()) == result
    # Told while the guest ran, beside the result.
    assert "passed   exec/crash: before" in said.err
    reported(result, tmp_path)


def reported(result: dict[str, Any], tmp_path: Path) -> None:
    """The run is on the page with its splat, and nothing of it differs from itself."""
    name = Path(result["folder"]).name
    said = invoke("report.html", "-o", str(tmp_path / "page" / "report.html"), "--runs", "3")
    assert said.code == 0, said.err
    page = (tmp_path / "page" / "report.html").read_text()
    assert name in page
    assert "sysrq triggered crash" in page
    said = invoke("report.compare", name, name)
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 cells compared, 0 changes")


def test_a_script_runs_beside_a_suite_that_does_not_build(tmp_path: Path) -> None:
    """The script has a shell, its commands, its words and its place; what alsa lacks is alsa's own matter."""
    script = tmp_path / "script.sh"
    script.write_text(
        '#!/bin/sh\necho 1..2\n[ "$1" = "two words" ] && [ -f ./script.sh ] && echo "ok 1 words"\n'
        '[ "$(nproc)" = 2 ] && echo "ok 2 processors"\n'
    )
    said = invoke(*RUN, "--kselftest", "alsa", "--exec", f"{script} 'two words'", "--smp", "2", "--json")
    assert said.code == 1, said.err
    result = said.json()
    alsa, own = result["suites"]
    assert (alsa["built"], alsa["tests"]) == (False, [])
    assert "lacks a program" in alsa["reason"]
    assert [(test["name"], test["status"]) for test in own["tests"][0]["subtests"]] == [
        ("words", "passed"),
        ("processors", "passed"),
    ]
    assert result["reasons"] == [f"alsa did not build: {alsa['reason']}"]
    assert "| alsa | not built |" in (Path(result["folder"]) / "report.md").read_text()


def test_a_target_that_is_not_there() -> None:
    said = invoke(*RUN, "--kselftest", "timmers")
    assert said.code == 2
    assert "timers" in said.err
