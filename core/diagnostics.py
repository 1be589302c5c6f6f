"""Read the log of a build: its errors and warnings, and what made it fail.

Takes lines of compilers, linkers, make and the kernel's own tools, in any order and of any length. Gives diagnostics
with file and line, and the one cause that a person would name. Decides by the tools' own words whether the machine
ended the build: source text that a compiler quotes never counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

# Characters of a line that are read, and diagnostics that are kept.
_LINE = 4096
_MOST = 20_000
_TEXT = 400

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|[ -/]{0,8}[0-~])")
# What a compiler quotes: "  950 | text", "      | ^", and clang 19's lines with the number at the left.
_QUOTED = re.compile(r"^\s{0,12}\d{0,7} {0,3}\|")
_TREE = re.compile(r"^(?:/kdf/tree/|(?:\./|\.\./)+)")

_SEVERITY = r"(?P<severity>fatal error|[Ff]atal [Ee]rror|error|warning|Error|Warning|ERROR|WARNING)"
# clang, gcc, both assemblers: FILE:LINE:COLUMN: error: TEXT. Kconfig: FILE:LINE:warning: TEXT.
_PLACED = re.compile(rf"^(?P<file>[^:\n]{{1,512}}):(?P<line>\d{{1,7}})(?::\d{{1,7}})?: ?{_SEVERITY}: ?(?P<text>.+)$")
# Kconfig's errors have no severity: fs/Kconfig:12: syntax error (scripts/kconfig/parser.y).
_KCONFIG = re.compile(
    r"^(?P<file>[^:\n]{0,512}(?:Kconfig|\.config)[^:\n]{0,64}):(?P<line>\d{1,7}): (?P<text>(?!warning|error).{1,400})$"
)
_OBJTOOL = re.compile(r"^(?P<file>[^\s:]{1,512}): (?P<severity>warning|error): (?P<text>objtool: .+)$")
_MODPOST = re.compile(r"^(?P<severity>WARNING|ERROR): (?P<text>(?:modpost: |\").+)$")
_TOOL = re.compile(
    rf"^(?:\S{{0,256}}/)?(?P<tool>(?:ld|clang|gcc|g\+\+|cc|c\+\+|cc1|collect2|as|llvm-\w+|rustc|bindgen|pahole|opt|lld)"
    rf"(?:\+\+)?(?:[.-][\w.]{{1,32}})?): (?:{_SEVERITY}: )?(?P<text>.+)$"
)
_RUST = re.compile(r"^(?P<severity>error|warning)(?P<code>\[E\d{1,5}\])?: (?P<text>.+)$")
_RUST_PLACE = re.compile(r"^ {0,12}--> (?P<file>[^:\n]{1,512}):(?P<line>\d{1,7}):\d{1,7}$")
_MAKE_FILE = re.compile(r"^(?P<file>[^:\n]{1,512}):(?P<line>\d{1,7}): \*\*\* (?P<text>.+?)\.  Stop\.$")
_MAKE = re.compile(r"^make(?:\[\d{1,4}\])?: \*\*\* (?P<text>(?!\[).+?)(?:\.  Stop\.)?$")
_BTF = re.compile(r"^(?P<text>(?:FAILED: load BTF|BTF: |Failed to generate BTF|libbpf: (?:failed|Error)).+)$")
_CMAKE = re.compile(r"^CMake Error(?: at (?P<file>[^:\n]{1,512}):(?P<line>\d{1,7}) .*)?:$")
_UNDEFINED = re.compile(r"^(?P<text>.{0,1024}undefined reference to .+)$")
# Any other tool that says so in its first words, and the last line of a Python traceback.
_WEAK = re.compile(
    r"^(?:\S{1,256}: ){0,3}(?:error|fatal|Error|ERROR|FATAL|panicked at|\w{1,40}Error)\b[: ].*|"
    r".+: Permission denied$"
)

# These only say that something before them failed.
_SECONDARY = re.compile(
    r"^(?:aborting due to|could not compile|linker command failed|ld returned \d|all warnings being treated|"
    r"\d+ (?:warnings?|errors?) (?:emitted|generated)|`?.{0,200}generated \d+ warnings?|unable to execute command|"
    r"recipe for target|build failed|the following warnings were emitted|\[.*Error \d+$)"
)
_KILLED = re.compile(
    r"^(?:Killed|Terminated|Out of memory!?)$|^make(?:\[\d{1,4}\])?: \*\*\* \[.{0,1024}\] (?:Killed|Terminated)$|"
    r"^(?:\S{1,256}: )?(?:error|fatal error): (?:unable to execute command: Killed|Killed signal terminated program.*)|"
    r"^(?:\S{0,256}/)?(?:clang|gcc|g\+\+|cc|c\+\+|collect2|rustc)\S{0,32}: (?:fatal )?error: .{0,128}(?:Killed|"
    r"signal 9|SIGKILL).{0,64}$|"
    r"^LLVM ERROR: out of memory|^(?:virtual memory exhausted|cc1\S{0,16}: out of memory|fatal: Out of memory)|"
    r"^\S{1,256}: line \d{1,6}: +\d{1,10} Killed |.{0,200}\(signal: 9, SIGKILL.{0,40}\)$"
)
_FULL = re.compile(r"No space left on device['\")]{0,2}\.?$|Disk quota exceeded$")
# A shell, env or make that does not find a program: SHELL: 1: PROGRAM: not found.
_MISSING = re.compile(
    r"^(?:\S{0,200}/)?(?:ba|da|a|k|z)?sh: (?P<shell>[\w./+-]{1,100}): (?:command )?not found$|"
    r"^\S{1,200}: (?:line )?\d{1,6}: (?P<name>[\w./+-]{1,100}): (?:command )?not found$|"
    r"^(?:/usr/bin/)?env: ['\u2018`]?(?P<env>[\w./+-]{1,100})['\u2019]?: No such file or directory$|"
    r"^make(?:\[\d{1,4}\])?: (?:execvp: )?(?P<make>[\w+-]{1,100}): (?:No such file or directory|Command not found)$"
)


class Severity(StrEnum):
    """How bad a diagnostic is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning.

    Attributes:
        text: with the tool's word before it where people expect that, such as `fatal error: `.
        file: below the kernel's source or the build directory; empty if the tool named none.
        line: from 1; 0 if it is unknown.
    """

    severity: Severity
    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.text}"


@dataclass
class Log:
    """What was read of a log so far.

    Attributes:
        errors, warnings: in order, each once.
        killed: whether the machine ended a tool, by the tools' own words.
        full: the line of a tool that could not write because its disk is full, or empty.
        missing: the line about a program that is not there, or empty.
    """

    errors: dict[Diagnostic, None] = field(default_factory=dict)
    warnings: dict[Diagnostic, None] = field(default_factory=dict)
    killed: bool = False
    full: str = ""
    missing: str = ""
    _weak: str = ""
    _pending: Diagnostic | None = None
    _waited: int = 0

    @property
    def cause(self) -> str:
        """Return the sentence of the first error that others do not follow from; empty if there is none."""
        self._flush()
        first = next((error for error in self.errors if not _SECONDARY.match(_bare(error.text))), None)
        return str(first) if first else self._weak or str(next(iter(self.errors), ""))

    def feed(self, raw: str) -> None:
        """Read one line."""
        line = _ESCAPES.sub("", raw[:_LINE]).rstrip()
        if self._pending is not None:
            if place := _RUST_PLACE.match(line):
                waiting = self._pending
                self._pending = None
                self._add(Diagnostic(waiting.severity, waiting.text, _below(place["file"]), int(place["line"])))
                return
            self._waited += 1
            if self._waited > 2 or not line.startswith((" ", "\t")):
                self._flush()
        if not line or _QUOTED.match(line):
            return
        self.killed = self.killed or bool(_KILLED.match(line))
        if _FULL.search(line):
            self.full = self.full or line
        if _MISSING.match(line):
            self.missing = self.missing or line
        self._diagnose(line)

    def _diagnose(self, line: str) -> None:
        if (match := _PLACED.match(line)) or (match := _OBJTOOL.match(line) or _MODPOST.match(line)):
            self._add(_of(match))
        elif match := _MAKE_FILE.match(line) or _KCONFIG.match(line) or _CMAKE.match(line):
            text = match["text"] if "text" in match.re.groupindex else "CMake Error"
            self._add(Diagnostic(Severity.ERROR, text, _below(match["file"] or ""), int(match["line"] or "0")))
        elif match := _RUST.match(line):
            self._flush()
            words = (
                f"{match['severity']}{match['code'] or ''}: {match['text']}"
                if match["severity"] == "error"
                else match["text"]
            )
            if not _SECONDARY.match(match["text"]):
                self._pending, self._waited = Diagnostic(Severity(match["severity"]), words[:_TEXT]), 0
        elif match := _TOOL.match(line):
            if match["severity"]:
                self._add(Diagnostic(_severity(match["severity"]), match["text"][:_TEXT], match["tool"]))
            elif "undefined reference" in line:
                self._add(Diagnostic(Severity.ERROR, line[:_TEXT]))
        elif match := _MAKE.match(line) or _BTF.match(line) or _UNDEFINED.match(line):
            self._add(Diagnostic(Severity.ERROR, match["text"][:_TEXT]))
        elif not self._weak and _WEAK.match(line):
            self._weak = line[:_TEXT]

    def _add(self, diagnostic: Diagnostic) -> None:
        into = self.errors if diagnostic.severity is Severity.ERROR else self.warnings
        if len(into) < _MOST:
            into.setdefault(diagnostic)

    def _flush(self) -> None:
        if self._pending is not None:
            self._add(self._pending)
            self._pending = None


def read(lines: Iterable[str]) -> Log:
    """Read a whole log."""
    log = Log()
    for line in lines:
        log.feed(line)
    log._flush()
    return log


def _severity(word: str) -> Severity:
    return Severity.WARNING if word.lower() == "warning" else Severity.ERROR


def _of(match: re.Match[str]) -> Diagnostic:
    groups = match.groupdict()
    word = groups["severity"]
    text = groups["text"][:_TEXT]
    if word.lower() == "fatal error":
        text = f"fatal error: {text}"
    return Diagnostic(_severity(word), text, _below(groups.get("file") or ""), int(groups.get("line") or "0"))


def _bare(text: str) -> str:
    return text.removeprefix("error: ").removeprefix("fatal error: ")


def _below(file: str) -> str:
    return _TREE.sub("", file)
