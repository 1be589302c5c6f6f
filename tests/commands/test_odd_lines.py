"""Command lines and surroundings that are wrong in odd ways: the right exit code, one line, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import bugs, program

ROOT = Path(__file__).parent.parent.parent
LONG = "n" * 300
TINY = ["--profile", "none", "--base", "tiny"]
PATHS = ("~nosuch/x", LONG, "BIN", "DIR", "LOOP", "\x1b[31m", "\u202e", "a\nb")

REQUESTS: list[list[str]] = [
    *(["kernel.build", "--profile", "none", "--base", f"path:{path}"] for path in PATHS),
    *(["kernel.build", *TINY, "--fragment", path] for path in PATHS),
    *(["kernel.build", *TINY, "--set", text] for text in ("=", "FOO", "A\nB=y", "FOO=\x1b[31m", "")),
    *(["kernel.build", *TINY, "--linux", f"path:{path}"] for path in ("~nosuch", "LOOP", "DIR", "", LONG)),
    *(["kernel.build", *TINY, "--linux", text] for text in ("git:", "git:~nosuch@x", "git:/nonexist@x", LONG, "7.1.8.9")),  # noqa: E501
    *(["kernel.build", *TINY, "--instrument", text] for text in ("../../x.o", LONG, "/etc/passwd", "a b.o")),
    ["kernel.build", *TINY, "--arch", "mips"],
    ["kernel.build", *TINY, "--runtime", "podman"],
    ["kernel.run", "--profile", LONG],
    ["kernel.run", *TINY, "--smp", "1e9"],
    ["kernel.run", *TINY, "--memory", "9" * 5000],
    *(["test.run", *TINY, "--exec", path] for path in ("BIN", "DIR", "LOOP", LONG, "'", "~nosuch/x")),
    *(["dataflow.capture", *TINY, "--exec", path] for path in ("BIN", "'", "a 'b", LONG, "~nosuch/x")),
    *(["dataflow.compare", path, path] for path in ("BIN", "DIR", "LOOP", LONG, "~nosuch")),
    *(["dataflow.show", "--run", path] for path in ("BIN", "LOOP", LONG, "\x1b")),
    *(["guest.shell", *TINY, "--files", path] for path in ("~nosuch", "LOOP", LONG)),
    *(["store.gc", "--days", text] for text in ("1e999", "nan", "x", "-5")),
    *(["store.pull", text] for text in ("http://[", "http://:99999/", "ftp://x/", "~nosuch", "BIN", LONG)),
    *(["toolchain.import", path] for path in ("DIR", LONG, "~nosuch/x")),
    *(["patches.import", "--name", "x", "--mbox", path] for path in ("~nosuch/x", LONG)),
    *(["patches.apply", "--series", text] for text in ("kit@9999999999999999999999", "kit@-1", "kit@x", LONG)),
    *(["ci.plan", "--matrix", text] for text in (LONG, "~nosuch", "", "\x1b")),
    ["ci.generate", "github", "--output", "DIR"],
    ["--config", "BIN", "patches.list"],
    ["-f", "LOOP", "patches.list"],
    ["x" * 5000],
    [""],
    ["-D"],
]  # fmt: skip


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    (tmp_path / "BIN").write_bytes(b"\xff\xfe\x00\x80" * 100)
    (tmp_path / "DIR").mkdir()
    (tmp_path / "LOOP").symlink_to(tmp_path / "LOOP")
    return {name: str(tmp_path / name) for name in ("BIN", "DIR", "LOOP")}


@pytest.mark.parametrize("words", REQUESTS, ids=lambda words: repr(" ".join(words))[:80])
def test_a_wrong_request_is_the_users(
    words: list[str], places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = list(words)
    for name, path in places.items():
        line = [word.replace(name, path) for word in line]
    assert program.main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "our bug" not in said and "Traceback" not in said
    assert "\x1b" not in said and "\u202e" not in said
    assert len(said.strip().splitlines()) <= 4


def test_what_nobody_foresaw_is_our_bug(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_words: list[str]) -> int:
        raise KeyError("x\n::error::owned")

    monkeypatch.setattr(program, "_run", breaks)
    assert program.main(["doctor"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: this is our bug: KeyError: 'x\\n::error::owned'\n  do: report it")
    log = Path(said.partition("log: ")[2].strip())
    assert "Traceback" in log.read_text() and "words: doctor" in log.read_text()


def test_a_bug_without_any_place_for_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bugs, "_keep", lambda _text: None)
    assert bugs.unforeseen(ZeroDivisionError("x")).log is None


def run(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "commands.program", *words]
    return subprocess.run(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def test_standard_output_that_is_full_or_closed(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(["patches.list"], stdout=full)
    assert (done.returncode, "standard output cannot be written" in done.stderr) == (3, True)
    assert "Traceback" not in done.stderr
    script = f"cd {ROOT}; exec {sys.executable} -m commands.program patches.list >&-"
    closed = subprocess.run(["sh", "-c", script], stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert closed.returncode in (0, 3) and "Traceback" not in closed.stderr


@pytest.mark.parametrize(
    "changed",
    [
        {"HOME": ""}, {"HOME": "/nonexistent"}, {"KDF_HOME": "/dev/null/x"}, {"KDF_HOME": "~nosuch"}, {"KDF_HOME": LONG},  # noqa: E501
        {"TERM": "dumb"}, {"LANG": "C", "LC_ALL": "C"}, {"PATH": ""}, {"TMPDIR": "/nonexistent"}, {"COLUMNS": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_odd_surroundings(changed: dict[str, str]) -> None:
    done = run(["store.list"], stdout=subprocess.PIPE, env={**os.environ, **changed})
    assert done.returncode in (0, 2, 3)
    assert "Traceback" not in done.stderr and "our bug" not in done.stderr


def test_a_directory_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f"mkdir {gone}; cd {gone}; rmdir {gone}; PYTHONPATH={ROOT} exec {sys.executable} -m commands.program patches.list"  # noqa: E501
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr and "our bug" not in done.stderr
