"""The matrix `machines` on a Slurm of this machine, with a second home that shares store and compilations; and a node
dies in the middle. Needs Debian's slurmctld, slurmd, slurm-client and munge, and the extra `cluster`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci import job, matrices
from core import store
from tests.e2e.user import ROOT, invoke
from tests.slurm import Cluster, cluster

pytestmark = pytest.mark.slow

MATRIX = "machines"
LIMIT_SECONDS = 1500


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for program in ("slurmctld", "slurmd", "squeue", "munged"):
        assert shutil.which(program), "apt-get install slurmctld slurmd slurm-client munge"
    # The path of a socket has at most 107 bytes (unix(7)).
    with cluster(tmp_path_factory.mktemp("s")) as found:
        yield found


def essence(told: dict[str, Any], *, verdict: bool) -> dict[str, Any]:
    """What of a result two machines must agree on: not the draws, times and places.

    A cell that may fail is one whose verdict depends on what was drawn: of it only the kernel counts.
    """
    files = json.loads((Path(told["facts"]["kernel"]) / "files.json").read_text())
    return {
        "verdict": (told["status"], [(check["name"], check["ok"]) for check in told["checks"]]) if verdict else "any",
        "image": files["image"]["sha256"],
        "vmlinux": files["vmlinux"]["sha256"],
    }


def test_a_node_dies_and_nothing_is_lost(slurm: Cluster, tmp_path: Path) -> None:
    shared, compiled, home, out = (tmp_path / name for name in ("store", "ccache", "home", "out"))
    for folder in (shared, compiled, home / "store"):
        folder.mkdir(parents=True)
    alone = {"KDF_CCACHE_REMOTE": str(compiled)}
    local = invoke("ci.run", "--matrix", MATRIX, "--json", env=alone)
    assert local.code == 0, local.err
    cells = matrices.find(MATRIX).cells
    anew = next(one for one in cells if one.cell.profile == "dataflow")
    here = {one.id: json.loads((job.place(one.id) / "result.json").read_text()) for one in cells}

    # Of the second home all is its own but what only costs time and room: images, sources, trees.
    for kind in ("image", "source", "tree"):
        (home / "store" / kind).symlink_to(store.home() / "store" / kind)
    # One kernel is not pushed: it is compiled over there, out of the shared compilations.
    kernels = [Path(told["facts"]["kernel"]).name for one, told in here.items() if one != anew.id]
    assert invoke("store.push", str(shared), "--kind", "kernel", *[w for k in kernels for w in ("--key", k)]).code == 0
    assert invoke("toolchain.export", "plugin-19", "-o", str(shared)).code == 0
    away = {"KDF_HOME": str(home), **alone}
    # Another kernel of nearly the same objects fills what machines share out of this machine's own cache.
    words = ("--profile", "dataflow", "--base", "tiny", "--toolchain", "plugin-19", "--instrument", "fs/dcache.o")
    filled = invoke("kernel.build", *words, env=alone)
    assert filled.code == 0, filled.err
    print(filled.out)
    # Gone again, so that the next run of this test compiles it once more.
    made = Path(filled.out.splitlines()[-1])
    for place in (made, store.home() / "build" / made.name[:24]):
        store.remove_tree(place)
    taken = invoke("store.pull", str(shared), env=away)
    assert taken.code == 0 and f"{len(kernels) + 1} products taken" in taken.out, taken.err
    print(taken.out)

    log = tmp_path / "snakemake.log"
    with log.open("wb") as sink:
        running = subprocess.Popen(
            [
                str(ROOT / ".venv" / "bin" / "snakemake"), "--snakefile", str(ROOT / "ci" / "Snakefile"),
                "--profile", str(ROOT / "ci" / "profiles" / "slurm"), "--directory", str(tmp_path),
                "--config", f"matrix={MATRIX}", f"out={out}",
            ],
            env={**os.environ, **away}, stdout=sink, stderr=sink,
        )  # fmt: skip
    end = time.monotonic() + LIMIT_SECONDS
    killed: list[str] = []
    while running.poll() is None:
        assert time.monotonic() < end, log.read_text()[-3000:]
        done = sorted(out.glob("config/*.done")) + sorted(out.glob("cells/*/result.json"))
        if not killed and len(done) >= 2 and (killed := slurm.jobs_on("n1")):
            slurm.kill("n1")
            print(f"killed n1 with the jobs {killed}, {len(list(out.rglob('*.done')))} steps were done")
        time.sleep(0.5)
    said = log.read_text()
    assert running.returncode == 0, said[-3000:]
    assert killed, "no job ran on the node that was to die"
    # Slurm puts jobs of a dead node back into its queue by itself; Snakemake would submit once more what had failed.
    submitted = re.findall(r"^Job (\d+) has been submitted", said, re.MULTILINE)
    assert submitted and len(set(submitted)) == len(submitted), "a step was done again"
    print(f"{len(submitted)} jobs submitted, none for a second time")

    for one in cells:
        there = json.loads((out / "cells" / one.id / "result.json").read_text())
        assert essence(there, verdict=one.required) == essence(here[one.id], verdict=one.required), one.id
        metadata = json.loads((Path(there["facts"]["kernel"]) / store.METADATA).read_text())
        print(one.id, there["status"], "ccache", metadata["ccache"] if one is anew else "pulled")
        if one is anew:
            use = metadata["ccache"]
            # Some of a build's compilations are each other's: these come out of its own cache.
            assert use["hits"] > 0.95 * (use["hits"] + use["misses"])
            assert use["remote"] > 0.8 * (use["hits"] + use["misses"])
    print((out / "report.md").read_text())
    print(said[-2500:])
