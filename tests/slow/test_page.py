"""The page in a real browser: it opens without a word on the console, and hostile runs do not act.

Needs Debian's chromium; without it the test fails, so that --all never passes for want of a browser.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.test_html import HOSTILE, hostile_folder, rendered

pytestmark = pytest.mark.slow


def opened(file: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """The page as the browser has it when it is loaded, and what its console says."""
    browser = shutil.which("chromium")
    assert browser, "no chromium here: apt-get install --no-install-recommends chromium"
    done = subprocess.run(
        [
            *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", *options, file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title(page: str) -> str:
    found = re.search(r"<title>(.*?)</title>", page)
    return found[1] if found else ""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for number, text in enumerate(HOSTILE):
        hostile_folder(root / f"{number}", text)
    file = tmp_path / "report.html"
    file.write_text(rendered(root, HOSTILE[0]))
    return file


@pytest.mark.parametrize("size", ["1400,1000", "420,900"])
def test_hostile_runs_do_not_act_and_the_console_is_silent(hostile: Path, tmp_path: Path, size: str) -> None:
    page, console = opened(hostile, tmp_path / "profile", f"--window-size={size}")
    assert title(page) == f"kcov-dataflow-kit: {3 * len(HOSTILE)} runs"
    assert console == []


def test_the_policy_stops_what_escaping_would_miss(hostile: Path, tmp_path: Path) -> None:
    """The control, too: the same content without the policy acts, so the tests above could have seen it."""
    text = hostile.read_text()
    acting = text.replace("</header>", f"{HOSTILE[0]}<p style='color: red'>x</p></header>")
    hostile.write_text(acting)
    page, console = opened(hostile, tmp_path / "profile")
    assert title(page) != "owned"
    assert len(console) >= 2
    hostile.write_text(re.sub(r"<meta http-equiv[^>]*>", "", acting))
    page, _console = opened(hostile, tmp_path / "profile")
    assert title(page) == "owned"
