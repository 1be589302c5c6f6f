"""Run `./invoke`: Invoke's own program with this project's tasks and exit codes.

`main` adds what Invoke lacks: a wrong task or option is the user's error (2), and the message has the nearest right
name. Exit codes are decided in `commands.task`.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import sys
from collections.abc import Sequence

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.program import Program

from commands import bugs, screen, task
from core import outside
from core.errors import InfraError, KitError, UserError, describe
from core.version import VERSION

START = """\
From nothing to verified dataflow records of a Linux kernel:

  ./invoke kernel.run --profile all --base tiny   builds, boots, records, checks
  ./invoke doctor                                 what this machine can do, and what it lacks
  ./invoke --list                                 all tasks; ./invoke --help TASK explains one

README.md says more. You have a series: docs/guide-series.md; you fuzz: docs/guide-fuzzing.md; you run it for
others: docs/guide-ci.md; something went wrong: docs/guide-trouble.md."""


def _names(collection: Collection) -> list[str]:
    return sorted(collection.task_names)


def _explain(error: ParseError, namespace: Collection) -> str:
    """Return Invoke's sentence with the nearest right name."""
    text = str(error)
    without = re.search(r"Flag <Argument: ([\w-]+).*needed value", text)
    if without:
        return f"--{without[1].strip('_').replace('_', '-')} needs a value"
    missing = re.search(r"'(.+?)' did not receive required positional arguments: (.*)", text)
    if missing:
        return f"{missing[1]} needs {missing[2].replace(chr(39), '')}"
    wrong = re.search(r"'([^']+)'", text)
    if wrong is None:
        return text
    name = wrong[1]
    if name.startswith("-") and error.context is not None:
        known = sorted(error.context.flags)
    else:
        known = _names(namespace)
        # A bare name may be the last part of a task: build -> kernel.build, toolchain.build.
        tails = [task_name for task_name in known if task_name.rpartition(".")[2] == name]
        if tails:
            return f"there is no task {name}; there is {' and '.join(tails)}"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" (did you mean {close[0]}?)" if close else ""
    kind = "option" if name.startswith("-") else "task"
    return f"there is no {kind} {name}{hint}" if "No idea" in text else f"{text}{hint}"


def _no_letter(letter: str, known: Sequence[str]) -> str:
    """Return the sentence about a one-letter option that does not exist, with the long ones that begin so."""
    long = [flag for flag in known if flag.startswith(f"--{letter[1]}")]
    return f"there is no option {letter}" + (f" (did you mean {' or '.join(long)}?)" if long else "")


def _flags(namespace: Collection, task: str) -> set[str]:
    """Return the long options of a task, with their dashes."""
    return {f"--{name}" for argument in namespace[task].get_arguments() for name in argument.names if len(name) > 1}


def _help_of(name: str | None) -> str:
    return f"./invoke --help {name} explains its options" if name else "see ./invoke --list"


def _parse_tasks(program: Program) -> None:
    """Let Invoke parse the tasks; it passes a word to `int` without a check.

    Raises:
        ParseError: a word that must be a number is not one, or Invoke found another mistake.
    """
    try:
        program.parse_tasks()
    except ValueError as error:
        wrong = re.search(r"'(.*)'", str(error))
        raise ParseError(f"{wrong[1]} is not a number" if wrong else str(error)) from error


def _configure(program: Program) -> None:
    """Let Invoke read its configuration files, which its own options and the home name.

    Raises:
        UserError: one of them cannot be read.
    """
    try:
        program.update_config()
    except (KeyboardInterrupt, Exit):
        raise
    except Exception as error:
        words = outside.shortened(str(error), 120)
        raise UserError(
            f"a configuration file of Invoke cannot be read: {words}", "leave out -f and --config"
        ) from error


def asks_help(words: Sequence[str]) -> str | None:
    """Return the task of `TASK ... --help`; Invoke would read the option as a positional value."""
    own = words[: words.index("--")] if "--" in words else words
    return own[0] if own and not own[0].startswith("-") and {"--help", "-h"} & set(own[1:]) else None


def undeclared_letter(words: Sequence[str], namespace: Collection) -> tuple[str, str]:
    """Return the first one-letter option that a task does not declare, and the task; two empty texts without one.

    Invoke would take such a letter as an option of its own.

    Args:
        words: of the command line; those after `--` belong to another program.
    """
    own = words[: words.index("--")] if "--" in words else words
    names = namespace.task_names
    task = before = ""
    letters: set[str] = set()
    valued: set[str] = set()
    for word in own:
        if word in names:
            task, arguments = word, namespace[word].get_arguments()
            letters = {name for argument in arguments for name in argument.names if len(name) == 1}
            valued = {f"--{name}" for argument in arguments if argument.takes_value for name in argument.names}
        elif task and before not in valued and re.match(r"-[A-Za-z]", word) and word[1] not in letters:
            return word[:2], task
        before = word
    return "", ""


def main(argv: list[str] | None = None) -> int:
    """Run tasks and return the exit code; the last handler of whatever nobody foresaw."""
    # Files of a store are read by others, and written by nobody else, whatever the user's umask is.
    os.umask(0o022)
    given = sys.argv[1:] if argv is None else argv
    bugs.asked.set(tuple(given))
    screen.install()
    try:
        code = _run(given)
        sys.stdout.flush()
    except KitError as error:
        return task.report(error)
    except BrokenPipeError:
        # The reader of our output has gone.
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return task.report(InfraError("interrupted", "run the same command again: what was finished is kept"))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF) and error.filename is None:
            _drop_output()
            words = error.strerror or str(error)
            return task.report(
                InfraError(f"standard output cannot be written: {words}", "look where it is directed to")
            )
        return task.report(bugs.unforeseen(error))
    except Exception as error:
        return task.report(bugs.unforeseen(error))
    return code


def _drop_output() -> None:
    """Send standard output nowhere, so that Python does not fail again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    import tasks

    if not given:
        print(START)
        return 0
    explained = asks_help(given)
    letter, asked = ("", "") if explained else undeclared_letter(given, tasks.ns)
    words = ["invoke", *(("--help", explained) if explained else given)]
    program = Program(namespace=tasks.ns, name="invoke", binary="invoke", version=VERSION)
    if letter:
        wrong = UserError(_no_letter(letter, sorted(_flags(tasks.ns, asked))), _help_of(asked))
        print(describe(wrong), file=sys.stderr)
        return 2
    try:
        program.create_config()
        program.parse_core(words)
        program.parse_collection()
        _parse_tasks(program)
        program.parse_cleanup()
        _configure(program)
        program.execute()
    except ParseError as error:
        wrong = UserError(_explain(error, tasks.ns), _help_of(error.context.name if error.context else None))
        print(describe(wrong), file=sys.stderr)
        return 2
    except UnexpectedExit as error:
        return int(error.result.exited)
    except Exit as ended:
        cause = ended.__cause__
        if isinstance(cause, UserError):
            print(describe(cause, _help_of(program.tasks[0].name)), file=sys.stderr)
        elif ended.message:
            print(ended.message, file=sys.stderr)
        return int(ended.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
