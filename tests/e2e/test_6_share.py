"""A toolchain that goes from one home to another, and two builds of one key: in Docker, with the plugin for clang."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import store
from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e

NAME = "plugin-19"


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The environments of two homes that know the images and nothing else."""
    images = store.home() / "store" / "image"
    images.mkdir(parents=True, exist_ok=True)
    environments = []
    for name in ("left", "right"):
        (tmp_path / name / "store").mkdir(parents=True)
        (tmp_path / name / "store" / "image").symlink_to(images)
        environments.append({"KDF_HOME": str(tmp_path / name)})
    yield environments[0], environments[1]
    for name in ("left", "right"):
        store.remove_tree(tmp_path / name)


def test_there_and_back(homes: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    left, right = homes
    runtime = ("--runtime", "docker")
    missing = invoke("toolchain.path", NAME, *runtime, env=left)
    assert missing.code == 2
    assert "is not built" in missing.err
    built = invoke("toolchain.build", "--name", NAME, *runtime, env=left)
    assert built.code == 0, built.err
    file = tmp_path / "t.tar.zst"
    assert invoke("toolchain.export", NAME, "-o", str(file), *runtime, env=left).code == 0

    bad = tmp_path / "bad.tar.zst"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    bad.write_bytes(content)
    refused = invoke("toolchain.import", str(bad), env=right)
    assert refused.code == 3
    assert "is refused" in refused.err

    # Two builds of one key in different places: only the log of the run may differ.
    other = invoke("toolchain.build", "--name", NAME, *runtime, env=right)
    assert other.code == 0, other.err
    places = [said.out.splitlines()[-1] for said in (built, other)]
    assert Path(places[0]).name == Path(places[1]).name
    compared = invoke("toolchain.compare", *places, "--json", env=left)
    assert compared.code == 0, compared.out
    assert {one["name"] for one in compared.json()["differences"]} <= {"build.log"}

    # Now taken from the archive, and found as if built there.
    store.remove_tree(Path(places[1]))
    taken = invoke("toolchain.import", str(file), "--json", env=right).json()
    assert (taken["new"], taken["stale"]) == (True, "")
    assert invoke("toolchain.build", "--name", NAME, *runtime, env=right).out.splitlines()[-1] == taken["path"]
    rows = [row for row in invoke("toolchain.list", "--json", env=right).json() if row["name"] == NAME]
    assert [(row["built"], row["generation"], row["runtime"]) for row in rows] == [("imported", "L0", "docker")]
    probe = tmp_path / "probe.c"
    probe.write_text("int probe(int x) { return x; }\n")
    words = "clang -O2 -g -fsanitize-coverage=dataflow-args,dataflow-ret -S -o - probe.c"
    said = invoke("toolchain.shell", NAME, *runtime, "-c", words, env=right, cwd=tmp_path)
    assert said.code == 0
    assert "__sanitizer_cov_trace_args" in said.out
    assert invoke("toolchain.shell", NAME, *runtime, "--", "exit 7", env=right).code == 7


def test_a_shared_store(homes: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    left, right = homes
    runtime = ("--runtime", "docker")
    shared = tmp_path / "shared"
    shared.mkdir()
    name = "stock-19"
    assert invoke("toolchain.build", "--name", name, *runtime, env=left).code == 0
    assert invoke("toolchain.export", name, "-o", str(shared), *runtime, env=left).code == 0
    taken = invoke("toolchain.build", "--name", name, *runtime, "--from", str(shared), env=right)
    assert taken.code == 0, taken.err
    rows = [row for row in invoke("toolchain.list", "--json", env=right).json() if row["name"] == name]
    assert [row["built"] for row in rows] == ["imported"]
