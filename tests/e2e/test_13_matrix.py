"""The matrix `small` for real: done, found done, killed, done again; and what another revision makes the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cells import provenance
from ci import job, matrices
from core import store
from tests.e2e.user import ROOT, invoke

pytestmark = pytest.mark.e2e

RUN = ("ci.run", "--matrix", "small", "--runtime", "docker")


@pytest.fixture(scope="module")
def ids() -> list[str]:
    """The cells, without results of earlier runs."""
    found = [one.id for one in matrices.find("small").cells]
    for one in found:
        store.remove_tree(job.place(one))
    return found


def statuses(out: str) -> dict[str, str]:
    told = json.loads(Path(out.splitlines()[-1]).read_text())
    return {one["id"]: one["status"] for one in told["cells"]}


def orphans() -> list[str]:
    """Containers of this home whose client is gone; the engine may need a moment to remove one."""
    until = time.monotonic() + 60
    while (found := _orphans()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def _orphans() -> list[str]:
    shown = '{{.ID}} {{.Label "org.kcov-dataflow-kit.owner"}}'
    said = subprocess.run(
        ["docker", "ps", "--format", shown, "--filter", f"label=org.kcov-dataflow-kit.home={store.home()}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    owners = dict(line.split() for line in said.stdout.splitlines())
    return [one for one, owner in owners.items() if not Path(f"/proc/{owner.partition(':')[0]}").exists()]


def test_killed_then_done_then_found_done(ids: list[str]) -> None:
    client = subprocess.Popen([str(ROOT / "invoke"), *RUN], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 1200
    while not all((job.place(one) / "result.json").exists() for one in ids):
        assert client.poll() is None and time.monotonic() < until, "it ended before it could be killed"
        time.sleep(0.05)
    client.send_signal(signal.SIGKILL)
    client.wait()
    left = [one for one in ids if json.loads((job.place(one) / "result.json").read_text())["status"] == "running"]
    assert left, "nothing was under way"

    said = invoke(*RUN, timeout=1800)
    assert said.code == 0, said.err
    told = statuses(said.out)
    assert {one for one, status in told.items() if status == "passed"} == set(left), "only what was not finished runs"
    assert set(told.values()) <= {"passed", "up to date: passed"}
    page = Path(said.out.splitlines()[-2]).read_text()
    assert "none tiny x86_64" in page and "all tiny x86_64" in page, "both cells are on the page"
    assert orphans() == [], "nothing of the killed run is left"

    again = invoke(*RUN)
    assert set(statuses(again.out).values()) == {"up to date: passed"}
    control, whole = (json.loads((job.place(one) / "result.json").read_text()) for one in ids)
    assert len(control["checks"]) == 1 < len(whole["checks"])
    assert not Path(again.out.splitlines()[-1]).parent.joinpath("pool").joinpath("slots").exists()


def test_what_made_a_kernel_stands_beside_its_result(ids: list[str], tmp_path: Path) -> None:
    said = invoke("cell.keep", ids[1], str(tmp_path))
    assert said.code == 0, said.err
    kernel = Path(json.loads((tmp_path / "result.json").read_text())["facts"]["kernel"])
    told = json.loads((tmp_path / provenance.STATEMENT).read_text())
    assert {one["name"]: one["digest"]["sha256"] for one in told["subject"]}["image"] == store.hash_file(
        kernel / "image"
    )
    listed = json.loads((tmp_path / provenance.LIST).read_text())
    assert any(one["name"] == "clang-19:amd64" for one in listed["components"])

    told["predicate"]["buildDefinition"]["internalParameters"]["inputs"]["request"]["asked"]["FRAME_WARN"] = "2000"
    (tmp_path / provenance.STATEMENT).write_text(json.dumps(told))
    other = invoke("cell.reproduce", str(tmp_path))
    assert other.code == 2
    assert "would build another kernel" in other.err and "request.asked.FRAME_WARN" in other.err


def test_the_same_in_this_very_revision(ids: list[str]) -> None:
    if not (ROOT / ".git").exists():
        assert invoke(*RUN, "--since", "HEAD").code == 2, "an exported tree has no revisions"
        return
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    said = invoke(*RUN, "--since", "HEAD")
    assert said.code == 0, said.err
    if not changed.stdout:
        assert all(f"{one}: the same as in HEAD" in said.err for one in ids)
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "kdf-since" not in trees.stdout
    wrong = invoke(*RUN, "--since", "no-such-revision")
    assert wrong.code == 2
    assert "no revision" in wrong.err


def test_ctrl_c_says_what_is_left(ids: list[str]) -> None:
    for one in ids:
        store.remove_tree(job.place(one))
    client = subprocess.Popen(
        [str(ROOT / "invoke"), *RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # What a script puts into the background ignores Ctrl-C, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until = time.monotonic() + 600
    while not any((job.place(one) / "result.json").exists() for one in ids):
        assert client.poll() is None and time.monotonic() < until, "it ended before it could be stopped"
        time.sleep(0.05)
    os.killpg(client.pid, signal.SIGINT)
    _out, err = client.communicate(timeout=60)
    assert client.returncode == 3, err
    assert "interrupted" in err
    assert orphans() == []
    newest = max((store.home() / "runs").glob("*-matrix-small*/matrix.json"), key=lambda file: file.stat().st_mtime)
    left = {one["status"] for one in json.loads(newest.read_text())["cells"]}
    assert left & {"running", "waiting"}
    assert invoke(*RUN, timeout=1800).code == 0
