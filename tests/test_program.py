"""The program: exit codes and nearest names, and that listing tasks stays light."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from core import program
from core.errors import InfraError, UnderTest, UserError, describe, nearest

ROOT = Path(__file__).parent.parent


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
    ended = program.exit_for(error)
    assert ended is not None
    assert ended.code == code


def test_a_bug_of_ours_is_not_dressed_up() -> None:
    assert program.exit_for(ValueError("bug")) is None
    assert program.exit_for(OSError(errno.EBADF, "Bad file descriptor")) is None


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
    ],
)
def test_wrong_names_are_the_users_error(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == 2
    assert said in capsys.readouterr().err


def test_every_task_has_a_help_text_with_an_example() -> None:
    import tasks

    for name in tasks.ns.task_names:
        task = tasks.ns[name]
        text = task.__doc__ or ""
        assert "Example: ./invoke " in text, name
        described = set(task.help)
        options = {a.name for a in task.get_arguments()}
        assert options <= {d.replace("-", "_") for d in described}, f"{name}: {options - described} have no help text"


def test_light_imports() -> None:
    """Listing tasks must not load the heavy libraries (design, Layout)."""
    code = (
        "import sys, tasks, kconfig, kernel, guest, dataflow, patches, toolchain\n"
        "heavy = {'docker', 'drgn', 'numpy', 'capstone', 'requests', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
