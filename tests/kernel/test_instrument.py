"""Opt-in: words that name nothing are told, not ignored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from core.errors import UserError
from kernel import instrument


@pytest.mark.parametrize("word", ["fs/open.c", "/fs/open.o", "../x.o", "fs", "fs/%.o", "a b.o", "$(x).o"])
def test_what_is_no_object_and_no_directory(word: str) -> None:
    with pytest.raises(UserError, match="neither an object nor a directory"):
        instrument.check_words([word])


@pytest.fixture
def build_dir(tmp_path: Path) -> Path:
    for name, code in (
        ("fs/open", "void __sanitizer_cov_trace_ret(void); void f(void) { __sanitizer_cov_trace_ret(); }"),
        ("lib/plain", "int g;"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-x", "c", "-c", "-", "-o", tmp_path / f"{name}.o"], input=code, text=True, check=True)
    return tmp_path


def test_words_that_brought_callbacks(build_dir: Path) -> None:
    instrument.check_words(["fs/open.o", "fs/"])
    instrument.require(build_dir, ["fs/open.o", "fs/"], build_dir / "log")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("fs/close.o", "does not compile such an object"),
        ("net/", "does not compile such an object"),
        ("lib/plain.o", "has no callback"),
    ],
)
def test_words_that_brought_none(build_dir: Path, word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        instrument.require(build_dir, [word], build_dir / "log")
