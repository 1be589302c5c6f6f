"""Differences between requests and configurations, and annotations for CI."""

from __future__ import annotations

from kconfig import annotate, diff, profile, survival
from kconfig.fragment import Asked
from kconfig.survival import Lost


def test_a_control_differs_from_all_in_dataflow() -> None:
    none, everything = (profile.compose(name, "tiny", "x86_64", "7.1.8") for name in ("none", "all"))
    found = {one.symbol: one.values for one in diff.requests(none, everything)}
    assert found == {
        "KCOV_DATAFLOW_ARGS": ("n", "y"),
        "KCOV_DATAFLOW_RET": ("n", "y"),
        "KCOV_DATAFLOW_INSTRUMENT_ALL": ("n", "y"),
    }
    rows = [one.as_row("none", "all") for one in diff.requests(none, everything)]
    assert list(rows[0]) == ["symbol", "none", "all", "origin"]
    assert "dataflow-off.config:" in str(rows[0]["origin"]) and "dataflow.config:" in str(rows[0]["origin"])
    assert diff.requests(none, none) == []


def test_off_and_not_there_are_no_difference() -> None:
    first = survival.values("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=4\n")
    second = survival.values("CONFIG_A=m\nCONFIG_C=4\nCONFIG_D=y\n")
    assert [(one.symbol, one.values) for one in diff.configurations(first, second)] == [
        ("A", ("y", "m")),
        ("D", ("absent", "y")),
    ]


def test_annotations_are_one_line_each_and_escaped() -> None:
    one = Lost(Asked("X", '"50%\n, a:b"', "kconfig/fragments/a,b.config", 7), "n", "a\r\nb")
    line = annotate.line(one)
    assert "\n" not in line and "\r" not in line
    assert line.startswith(
        "::error file=kconfig/fragments/a%2Cb.config,line=7,title=CONFIG_X was lost::CONFIG_X: asked "
    )
    assert "50%25%0A" in line and line.endswith(": a%0D%0Ab")
    from_command_line = annotate.line(Lost(Asked("X", "y", "--set", 0), "n"))
    assert from_command_line.startswith("::error title=CONFIG_X was lost::")
    assert annotate.wanted({"GITHUB_ACTIONS": "true"}) and not annotate.wanted({"CI": "true"})
