"""Task test.run: run tests in the guest."""

from __future__ import annotations

import sys
from typing import Any

from commands.cells import MEMORY_HELP, SMP_HELP, Asked, cell_command
from commands.tables import print_json, print_table


@cell_command(
    boots=True,
    kselftest="targets of tools/testing/selftests, with commas: kcov_dataflow,timers",
    kunit="build in a few suites of KUnit and report them",
    exec="static program or script with its arguments, to run as a test",
    require="patterns of tests that must pass and not be skipped: timers/nanosleep*,kunit/*",
    smp=SMP_HELP,
    memory=MEMORY_HELP,
)
def run(
    _c: Any,
    asked: Asked,
    kselftest: str = "",
    kunit: bool = False,
    exec: str = "",  # noqa: A002  (Invoke's flag name)
    require: str = "",
    smp: str = "",
    memory: str = "",
) -> None:
    """Run tests in the guest. Example: ./invoke test.run --profile all --base tiny --kselftest kcov_dataflow"""
    import shlex

    from cells import tests
    from core.errors import UserError, one_line
    from report import files, markdown

    try:
        program = shlex.split(exec)
    except ValueError as error:
        raise UserError(f"--exec {exec} cannot be read: {error}") from None
    wanted = tests.Asked(_words(kselftest), kunit, program, _words(require), smp, memory)
    screen = sys.stderr if asked.json else sys.stdout
    result = tests.run(
        asked.cell,
        asked.runtime,
        wanted,
        guard=asked.guard,
        told=lambda line: print(line, file=screen, flush=True),
        ended=files.write,
    )
    if asked.json:
        print_json(result.as_json())
    else:
        print_table(list(markdown.rows(result)), ("status", "test", "why"))
        for suite in result.suites:
            if suite.lacks:
                print(one_line(f"{suite.name} asks for what this kernel does not have: {', '.join(suite.lacks)}"))
        for splat in result.splats:
            print(splat.as_text())
        print(result.as_text())
    result.require()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
