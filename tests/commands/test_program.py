"""The program: exit codes and nearest names, and that listing tasks stays light."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import program, task
from core.errors import InfraError, UnderTest, UserError, describe, nearest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnderTest("it broke"), 1),
        (UserError("no such profile"), 2),
        (InfraError("no engine"), 3),
        (KeyboardInterrupt(), 3),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 3),
    ],
)
def test_one_place_decides_the_code(error: BaseException, code: int) -> None:
    ended = task.exit_for(error)
    assert ended is not None
    assert ended.code == code


def test_a_bug_of_ours_is_not_dressed_up() -> None:
    assert task.exit_for(ValueError("bug")) is None
    assert task.exit_for(OSError(errno.EBADF, "Bad file descriptor")) is None


def test_what_a_user_sees() -> None:
    text = describe(UnderTest("it broke", "mend it", Path("/tmp/x.log")))  # noqa: S108
    assert text.splitlines() == ["error: it broke", "  do: mend it", "  log: /tmp/x.log"]


def test_nearest_names() -> None:
    assert nearest("kasan", ["kasan-all", "none"]) == " (did you mean kasan-all?)"
    assert nearest("zzz", ["b", "a"]) == " (known: a, b)"
    assert nearest("zzz", []) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kernel.biuld"], "did you mean kernel.build?"),
        (["build"], "there is kernel.build and toolchain.build"),
        (["kernel.build", "--profil", "all"], "did you mean --profile?"),
        (["report.html", "--runs", "many"], "many is not a number"),
        (["store.gc", "--days", "few"], "few is not a number"),
    ],
)
def test_wrong_names_are_the_users_error(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == 2
    assert said in capsys.readouterr().err


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_task_has_a_help_text_with_an_example() -> None:
    """In a process of its own: Invoke takes the help texts out of a task the first time that it parses one."""
    done = _python(
        "import tasks\n"
        "for name in tasks.ns.task_names:\n"
        "    task = tasks.ns[name]\n"
        "    if 'Example: ./invoke ' not in (task.__doc__ or ''): print(name, 'has no example')\n"
        "    for a in task.get_arguments():\n"
        "        if not a.help: print(name, a.name, 'has no help text')\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_light_imports() -> None:
    """Listing tasks must not load the heavy libraries (design, Layout)."""
    done = _python(
        "import sys, tasks, kconfig, kernel, guest, dataflow, patches, toolchain\n"
        "heavy = {'docker', 'drgn', 'numpy', 'capstone', 'requests', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    assert done.returncode == 0, done.stderr


def test_repeated_options_are_kept_whole(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "kconfig.show",
        "all",
        "--base",
        "tiny",
        "--arch",
        "x86_64",
        "--set",
        "BUGY=y",
        "--set",
        "OTHER=n",
        "--json",
    ]
    assert program.main(words) == 0
    asked = {row["symbol"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert (asked["BUGY"], asked["OTHER"]) == ("y", "n")


@pytest.mark.parametrize(
    "words",
    [
        ["toolchain.import", "--help"],
        ["toolchain.import", "some.tar.zst", "--help"],
        ["dataflow.compare", "--help"],
        ["kernel.build", "--profile", "all", "--help"],
    ],
)
def test_help_may_stand_behind_a_task(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == 0
    behind = capsys.readouterr().out
    assert program.main(["--help", words[0]]) == 0
    assert capsys.readouterr().out == behind
    assert words[0] in behind


def test_what_stands_behind_two_dashes_is_no_request_for_help() -> None:
    assert program.asks_help(["toolchain.shell", "plugin-19", "--", "clang", "--help"]) is None
    assert program.asks_help(["toolchain.shell", "plugin-19", "--help", "--", "clang"]) == "toolchain.shell"
    assert program.asks_help(["--help", "toolchain.shell"]) is None
