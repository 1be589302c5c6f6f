"""Write notes in the formats of CI systems, such as a lost symbol at the line of the fragment that requests it.

GitHub gets a line on stderr ("Workflow commands for GitHub Actions": `::error file=,line=,title=::message`).
GitLab gets an entry in a Code Quality report (the part of Code Climate's format that GitLab documents), which a job
names as `artifacts: reports: codequality: kdf-code-quality.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core import store
from core.errors import printable
from kconfig.survival import Lost

REPORT = "kdf-code-quality.json"  # in GitLab's CI_PROJECT_DIR


@dataclass(frozen=True)
class Note:
    """A note that a CI system shows at the line of a file.

    Attributes:
        check: the kind of note, one word.
        key: notes with the same key are shown once.
        line: line number from 1; 0 if it has none.
        severe: whether it is an error; otherwise it is a warning.
    """

    check: str
    key: str
    title: str
    text: str
    file: str
    line: int = 0
    severe: bool = True


def of_lost(lost: Lost) -> Note:
    """Return the note of a lost symbol."""
    asked = lost.asked
    key = f"{lost.symbol} {asked.value} {asked.origin}"
    return Note("kconfig-survival", key, f"CONFIG_{lost.symbol} was lost", str(lost), asked.file, asked.line)


def tell(notes: Iterable[Note], env: Mapping[str, str] = os.environ) -> None:
    """Report notes to the CI system in which this runs; do nothing elsewhere."""
    listed = list(notes)
    if listed and env.get("GITHUB_ACTIONS") == "true":
        print("\n".join(line(note) for note in listed), file=sys.stderr, flush=True)
    if listed and env.get("GITLAB_CI") == "true":
        report = Path(env.get("CI_PROJECT_DIR", ".")) / REPORT
        store.write_text(report, json.dumps(joined(report, listed), indent=2) + "\n")


def line(note: Note) -> str:
    """Return a note as GitHub's annotation."""
    position = {"file": note.file, "line": str(note.line)} if note.line else {}
    listed = ",".join(f"{key}={_property(value)}" for key, value in {**position, "title": note.title}.items())
    return f"::{'error' if note.severe else 'warning'} {listed}::{_data(note.text)}"


def entry(note: Note) -> dict[str, object]:
    """Return a note as an entry of GitLab's report."""
    return {
        "description": note.text,
        "check_name": note.check,
        "fingerprint": hashlib.sha256(note.key.encode()).hexdigest(),
        "severity": "major" if note.severe else "minor",
        "location": {"path": note.file, "lines": {"begin": max(note.line, 1)}},
    }


def joined(report: Path, notes: Iterable[Note]) -> list[dict[str, object]]:
    """Return the entries of a report together with new ones; a note of several cells is there once."""
    try:
        before = json.loads(report.read_text())
        entries = {str(old["fingerprint"]): old for old in before}
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    return list((entries | {str(new["fingerprint"]): new for new in map(entry, notes)}).values())


def _data(text: str) -> str:
    # GitHub turns %0A back into a line feed of the note.
    return printable(text.replace("\r\n", "\n")).replace("%", "%25").replace("\n", "%0A").replace("\t", " ")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
