"""Every prefix of a series: a patch in the middle that does not compile is found, and the next ones are judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import store
from sources import catalogue
from tests.e2e.user import invoke
from tests.mails import patch_to

pytestmark = pytest.mark.e2e

NAME = "e2e-each"


@pytest.fixture
def series(tmp_path: Path) -> Iterator[str]:
    """A series of three on Linux 7.1.8: the second breaks lib/ctype.c, the third mends it."""
    tree, folder = tmp_path / "tree", tmp_path / "series"
    folder.mkdir()
    path = "lib/ctype.c"
    (tree / "lib").mkdir(parents=True)
    good = (catalogue.source_tree("7.1.8").path / "src" / path).read_text()
    (tree / path).write_text(good)
    texts = [f"/* one */\n{good}", f"/* one */\nbroken\n{good}", f"/* one */\n\n{good}"]
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}-step.patch").write_text(patch_to(tree, path, text, f"step {number}"))
    place = store.home() / "series" / NAME
    store.remove_tree(place)
    said = invoke("patches.import", NAME, "--from", str(folder))
    assert said.code == 0, said.err
    yield NAME
    store.remove_tree(place)


def test_the_patch_that_breaks_is_found(series: str) -> None:
    cell = (
        "--series",
        series,
        "--profile",
        "none",
        "--base",
        "tiny",
        "--toolchain",
        "plugin-19",
        "--runtime",
        "docker",
    )
    said = invoke("kernel.each", *cell, "--json")
    assert said.code == 1
    assert "patch 2, " in said.err and "breaks: compiling the kernel failed" in said.err
    rows = said.json()["rows"]
    assert [row["status"] for row in rows] == ["passed", "passed", "failed", "passed"]
    assert rows == json.loads((Path(said.json()["folder"]) / "each.json").read_text())["rows"]
    # One source file changed, so next to nothing is made again: it, the links, and what holds the version.
    assert max(row["objects"] for row in rows[1:]) < 60
    assert not any(row["new_warnings"] for row in rows)
    # The kernels of the good prefixes are there, so this compiles the bad one only.
    said = invoke("kernel.bisect", *cell, "--good", "0", "--bad", "2", "--json")
    assert said.code == 0, said.err
    found = said.json()
    assert found["first_bad"] == f"{series}@2"
    assert found["verdicts"] == {f"{series}@0": "good", f"{series}@1": "good", f"{series}@2": "bad"}
    assert "compiling the kernel failed" in found["reason"]


def test_a_prefix_that_is_none_is_the_users_error() -> None:
    said = invoke("kernel.each", "--series", "kit@9", "--profile", "none", "--base", "tiny", "--runtime", "docker")
    assert said.code == 2
    assert "kit@9 is not a prefix: kit has 6 patches" in said.err
