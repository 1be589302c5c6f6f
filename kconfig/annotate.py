"""Annotations: one entry per lost symbol in the formats of CI systems, at the line of the fragment that asked for it.

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
from pathlib import Path

from core import store
from kconfig.survival import Lost

REPORT = "kdf-code-quality.json"  # in GitLab's CI_PROJECT_DIR


def tell(lost: Iterable[Lost], env: Mapping[str, str] = os.environ) -> None:
    """Tell the CI system in which this runs of lost symbols; elsewhere nothing."""
    found = list(lost)
    if found and env.get("GITHUB_ACTIONS") == "true":
        print("\n".join(line(one) for one in found), file=sys.stderr, flush=True)
    if found and env.get("GITLAB_CI") == "true":
        report = Path(env.get("CI_PROJECT_DIR", ".")) / REPORT
        store.write_text(report, json.dumps(joined(report, found), indent=2) + "\n")


def line(lost: Lost) -> str:
    """GitHub's annotation of one lost symbol."""
    places = {"file": lost.asked.file, "line": str(lost.asked.line)} if lost.asked.line else {}
    properties = {**places, "title": f"CONFIG_{lost.symbol} was lost"}
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {listed}::{_data(str(lost))}"


def entry(lost: Lost) -> dict[str, object]:
    """GitLab's entry for one lost symbol."""
    return {
        "description": str(lost),
        "check_name": "kconfig-survival",
        "fingerprint": hashlib.sha256(f"{lost.symbol} {lost.asked.value} {lost.asked.origin}".encode()).hexdigest(),
        "severity": "major",
        "location": {"path": lost.asked.file, "lines": {"begin": max(lost.asked.line, 1)}},
    }


def joined(report: Path, lost: Iterable[Lost]) -> list[dict[str, object]]:
    """What a report says already, with new entries; a loss of several cells of one job stands there once."""
    try:
        before = json.loads(report.read_text())
        entries = {str(one["fingerprint"]): one for one in before}
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    return list((entries | {str(one["fingerprint"]): one for one in map(entry, lost)}).values())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
