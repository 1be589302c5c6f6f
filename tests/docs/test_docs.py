"""The documents against the project: every command in them is parsed, its names looked up, and what is quick is run."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from ci import matrices, pipeline
from commands import program
from kconfig import fragment, profiles
from tests import judged
from tests.docs import documented
from tests.docs.documented import PAGES, ROOT, Line
from toolchain import specs

# Run here as they stand, with an empty home, no network and no engine: the command, and how it ends.
RUN = {
    "./invoke --list": 0,
    "./invoke --help kernel.run": 0,
    "./invoke kconfig.list": 0,
    "./invoke kconfig.show all --base tiny": 0,
    "./invoke patches.list": 0,
    "./invoke patches.export kit -o DIR": 0,
    "./invoke patches.check rfc-v1": 2,
    "./invoke store.list": 0,
    "./invoke store.check": 0,
    "./invoke store.gc": 0,
    "./invoke store.gc --days 7": 0,
    "./invoke ci.generate github": 0,
    "./invoke ci.generate gitlab": 0,
    "./invoke ci.generate github --matrix small": 0,
    "./invoke ci.generate gitlab --matrix small": 0,
    "./invoke ci.generate github --matrix small --check": 1,  # nothing was generated there
}
# Why commands of a task are parsed only. Some of them run in tests/e2e/test_14_docs.py; all have tests of their own.
PARSED = {
    "bench": "measures for minutes",
    "cell.keep": "of a cell that ran",
    "cell.reproduce": "builds",
    "cell.run": "builds",
    "ci.plan": "asks the engine",
    "ci.run": "builds",
    "ci.verdict": "of cells that ran",
    "dataflow": "of a run, or builds",
    "guest": "boots",
    "doctor": "looks at the machine",
    "kconfig.check": "configures",
    "kconfig.diff": "configures",
    "kconfig.why": "configures",
    "kernel": "builds",
    "patches.apply": "fetches",
    "patches.check": "fetches",
    "patches.import": "of a file of the reader's",
    "patches.refresh": "of a branch of the reader's",
    "report": "of runs",
    "sources": "fetches",
    "store.pull": "of a place of the reader's",
    "store.push": "to a place of the reader's",
    "test": "runs for minutes",
    "toolchain": "builds",
}

ROOMS = (
    "core",
    "sources",
    "patches",
    "toolchain",
    "kconfig",
    "kernel",
    "guest",
    "dataflow",
    "cells",
    "report",
    "ci",
    "bench",
    "commands",
)


@cache
def said() -> tuple[Line, ...]:
    return tuple(line for page in PAGES for line in documented.commands(page.read_text(), page.name))


@cache
def imported() -> frozenset[str]:
    """Names of series that commands of the pages import."""
    found = (re.match(r"\./invoke patches\.import (\S+) --from", line.text) for line in said())
    return frozenset(name[1] for name in found if name)


def wrong_in(text: str) -> list[str]:
    return [why for line in documented.commands(text, "page.md") if (why := judged.wrong(line, frozenset({"theirs"})))]


def test_every_command_in_the_pages_is_one_that_the_kit_takes() -> None:
    lines = said()
    assert len(lines) > 100, "the pages have that many commands: if fewer are found, the search has lost some"
    series = imported()
    assert [f"{line}: {why}" for line in lines if (why := judged.wrong(line, series))] == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("./invoke kernel.run --profil all", "No idea what '--profil' is"),
        ("./invoke kernel.run --profile al --base tiny", "is not a profile"),
        ("./invoke kernel.run --profile all --base small", "is not a base"),
        ("./invoke kernel.run --profile all --toolchain gcc", "is not a toolchain"),
        ("./invoke kernel.run --profile all --series mien", "there is no series mien"),
        ("./invoke kernel.run --profile all --series kit@7", "has 6 patches"),
        ("./invoke kernel.run --profile all --linux 7.9", "is not a version of Linux"),
        ("./invoke kernel.run --profile all --instrument fs", "does not look like"),
        ("./invoke kernel.make --profile all", "No idea what 'kernel.make' is"),
        ("./invoke", "it names no task"),
        ("./invoke --help kernel.make", "there is no task kernel.make"),
        ("./invoke kernel.run --profile", "needed value"),
        ("./invoke kernel.run --profile NONE", "is not a profile"),
        ("./invoke kernel.build --base tiny", "needs a profile"),
        ("./invoke kernel.run --profile all > log", "a redirection or a pipe"),
        ("./invoke cell.run plugin-19_kit_all_small_x86_64_7.1.8", "there is no cell"),
        ("./invoke cell.run CELL --until boot", "is not a stage"),
        ("./invoke ci.plan --matrix tinny", "is not a matrix"),
        ("./invoke ci.generate jenkins", "is not a CI system"),
        ("./invoke dataflow.show --workload opening", "is not a workload"),
        ("./invoke store.list --kind kernels", "is not a kind of products"),
        ("./invoke toolchain.path clang", "is not a toolchain"),
        ("./invoke toolchain.path", "did not receive required positional arguments"),
        ("./invoke sources.fetch linux-9", "is not a source"),
        ("./invoke kconfig.diff none every", "is not a profile"),
        ("./invoke bench.rfc --rounds many", "invalid literal"),
        (".venv/bin/snakemake -s ci/Snakefil", "there is no ci/Snakefil"),
        (".venv/bin/snakemake --config matrix=tinny", "is not a matrix"),
        (".venv/bin/pip install -e '.[clusters]'", "no extra clusters"),
        (".venv/bin/python -m bench.compilers", "no module of ours"),
        ("sudo ./invok doctor", "there is no ./invok"),
    ],
)
def test_a_wrong_command_is_found_wherever_it_stands(command: str, why: str) -> None:
    for page in (f"```sh\n{command}  # why\n```\n", f"Text.\n\n    $ {command}\n\nText.\n"):
        assert why in "".join(wrong_in(page)), page
    if command.startswith(("./invoke ", ".venv")):
        assert why in "".join(wrong_in(f"| `{command}` | does |"))
    task = command.removeprefix("./invoke ")
    if task.partition(" ")[0] in documented.tasks() and " " in task and why not in ("needed value", "needs a profile"):
        assert why in "".join(wrong_in(f"Say `{task}` for it."))


@pytest.mark.parametrize(
    "page",
    [
        "```sh\n./invoke kernel.run --profile all \\\n    --base tiny\n```",
        "```sh\ncd linux && ./invoke ci.generate github|gitlab [--matrix NAME]\n```",
        "See `store.pull --key`, `patches.export kit -o DIR`, and `kernel.bisect --git`.",
        "`./invoke kernel.build --series theirs@2 --profile all --base path:my.config --linux git:~/linux@v7.1`",
        "`KDF_HOME=/tmp/x ./invoke toolchain.shell NAME -- make -C DIR`",
    ],
)
def test_what_is_right_is_let_through(page: str) -> None:
    assert documented.commands(page, "page.md")
    assert wrong_in(page) == []


def test_alternatives_and_continued_lines_are_all_looked_at() -> None:
    lines = ["```sh", "./invoke ci.generate github|jenkins", "./invoke kconfig.list \\", "  --jsn"]
    page = "\n".join([*lines, "./invoke doctor && ./invoke doc", "```"])
    assert len(wrong_in(page)) == 3
    assert [line.number for line in documented.commands(page, "page.md")] == [2, 2, 4, 5, 5]


def test_no_command_hides_in_a_block_that_is_not_checked() -> None:
    for page in PAGES:
        for block in documented.blocks(page.read_text()):
            checked = block.word == "sh" or (block.word == "" and documented.is_command(block.lines[0]))
            hidden = [] if checked else [line for line in block.lines if documented.is_command(line)]
            assert hidden == [], f"{page.name}:{block.number}: make it a block of sh, or take the command out"


def text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def dotted() -> Iterator[tuple[Path, int, str, str]]:
    collections = {name.partition(".")[0] for name in documented.tasks()}
    for page in PAGES:
        for number, span in documented.prose(page.read_text()):
            found = re.match(r"([a-z]+)\.([a-z][a-z_-]*)(?=$|[ ,(.])", span)
            if found and found[1] in collections and found[2] not in ("config", "md", "yaml"):
                yield page, number, found[1], found[2]


def test_every_name_with_a_dot_is_a_task_a_module_or_a_file() -> None:
    unknown = [
        f"{page.name}:{number}: {room}.{name}"
        for page, number, room, name in dotted()
        if f"{room}.{name}" not in documented.tasks()
        and not (ROOT / room / f"{name}.py").exists()
        and f"def {name}(" not in (text(ROOT / "core" / f"{room}.py"))
    ]
    assert unknown == []


def test_every_option_that_is_mentioned_exists() -> None:
    # Of scripts/config, ld.so, clang, cp, git and gitlab-ci-local; and what ends the options.
    foreign = {"--undefine", "--library-path", "--start-no-unused-arguments", "--end-no-unused-arguments"}
    foreign |= {"--reflink", "--numstat", "--shell-isolation", "--"}
    options = documented.options() | foreign
    unknown = [
        f"{page.name}:{number}: {span}"
        for page in PAGES
        for number, span in documented.prose(page.read_text())
        if span.startswith("--") and re.split(r"[ =]", span)[0] not in options
    ]
    assert unknown == []


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for goal in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, heading = goal.partition("#")
            if "://" in goal:
                continue
            file = page.parent / path if path else page
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if file.is_file() else []
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            if not file.exists() or (heading and heading not in anchors):
                broken.append(f"{page.name}: {goal}")
    assert broken == []


def hints() -> Iterator[Line]:
    """Commands in the texts of the code: messages, help, examples; what is filled in while it runs is NAME."""
    for file in [file for room in ROOMS for file in sorted((ROOT / room).glob("**/*.py"))]:
        tree = ast.parse(file.read_text())
        filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        inside = {id(part) for whole in filled for part in ast.walk(whole)}
        texts = [
            (n.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "NAME" for p in n.values))
            for n in filled
        ]
        texts += [
            (node.lineno, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside
        ]
        for number, text in texts:
            for found in re.finditer(r"\./invoke ([^`;\n]+)", re.sub(r'"?\$\w+"?', "NAME", text)):
                yield Line(str(file.relative_to(ROOT)), number, f"./invoke {found[1]}")


def wrong_hint(line: Line) -> str:
    """What is wrong with a command that a sentence may go on behind: with that part of it that fits best.

    It ends at the latest at a word with a mark behind it, and holds every word with a dash.
    """
    words = line.text.split(" ")
    words = words[: next((at for at, word in enumerate(words, 1) if word.endswith((".", ",", ")", ":"))), len(words))]
    words[-1] = words[-1].rstrip(".,):")
    dashed = max((at for at, word in enumerate(words, 1) if word.startswith("-")), default=2)
    tries = [Line(line.page, line.number, " ".join(words[:end])) for end in range(max(dashed, 2), len(words) + 1)]
    said = [judged.wrong(one, imported()) for one in tries]
    return "" if "" in said else f"{tries[-1]}: {said[-1]}"


def test_commands_in_messages_and_examples() -> None:
    lines = list(hints())
    assert len(lines) > 60
    assert [why for line in lines if (why := wrong_hint(line))] == []


@pytest.mark.parametrize(
    "text",
    [
        "./invoke kernel.build --profil all first",
        "./invoke kernel.build, then boot it",
        "./invoke store.clean, or make room",
        "./invoke kconfig.show al",
        "./invoke sources.fetch NAME --sha256, the base image",
        "./invoke toolchain.build --name plugin-9 --runtime NAME",
    ],
)
def test_a_wrong_command_in_a_message_is_found(text: str) -> None:
    assert wrong_hint(Line("x.py", 1, text))


def names_of(file: str) -> list[str]:
    keys = yaml.safe_load((ROOT / file).read_text()) if file.endswith(".yaml") else {}
    return [name for key in keys for name in documented.added(file, key)]


def test_what_the_pages_add_is_taken_by_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each snippet is put into a copy of its file, as a reader would, and the room's own loader reads all of it."""
    shutil.copytree(fragment.FOLDER, tmp_path / "kconfig" / "fragments")
    monkeypatch.setattr(fragment, "FOLDER", tmp_path / "kconfig" / "fragments")
    for module in (profiles, specs, matrices):
        copy = tmp_path / module.FILE.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(module.FILE, copy)
        monkeypatch.setattr(module, "FILE", copy)
    assert len(documented.snippets()) > 3
    for path, text in documented.snippets():
        file = tmp_path / path
        if not file.exists():
            file.write_text(text)
            continue
        key, _, rest = text.partition("\n")
        assert f"\n{key}\n" in file.read_text(), f"{path} has no {key}"
        file.write_text(file.read_text().replace(f"\n{key}\n", f"\n{key}\n{rest}", 1))
    added, toolchains = names_of("kconfig/profiles.yaml"), names_of("toolchain/toolchains.yaml")
    assert added
    for one in added:
        request = profiles.compose(one, "tiny", "x86_64", "7.1.8", file=profiles.FILE)
        fragments = [file for file, _text in documented.snippets() if file.endswith(".config")]
        assert any(asked.origin.startswith(file) for asked in request.asked for file in fragments)
    assert toolchains
    for one in toolchains:
        assert specs.spec(one).name == one
    assert names_of("ci/matrix.yaml")
    for one in names_of("ci/matrix.yaml"):
        assert matrices.find(one, matrices.FILE).cells


def test_commands_for_another_place_are_marked() -> None:
    unmarked = [
        str(line)
        for line in said()
        if documented.program_of(line) in documented.OTHERS and not line.elsewhere and not is_span(line)
    ]
    assert unmarked == []
    for page in PAGES:
        for block in documented.blocks(page.read_text()):
            if block.elsewhere:
                lines = [line for line in said() if line.page == page.name and line.elsewhere == block.elsewhere]
                assert any(documented.program_of(line) in documented.OTHERS for line in lines), (
                    f"{page.name}: a mark for nothing"
                )


def is_span(line: Line) -> bool:
    page = next(page for page in PAGES if page.name == line.page)
    return any(number == line.number for number, _span in documented.prose(page.read_text()))


def test_what_the_guide_quotes_is_what_the_code_says() -> None:
    """The first column of guide-trouble.md quotes messages: each piece of a quotation stands in a text of the code."""
    code = "\n".join(file.read_text() for room in ROOMS for file in sorted((ROOT / room).glob("**/*.py")))
    code = re.sub(r"\{[^{}]*\}", "{}", code)
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / "guide-trouble.md").read_text(), re.MULTILINE)
    quotes = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row)]
    assert len(quotes) > 20
    missing = [
        quote
        for quote in quotes
        if not quote.startswith("store.")
        and any(piece.strip() and piece.strip() not in code for piece in re.split(r"\.\.\.|\b[A-Z]\b", quote))
    ]
    assert missing == []


def _is_mention(line: Line) -> bool:
    return line.inline and all(word.startswith("-") for word in line.text.split()[2:])


def test_every_command_is_run_or_there_is_a_reason() -> None:
    lines = [line for line in said() if line.text.startswith("./invoke ") and not _is_mention(line)]
    texts = {line.text for line in lines}
    assert [text for text in RUN if text not in texts] == [], "no page says so any more"
    named = {name for text in texts for name in [text.split()[1]]}
    reasons = [name for name in PARSED if not any(one == name or one.startswith(name + ".") for one in named)]
    assert reasons == [], "no page names these any more"
    own = {*imported(), *(name for file, _text in documented.snippets() for name in names_of(file))}
    left = [
        str(line)
        for line in lines
        if line.text not in RUN
        and not any(name in PARSED for name in (line.text.split()[1], line.text.split()[1].partition(".")[0]))
        and not own & set(line.text.split())
        and not any(word in documented.PLACEHOLDERS for word in line.text.split())
    ]
    assert left == []


@pytest.mark.parametrize("text", RUN)
def test_what_is_quick_is_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "FILES", {system: tmp_path / system for system in pipeline.FILES})
    words = [{"DIR": "made"}.get(word, word) for word in text.split()[1:]]
    code = program.main(words)
    shown = capsys.readouterr()
    assert code == RUN[text], shown.err
    assert shown.out if code == 0 else shown.err.startswith("error: ")
