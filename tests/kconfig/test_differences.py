"""Differences between requests and configurations, and annotations for CI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kconfig import annotate, differences, profiles, survival
from kconfig.fragment import Asked
from kconfig.survival import Lost


def test_a_control_differs_from_all_in_dataflow() -> None:
    none, everything = (profiles.compose(name, "tiny", "x86_64", "7.1.8") for name in ("none", "all"))
    found = {one.symbol: one.values for one in differences.requests(none, everything)}
    assert found == {
        "KCOV_DATAFLOW_ARGS": ("n", "y"),
        "KCOV_DATAFLOW_RET": ("n", "y"),
        "KCOV_DATAFLOW_INSTRUMENT_ALL": ("n", "y"),
    }
    rows = [one.as_row("none", "all") for one in differences.requests(none, everything)]
    assert list(rows[0]) == ["symbol", "none", "all", "origin"]
    assert "dataflow-off.config:" in str(rows[0]["origin"]) and "dataflow.config:" in str(rows[0]["origin"])
    assert differences.requests(none, none) == []


def test_off_and_not_there_are_no_difference() -> None:
    first = survival.values("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=4\n")
    second = survival.values("CONFIG_A=m\nCONFIG_C=4\nCONFIG_D=y\n")
    assert [(one.symbol, one.values) for one in differences.configurations(first, second)] == [
        ("A", ("y", "m")),
        ("D", ("absent", "y")),
    ]


def test_annotations_are_one_line_each_and_escaped() -> None:
    one = Lost(Asked("X", '"50%\n, a:b"', "kconfig/fragments/a,b.config", 7), "n", "a\r\nb")
    line = annotate.line(annotate.of_lost(one))
    assert "\n" not in line and "\r" not in line
    assert line.startswith(
        "::error file=kconfig/fragments/a%2Cb.config,line=7,title=CONFIG_X was lost::CONFIG_X: asked "
    )
    assert "50%25%0A" in line and line.endswith(": a%0Ab")
    from_command_line = annotate.line(annotate.of_lost(Lost(Asked("X", "y", "--set", 0), "n")))
    assert from_command_line.startswith("::error title=CONFIG_X was lost::")


def test_each_ci_is_told_in_its_own_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = annotate.of_lost(Lost(Asked("X", "y", "kconfig/fragments/a.config", 7), "n", "why"))
    second = annotate.of_lost(Lost(Asked("Y", "y", "--set", 0), "absent"))
    annotate.tell([first], {"CI": "true"})
    annotate.tell([], {"GITHUB_ACTIONS": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path)})
    assert capsys.readouterr().err == "" and not (tmp_path / annotate.REPORT).exists()

    annotate.tell([first, second], {"GITHUB_ACTIONS": "true"})
    assert [one.split("::")[1][:5] for one in capsys.readouterr().err.splitlines()] == ["error", "error"]

    gitlab = {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path)}
    annotate.tell([first], gitlab)
    annotate.tell([first, second], gitlab)
    report = json.loads((tmp_path / annotate.REPORT).read_text())
    assert [(one["location"]["path"], one["location"]["lines"]["begin"]) for one in report] == [
        ("kconfig/fragments/a.config", 7),
        ("--set", 1),
    ]
    assert all({"description", "check_name", "fingerprint", "severity"} <= one.keys() for one in report)
    (tmp_path / annotate.REPORT).write_text("[{broken")
    annotate.tell([first], gitlab)
    assert len(json.loads((tmp_path / annotate.REPORT).read_text())) == 1
