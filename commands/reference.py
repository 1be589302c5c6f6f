"""Write docs/commands.md: every task with its options, help texts and defaults, from the tasks themselves.

.venv/bin/python -m commands.reference --write
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernel import axes

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
_HEAD = """\
# Commands

All tasks of `./invoke`, by collection. This page is made from the tasks' own help: after a change,
run `.venv/bin/python -m commands.reference --write`. `./invoke --help TASK` shows the same for one
task. An option in brackets may be given by position.

## Options of a cell

Tasks that build a kernel take these options. Such a task's own table has only its further options,
and those whose default differs.

"""


def _text(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _default(value: Any) -> str:
    if value in (None, "", False, [], inspect.Parameter.empty):
        return ""
    return "yes" if value is True else f"`{value}`"


def _table(rows: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    if lines:
        yield from ("| option | default | meaning |", "|---|---|---|", *lines, "")


def _axes() -> Iterator[tuple[str, str, str]]:
    for axis in axes.AXES:
        yield f"`--{axis.name.replace('_', '-')}`", _default(axis.default), _text(axis.help)


def _name(argument: Any) -> str:
    """Return the name of an option as `kernel.axes` has it."""
    return str(argument.attr_name or argument.name).strip("_")


def _options(task: Any) -> Iterator[tuple[str, str, str]]:
    """Return the options of a task as rows, without those of a cell that it has unchanged."""
    for argument in task.get_arguments():
        axis = axes.BY_NAME.get(_name(argument))
        usual = axis is not None and (argument.default or axis.default) == axis.default
        if usual and hasattr(task, "cell_body") and not argument.positional:
            continue
        words = [f"`--{word}`" if len(word) > 1 else f"`-{word}`" for word in argument.names]
        shown = ", ".join(words)
        yield f"[{shown}]" if argument.positional else shown, _default(argument.default), _text(argument.help or "")


def _task(name: str, task: Any) -> Iterator[str]:
    about, _, example = " ".join((task.__doc__ or "").split()).partition(" Example: ")
    yield from (f"### {name}", "", f"{about}", "")
    if example:
        yield from ("```sh", example, "```", "")
    if hasattr(task, "cell_body"):
        missing = sorted(set(axes.BY_NAME) - {_name(argument) for argument in task.get_arguments()})
        dashed = ", ".join(f"`--{word.replace('_', '-')}`" for word in missing)
        yield from (f"Takes the options of a cell{dashed and f' without {dashed}'}.", "")
    yield from _table(_options(task))


def page() -> str:
    """Return the text of docs/commands.md."""
    import tasks

    lines = [*_table(_axes())]
    for collection in sorted(tasks.ns.collections):
        lines += [f"## {collection}", ""]
        for name in sorted(tasks.ns.task_names):
            if name.partition(".")[0] == collection:
                lines += _task(name, tasks.ns[name])
    return _HEAD + "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Compare the page with the tasks, or write it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/commands.md")
    if parser.parse_args().write:
        PAGE.write_text(page())
        return 0
    return int(PAGE.read_text() != page())


if __name__ == "__main__":
    sys.exit(main())
