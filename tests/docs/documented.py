"""Commands in Markdown: where they stand, and what the pages add to files; `tests.judged` says whether they are right.

What comes in: the text of README.md and docs/*.md. What goes out: commands with file and line. Must never
happen: a line that a reader would type and that no rule here looks at.

How a page says what is a command:

* a fenced block `sh`, or a block (fenced without a word, or indented) whose first line starts with a program: every
  line of it;
* a span in backticks that starts with `./invoke`, or with a task and further words;
* a block of commands for another place (a cluster, a CI system) has `<!-- elsewhere: PLACE -->` before it: needed where
  a line starts a program of others (`OTHERS`), of which only what it names of ours can be checked;
* a block `yaml` or `kconfig` whose first line is `# FILE` is added to that file: its names count as names (`added`);
* `[...]` may be left out, `a|b` is either, words in capitals (`PLACEHOLDERS`) stand for what the reader has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from invoke.parser import ParserContext
from invoke.program import Program

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

# What stands for something of the reader's. Everything else in capitals has to be a name that exists.
PLACEHOLDERS = frozenset(
    (
        *(
            "A",
            "B",
            "CELL",
            "COMMAND",
            "DIR",
            "DIR/CELL",
            "DIR-OR-URL",
            "FILE",
            "HASH",
            "ID",
            "K",
            "MESSAGE-ID",
            "N",
            "NAME",
        ),
        *(
            "PLACE",
            "PROGRAM",
            "RESULT",
            "REV",
            "RUN",
            "RUNS",
            "RUN-A",
            "RUN-B",
            "SYMBOL",
            "STAGE",
            "SYMBOL=VALUE",
            "TASK",
            "VALUE",
            "X",
        ),
    )
)
# Programs of others, which cannot be run here or need not be: what is looked at is what they name of ours.
OTHERS = ("apt-get", "docker", "gitlab-ci-local", "make", "npm", "pip", "snakemake")
FOREIGN = (*OTHERS, "cc", "cd", "git", "sudo")
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=\S*")
_DOTTED = re.compile(r"([a-z]+)\.([a-z][a-z_0-9]*)(?=$|[ ,])")


@dataclass(frozen=True)
class Line:
    """Something in a page that a reader would type.

    Attributes:
        page: name of the file, relative to the project.
        number: line, from 1.
        text: one command, without prompt, comment and continuation.
        inline: it stands in a sentence without `./invoke`, and may be less than what is typed (`store.pull --key`).
        elsewhere: the place that its block says it is for.
    """

    page: str
    number: int
    text: str
    inline: bool = False
    elsewhere: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A code block: its first line's number (from 1), the word behind the fence, its lines, and the mark before it."""

    number: int
    word: str
    lines: tuple[str, ...]
    elsewhere: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The code blocks of a page, fenced and indented; an indented one stands behind an empty line."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"\s*(```+)\s*(\S*)", lines[at])
        if fence:
            start = at = at + 1
            while at < len(lines) and not lines[at].strip().startswith(fence[1]):
                at += 1
            yield Block(start + 1, fence[2], tuple(lines[start:at]), _mark(lines[: start - 1]))
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            start = at
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            # An empty line begins another block: what was typed, what it said.
            mark = _mark(lines[:start])
            for number, run in _runs(lines[start:at], start + 1):
                yield Block(number, "", run, mark)
                mark = ""
            continue
        at += 1


def _mark(before: Sequence[str]) -> str:
    last = next((line for line in reversed(before) if line.strip()), "")
    found = re.fullmatch(r"<!-- elsewhere: (.+) -->", last.strip())
    return found[1] if found else ""


def _runs(lines: Sequence[str], first: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    run: list[str] = []
    for number, line in enumerate([*lines, ""], first):
        if line.strip():
            run.append(line)
        elif run:
            yield number - len(run), tuple(run)
            run = []


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The code spans outside of blocks: line and content."""
    lines = text.splitlines()
    for block in blocks(text):
        for at in range(block.number - 1, block.number - 1 + len(block.lines)):
            lines[at] = ""
    lines = ["" if line.strip().startswith("```") else line for line in lines]
    # A span does not leave its paragraph; a stray backtick must not turn the rest of the page inside out.
    for number, run in _runs(lines, 1):
        paragraph = "\n".join(run)
        for span in _SPAN.finditer(paragraph):
            yield number + paragraph.count("\n", 0, span.start()), " ".join(span[2].split())


def is_command(line: str) -> bool:
    """Whether a line of a block starts with a program."""
    words = line.strip().removeprefix("$ ").split()
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return bool(words) and (words[0] in FOREIGN or words[0].startswith(("./", ".venv/bin/")))


def commands(text: str, page: str) -> list[Line]:
    """Everything that a reader would type, one command each, with `[...]` and `a|b` written out."""
    found = []
    for block in blocks(text):
        lines = [line for line in block.lines if line.strip() and not line.strip().startswith("#")]
        if block.word != "sh" and not (block.word == "" and lines and is_command(lines[0])):
            continue
        number, held = block.number, ""
        for line in block.lines:
            here = number
            number += 1
            held += line.strip().removeprefix("$ ")
            if held.endswith("\\"):
                held = held[:-1].rstrip() + " "
                continue
            found += [Line(page, here, one, elsewhere=block.elsewhere) for one in _parts(held)]
            held = ""
    for number, span in prose(text):
        span = span.removeprefix("$ ")
        if span.startswith(".venv/bin/"):
            found.append(Line(page, number, span))
        elif re.match(r"([A-Z_][A-Z0-9_]*=\S+ )*(\./)?invoke ", span):
            found += [Line(page, number, one) for one in _parts(re.sub(r"(?<!\S)invoke ", "./invoke ", span, count=1))]
        elif " " in span and span.split()[0] in tasks() and not _is_python(span):
            found += [Line(page, number, one, inline=True) for one in _parts("./invoke " + span)]
    return [replace(one, text=text) for one in found for text in _written_out(one.text)]


def program_of(line: Line) -> str:
    """The program that a command starts, without its directory."""
    words = [word for word in line.text.split() if not ASSIGNMENT.fullmatch(word)]
    return words[0].removeprefix(".venv/bin/") if words else ""


def snippets() -> list[tuple[str, str]]:
    """What the pages add to files of the project: the file and the text, without the line that names it."""
    found = []
    for page in PAGES:
        for block in blocks(page.read_text()):
            named = re.fullmatch(r"# (\S+/\S+)", block.lines[0]) if block.lines else None
            if block.word in ("yaml", "kconfig") and named:
                found.append((named[1], "\n".join(block.lines[1:]) + "\n"))
    return found


@cache
def added(path: str, key: str) -> list[str]:
    """Names that the pages add below a key of a YAML file."""
    texts = [yaml.safe_load(text) for file, text in snippets() if file == path]
    return [name for text in texts for name in text.get(key, {})]


def _is_python(span: str) -> bool:
    return "(" in span.split()[0] or "->" in span


def _parts(line: str) -> list[str]:
    """A line as single commands: without its comment, and cut at `&&`."""
    parts = re.split(r"\s+&&\s+", re.sub(r"(^|\s)#.*", "", line))
    return [part.strip() for part in parts if part.strip()]


def _written_out(text: str) -> list[str]:
    """`x a|b [--c D]` as `x a --c D` and `x b --c D`."""
    text = re.sub(r"(?:(?<=\s)|^)\[(.*?)\](?=\s|$)", r"\1", text)
    either = re.search(r"(?<=\s)([\w.-]+(?:\|[\w.-]+)+)(?=\s|$)", text)
    if not either:
        return [text]
    return [
        one for way in either[1].split("|") for one in _written_out(text[: either.start()] + way + text[either.end() :])
    ]


@cache
def tasks() -> Mapping[str, ParserContext]:
    """The task list as Invoke parses it: every name and alias, with its options."""
    import tasks as root

    found = {}
    for context in root.ns.to_contexts():
        for name in (context.name, *context.aliases):
            found[str(name)] = context
    return found


def options() -> set[str]:
    """Every option of every task, and Invoke's own."""
    core = {flag for argument in Program().core_args() + Program().task_args() for flag in _flags(argument)}
    return core | {flag for context in tasks().values() for flag in context.flags}


def _flags(argument: Any) -> list[str]:
    return [f"--{name}" if len(name) > 1 else f"-{name}" for name in argument.names]
