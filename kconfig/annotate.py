"""Annotations: notes in the formats of CI systems, such as a lost symbol at the line of the fragment that asked for it.

GitHub: a line on stderr ("Workflow commands for GitHub Actions": `::error file=,line=,title=::message`).
GitLab: an entry of a Code Quality report (the part of Code Climate's format that GitLab's documentation names), which
a job names as `artifacts: reports: codequality: kdf-code-quality.json`.
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
from kconfig.survival import Lost

REPORT = "kdf-code-quality.json"  # in GitLab's CI_PROJECT_DIR


@dataclass(frozen=True)
class Note:
    """What a CI system is to show at the line of a file.

    Attributes:
        check: what kind of note it is, a word.
        key: two notes of one key are one.
        line: from 1; 0 for none.
        severe: whether it is an error; a warning otherwise.
    """

    check: str
    key: str
    title: str
    text: str
    file: str
    line: int = 0
    severe: bool = True


def of_lost(lost: Lost) -> Note:
    """The note of a lost symbol."""
    asked = lost.asked
    key = f"{lost.symbol} {asked.value} {asked.origin}"
    return Note("kconfig-survival", key, f"CONFIG_{lost.symbol} was lost", str(lost), asked.file, asked.line)


def tell(notes: Iterable[Note], env: Mapping[str, str] = os.environ) -> None:
    """Tell the CI system in which this runs of something; elsewhere nothing."""
    found = list(notes)
    if found and env.get("GITHUB_ACTIONS") == "true":
        print("\n".join(line(one) for one in found), file=sys.stderr, flush=True)
    if found and env.get("GITLAB_CI") == "true":
        report = Path(env.get("CI_PROJECT_DIR", ".")) / REPORT
        store.write_text(report, json.dumps(joined(report, found), indent=2) + "\n")


def line(note: Note) -> str:
    """GitHub's annotation."""
    places = {"file": note.file, "line": str(note.line)} if note.line else {}
    listed = ",".join(f"{key}={_property(value)}" for key, value in {**places, "title": note.title}.items())
    return f"::{'error' if note.severe else 'warning'} {listed}::{_data(note.text)}"


def entry(note: Note) -> dict[str, object]:
    """GitLab's entry."""
    return {
        "description": note.text,
        "check_name": note.check,
        "fingerprint": hashlib.sha256(note.key.encode()).hexdigest(),
        "severity": "major" if note.severe else "minor",
        "location": {"path": note.file, "lines": {"begin": max(note.line, 1)}},
    }


def joined(report: Path, notes: Iterable[Note]) -> list[dict[str, object]]:
    """What a report says already, with new entries; a note of several cells of one job stands there once."""
    try:
        before = json.loads(report.read_text())
        entries = {str(one["fingerprint"]): one for one in before}
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    return list((entries | {str(one["fingerprint"]): one for one in map(entry, notes)}).values())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
