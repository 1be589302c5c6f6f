"""Annotations: one line per lost symbol, which GitHub puts beside the line of the fragment that asked for it.

Format: GitHub, "Workflow commands for GitHub Actions" (`::error file=,line=,title=::message`), with its escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kconfig.survival import Lost


def wanted(env: Mapping[str, str]) -> bool:
    """Whether this runs where such lines are read."""
    return env.get("GITHUB_ACTIONS") == "true"


def line(lost: Lost) -> str:
    """The annotation of one lost symbol."""
    places = {"file": lost.asked.file, "line": str(lost.asked.line)} if lost.asked.line else {}
    properties = {**places, "title": f"CONFIG_{lost.symbol} was lost"}
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {listed}::{_data(str(lost))}"


def lines(lost: Iterable[Lost]) -> list[str]:
    """The annotations of all lost symbols."""
    return [line(one) for one in lost]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
