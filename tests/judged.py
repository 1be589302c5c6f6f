"""Judging commands of the documents: by Invoke's own parser, and by the names that stand in them.

What comes in: lines of `tests.docs.documented`. What goes out: a sentence about what is wrong, or nothing. Must never
happen: a value of an option that nothing here looks at; such a command counts as wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import yaml
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext
from invoke.program import Program

from bench import idle
from tests.docs.documented import ASSIGNMENT, FOREIGN, PLACEHOLDERS, ROOT, Line, added, tasks


def parsed(words: Sequence[str]) -> Program:
    """What Invoke's own parser makes of the words behind `./invoke`.

    Raises:
        ParseError: there is no such task or option, or a word is missing.
    """
    import tasks as root

    # Invoke's parser copies every task that it knows, for each command: it gets those that the words name.
    named = {str(tasks()[word].name): tasks()[word] for word in words if word in tasks()}
    program = Program(namespace=root.ns, name="invoke", binary="invoke", version="0")
    program._make_parser = lambda: Parser(initial=program.initial_context, contexts=named.values())
    program.create_config()
    program.parse_core(["invoke", *words])
    program.parse_collection()
    program.parse_tasks()
    return program


def wrong(line: Line, imported: frozenset[str] = frozenset()) -> str:
    """What is wrong with a command, or an empty string.

    Args:
        line: the command.
        imported: names of series that commands of the pages import, which are therefore names as well.
    """
    try:
        words = shlex.split(line.text)
    except ValueError as error:
        return f"no shell would read it: {error}"
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words:
        return ""
    if words[0] != "./invoke":
        return _wrong_of_others(words)
    # What is quoted and has spaces is text, of gdb for example.
    if any(mark in word for mark in ("...", "<", ">", "|", ";") for word in words if " " not in word):
        return "it has an ellipsis, a redirection or a pipe: nothing of that was checked"
    if line.inline and all(word.startswith("-") for word in words[2:]):
        unknown = [word for word in words[2:] if word not in tasks()[words[1]].flags]
        return f"{words[1]} has no option {unknown[0]}" if unknown else ""
    try:
        program = parsed(["1" if word == "N" else word for word in words[1:]])
    except (ParseError, ValueError) as error:
        return str(error)
    asked = program.args.help.value
    if isinstance(asked, str) and asked not in {*tasks(), "TASK"}:
        return f"there is no task {asked} to be helped with"
    if not program.tasks and not (asked or program.args.list.value or program.args.version.value):
        return "it names no task"
    for context in program.tasks:
        profile = context.args.get("profile")
        if profile is not None and not profile.value and not line.inline:
            return f"{context.name} needs a profile"
    return next((why for context in program.tasks for why in _wrong_values(context, imported)), "")


def _wrong_of_others(words: Sequence[str]) -> str:
    """Programs of others: a path of ours that they name must be there, an extra must be in pyproject.toml."""
    program, rest = words[0], words[1:]
    if program.startswith(".venv/bin/"):
        program = program.removeprefix(".venv/bin/")
        if program not in ("pip", "snakemake", "ruff", "mypy", "pytest", "python"):
            return f"nothing is known of {program}"
        if program == "python" and not (rest[:1] == ["-m"] and (ROOT / f"{rest[1].replace('.', '/')}.py").is_file()):
            return "it starts no module of ours"
    elif program.startswith("./"):
        if not (ROOT / program).is_file():
            return f"there is no {program}"
    elif program not in FOREIGN:
        return f"nothing is known of {program}: it is no command of ours"
    if program == "sudo":
        return _wrong_of_others(rest)
    extras = (ROOT / "pyproject.toml").read_text()
    for word in rest:
        extra = re.fullmatch(r"\.\[(\w+)\]", word)
        if extra and f"\n{extra[1]} = [" not in extras:
            return f"pyproject.toml has no extra {extra[1]}"
        top = word.split("/")[0]
        if "/" in word and not word.startswith("/") and (ROOT / top).is_dir() and not (ROOT / word).exists():
            return f"there is no {word}"
    if program == "snakemake":
        said = dict(word.split("=", 1) for word in rest if "=" in word and not word.startswith("-"))
        return _not_one_of("a matrix", _matrices())(said["matrix"]) if "matrix" in said else ""
    return ""


def _wrong_values(context: ParserContext, imported: frozenset[str]) -> Iterator[str]:
    """What is wrong with the values that were given to a task; one that nobody looks at is wrong as well."""
    for argument in context.args.values():
        if argument.value == argument.default or argument.kind in (bool, int, float):
            continue
        check = CHECKS.get(f"{context.name} {argument.name}") or CHECKS.get(str(argument.name))
        for value in argument.value if isinstance(argument.value, list) else [argument.value]:
            if value in PLACEHOLDERS:
                continue
            if check is None:
                yield f"nothing here looks at {argument.name} of {context.name}"
            elif check is _series and value.partition("@")[0] in imported | PLACEHOLDERS:
                continue
            elif why := check(value):
                yield f"{argument.name} {value}: {why}"


Check = Callable[[str], str]


def _not_one_of(kind: str, known: Sequence[str]) -> Check:
    return lambda value: "" if value in known else f"is not {kind}: {', '.join(known)}"


def _each(check: Check) -> Check:
    """Values with commas between."""
    return lambda value: next((why for why in map(check, value.split(",")) if why), "")


def _refusal(work: Callable[[str], object]) -> Check:
    """What the kit itself says of a value."""
    from core.errors import KitError

    def check(value: str) -> str:
        try:
            work(value)
        except KitError as error:
            return error.message
        return ""

    return check


def _pattern(pattern: str) -> Check:
    return lambda value: "" if re.fullmatch(pattern, value) else f"does not look like {pattern}"


def _anything(_value: str) -> str:
    return ""


@cache
def _names(path: str, key: str) -> list[str]:
    return [*yaml.safe_load((ROOT / path).read_text())[key], *added(path, key)]


def _matrices() -> list[str]:
    return _names("ci/matrix.yaml", "matrices")


def _profile(value: str) -> str:
    return _not_one_of("a profile", _names("kconfig/profiles.yaml", "profiles"))(value)


def _base(value: str) -> str:
    bases = [one for one in _names("kconfig/profiles.yaml", "bases") if one != "path"]
    return "" if re.fullmatch(r"path:\S+", value) else _not_one_of("a base", bases)(value)


def _series(value: str) -> str:
    from patches import series

    return _refusal(lambda name: series.entry(name) or series.load(name))(value)


def _toolchain(value: str) -> str:
    return _not_one_of("a toolchain", _names("toolchain/toolchains.yaml", "toolchains"))(value)


def _linux(value: str) -> str:
    known = _names("sources/sources.yaml", "sources")
    versions = [name.removeprefix("linux-") for name in known if name.startswith("linux-")]
    if re.fullmatch(r"path:\S+|git:\S+@\S+", value):
        return ""
    return _not_one_of("a version of Linux", versions)(value.removeprefix("linux-"))


def _workload(value: str) -> str:
    from guest import plan

    # Overflow leaves three captures, of its big and its small buffer and what came after (docs/architecture.md).
    parts = {f"overflow-{one}" for one in ("big", "small", "resumed")}
    return _not_one_of("a workload", sorted({*plan.NAMES, *parts} - {"overflow"}))(value)


def _kind(value: str) -> str:
    return _not_one_of("a kind of products", _kinds())(value)


@cache
def _kinds() -> list[str]:
    """Kinds of products: what the code makes."""
    made = set()
    for folder in ("toolchain", "kernel", "guest", "patches", "core", "kconfig"):
        for file in (ROOT / folder).glob("*.py"):
            made |= set(re.findall(r'(?:KIND(?:: \S+)? = |store\.(?:make|find)\(\s*)"(\w+)"', file.read_text()))
    return sorted(made)


def _cell(value: str) -> str:
    from ci import matrices

    return _refusal(matrices.find_cell)(value)


def _source(value: str) -> str:
    return _not_one_of("a source", _names("sources/sources.yaml", "sources"))(value)


def _beside(value: str) -> str:
    words = value.split(":")
    if len(words) < 3:
        return "wanted PROFILE:SERIES:TOOLCHAIN"
    profile, series, toolchain, *settings = words
    return _profile(profile) or _series(series) or _toolchain(toolchain) or "".join(map(_SETTING, settings))


_SETTING = _pattern(r"[A-Z][A-Z0-9_]+=\S+")
_PLACE = _pattern(r"[~./\w][\w./~:@+-]*")
_REVISION = _pattern(r"[\w./~^-]+")
_NUMBER = _pattern(r"[0-9]+")
_HEX = _pattern(r"[0-9a-f]{4,64}")
_WORDS = _pattern(r"\S.*")

# By option, or by task and option where one word means different things.
CHECKS: Mapping[str, Check] = {
    "after": _PLACE,
    "arch": _not_one_of("an architecture", ("x86_64", "arm64")),
    "bad": _REVISION,
    "base": _base,
    "before": _PLACE,
    "beside": _each(_beside),
    "command": _WORDS,
    "exec": _WORDS,
    "file": _PLACE,
    "files": _each(_PLACE),
    "filter": _pattern(r"\w+"),
    "folder": _PLACE,
    "folders": _each(_pattern(r"[a-z][a-z/]*")),
    "fragment": _PLACE,
    "from_": _PLACE,
    "generation": _pattern(r"L[0-3]|G1"),
    "git": _PLACE,
    "good": _REVISION,
    "id": _cell,
    "instrument": _each(_pattern(r"[a-z][\w/-]*(\.o|/)")),
    "into": _PLACE,
    "key": _HEX,
    "kind": _kind,
    "kselftest": _each(_pattern(r"[a-z][\w/]*")),
    "layout": _pattern(r"kit-[12]|K[1-5]"),
    "left": _HEX,
    "linux": _linux,
    "lto": _not_one_of("a way to link", ("thin",)),
    "match": _WORDS,
    "matrix": lambda value: _not_one_of("a matrix", _matrices())(value),
    "mbox": _PLACE,
    "memory": _NUMBER,
    "name": _toolchain,
    "one": _PLACE,
    "other": _PLACE,
    "allow_file": _PLACE,
    "output": _PLACE,
    "parts": _each(_not_one_of("a part", ("same", "steps", "rebuild", "warm", "kernel", "faster", "cold"))),
    "profile": _profile,
    "places": _refusal(lambda value: idle.chosen(value, idle.load().places)),
    "profiles": _each(_profile),
    "range_": _pattern(r"\S+\.\.\S+"),
    "require": _WORDS,
    "revision": _NUMBER,
    "right": _HEX,
    "run": _PLACE,
    "runs": _PLACE,
    "runtime": _not_one_of("a runtime", ("auto", "docker", "host")),
    "seed": _pattern(r"[0-9a-f]+"),
    "series": _series,
    "set": _SETTING,
    "sha256": _pattern(r"[0-9a-f]{64}"),
    "since": _REVISION,
    "smp": _NUMBER,
    "source": _PLACE,
    "symbol": _pattern(r"[A-Z][A-Z0-9_]+"),
    "system": _not_one_of("a CI system", ("github", "gitlab")),
    "target": _PLACE,
    "targets": _each(_pattern(r"x86_64|arm64")),
    "toolchain": _toolchain,
    "unpatched": _PLACE,
    "until": _not_one_of("a stage", ("tree", "config", "build")),
    "workload": _workload,
    "kconfig.diff one": _profile,
    "kconfig.diff other": _profile,
    "patches.import name": _pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "sources.fetch name": _source,
}
