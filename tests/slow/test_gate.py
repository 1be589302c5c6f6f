"""The gate catches what it is for: one more call in the callback, in a kernel that is otherwise the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import store
from patches import apply, series
from sources import catalogue
from tests.e2e.user import invoke
from tests.mails import patch_to

pytestmark = pytest.mark.slow

NAME = "slow-planted"
FILE = "kernel/kcov_dataflow.c"
DEFINITION = "noinline notrace __no_sanitize_coverage void\n__sanitizer_cov_trace_args("
PLANTED = "static noinline notrace __no_sanitize_coverage void planted(void)\n{\n\tbarrier();\n}\n\n"
TEST = "\tif (!kcov_df_active(current))\n"


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[str]:
    """Series kit and one patch more."""
    kit = series.load("kit")
    good = (apply.tree(catalogue.source_tree("7.1.8"), kit).path / "linux" / FILE).read_text()
    before, definition, after = good.partition(DEFINITION)
    assert TEST in after
    slow = before + PLANTED + definition + after.replace(TEST, f"\tplanted();\n{TEST}", 1)
    tree, folder = tmp_path / "tree", tmp_path / "series"
    (tree / FILE).parent.mkdir(parents=True)
    (tree / FILE).write_text(good)
    folder.mkdir()
    for one in sorted((Path(series.FILE).parent / "linux").glob("*.patch")):
        shutil.copy(one, folder)
    (folder / "0007-slow.patch").write_text(patch_to(tree, FILE, slow, "kcov: one more call in the callback"))
    store.remove_tree(store.home() / "series" / NAME)
    said = invoke("patches.import", NAME, "--from", str(folder), "--generation", "L0")
    assert said.code == 0, said.err
    yield NAME
    store.remove_tree(store.home() / "series" / NAME)


def test_one_more_call_is_caught(planted: str) -> None:
    said = invoke("bench.gate", "--series", planted, "--toolchain", "plugin-19", "--json")
    print(said.out, said.err)
    assert said.code == 1, said.err
    slower = json.loads(said.out)["slower"]
    assert any(one.startswith("boot") and not one.startswith("boot of none") for one in slower)
    assert any(one.startswith("getpid") for one in slower)
