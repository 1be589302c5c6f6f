"""Options: each is declared once, used where it is offered, and has a short form only where one is written down."""

from __future__ import annotations

import inspect
import json
import re

import pytest
from invoke.collection import Collection

import tasks
from ci import matrices
from commands import cells, program
from core.errors import UserError
from kernel import axes
from sources import catalogue

NAMES = sorted(tasks.ns.task_names)
# Where the README, the pages and the pipelines use a letter.
SHORT = {
    "ci.generate": {"o"},
    "ci.verdict": {"o"},
    "patches.export": {"o"},
    "report.html": {"o"},
    "report.junit": {"o"},
    "toolchain.export": {"o"},
    "toolchain.shell": {"c"},
}


def options(name: str) -> dict[str, str]:
    """The parameters of a task and their letters, empty without one."""
    letters = {}
    for argument in tasks.ns[name].get_arguments():
        letter = next((word for word in argument.names if len(word) == 1), "")
        letters[argument.attr_name or argument.name] = letter
    return letters


@pytest.mark.parametrize("name", NAMES)
def test_letters_are_those_that_are_written_down(name: str) -> None:
    assert {letter for letter in options(name).values() if letter} == SHORT.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_is_offered_is_used(name: str) -> None:
    body = tasks.ns[name].body
    task = inspect.unwrap(body)
    own = getattr(tasks.ns[name], "cell_body", None)
    source = inspect.getsource(own or task).partition('\n    """')[2]
    for option in options(name):
        if own is not None and option in ("allow", "allow_file"):
            # They are in the cell, which every guest of a cell is judged by.
            assert "asked.cell" in source
        elif own is not None and option in axes.BY_NAME:
            needed = {"json": r"asked\.json", "no_guard": r"asked\.guard"}.get(option)
            assert needed is None or re.search(needed, source), f"{name} offers --{option} and ignores it"
        else:
            assert re.search(rf"\b{option}\b", source), f"{name} offers --{option} and ignores it"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kernel.build", "-o"], "there is no option -o\n"),
        (["kernel.run", "-p", "all"], "there is no option -p (did you mean --profile?)"),
        (["kernel.build", "--profile", "all", "-e"], "there is no option -e\n"),
        (["toolchain.shell", "plugin-19", "-n"], "there is no option -n (did you mean --name?)"),
        (["bench.rfc", "--profile", "all"], "there is no option --profile (did you mean --profiles?)"),
        (["kconfig.check", "all", "--no-guard"], "there is no option --no-guard (did you mean --no-install?)"),
    ],
)
def test_an_option_that_nobody_declared_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(words) == 2
    assert told in capsys.readouterr().err


def test_a_value_may_begin_with_a_dash() -> None:
    words = ["dataflow.capture", "--exec", "-x", "--profile", "all"]
    assert program.undeclared_letter(words, tasks.ns) == ("", "")
    assert program.undeclared_letter(["toolchain.shell", "plugin-19", "--", "ls", "-l"], tasks.ns) == ("", "")


def test_a_letter_is_refused_for_the_task_that_it_stands_behind() -> None:
    words = ["report.html", "-o", "x.html", "kernel.build", "-o"]
    assert program.undeclared_letter(words, tasks.ns) == ("-o", "kernel.build")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_stands_after_a_task_as_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["kernel.build", flag]) == 0
    assert "--profile=STRING" in capsys.readouterr().out


def test_every_axis_of_a_cell_has_one_help_text_everywhere() -> None:
    for name in NAMES:
        for argument in tasks.ns[name].get_arguments():
            axis = axes.BY_NAME.get(argument.attr_name or argument.name)
            if axis is not None and hasattr(tasks.ns[name], "cell_body"):
                assert argument.help == axis.help, f"{name} --{axis.name}"


def test_the_matrix_has_the_axes_that_are_declared_for_it() -> None:
    assert matrices.AXES == axes.MATRIX == ("toolchain", "series", "profile", "base", "arch", "linux")


def test_defaults_stand_once() -> None:
    names = cells.cell_names({"profile": "all", "arch": "x86_64"})
    assert (names.series, names.base, names.linux) == ("kit", "defconfig", catalogue.default_linux())
    assert names == cells.cell_names({"profile": "all", "arch": "x86_64", "base": "", "series": "", "linux": ""})
    with pytest.raises(UserError, match="name a profile"):
        cells.cell_names({})


def test_the_tree_of_tasks_is_what_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(tasks.ns, Collection)
    assert program.main(["--list", "--list-format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["collections"]
