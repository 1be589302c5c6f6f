"""Killed runs, altered downloads, full disks: each ends with its code and a sentence, and the next run works."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import store
from tests.e2e.user import ROOT, invoke

pytestmark = pytest.mark.e2e

RUN = ("kernel.run", "--profile", "all", "--base", "tiny", "--runtime", "docker")
KILLS = int(os.environ.get("KDF_KILLS", "2"))
ARCHIVE = "linux-7.1.8"


def copy_archive(home: Path) -> None:
    """The kernel's archive alone: what else was downloaded must not decide what a small disk has room for."""
    for file in (store.home() / "downloads").glob("linux*7.1.8*"):
        shutil.copy2(file, home / "downloads")


@pytest.fixture
def other_home(tmp_path: Path) -> Iterator[Path]:
    """A home with nothing made in it: only the archive, the knowledge of images, and a link to the compiler cache."""
    usual = store.home()
    home = tmp_path / "home"
    (home / "store").mkdir(parents=True)
    (home / "downloads").mkdir()
    copy_archive(home)
    shutil.copytree(usual / "store" / "image", home / "store" / "image")
    (usual / "ccache").mkdir(exist_ok=True)
    (home / "ccache").symlink_to(usual / "ccache")
    if (usual / "host.json").exists():
        shutil.copy(usual / "host.json", home)
    yield home
    store.remove_tree(home)


def make_cold(home: Path) -> None:
    for part in ("build", "runs", "locks", "store/source", "store/tree", "store/toolchain", "store/kernel"):
        store.remove_tree(home / part)


def test_killed_at_any_moment(other_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = {"KDF_HOME": str(other_home)}
    started = time.monotonic()
    assert invoke(*RUN, env=env).code == 0
    whole = time.monotonic() - started
    draw = random.Random()
    killed = 0
    while killed < KILLS:
        make_cold(other_home)
        started = time.monotonic()
        process = subprocess.Popen(
            [str(ROOT / "invoke"), *RUN],
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        moment = draw.uniform(0.2, whole * 0.9)
        try:
            ended = process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            ended = process.wait()
        if ended == 0 and time.monotonic() - started < 0.9 * whole:
            whole = time.monotonic() - started  # the machine became faster: this run was not killed and does not count
            continue
        assert ended == -signal.SIGKILL
        killed += 1
        running = [json.loads(p.read_text())["status"] for p in (other_home / "runs").glob("*/result.json")]
        assert running in ([], ["running"])
        checked = invoke("store.check", env=env)
        assert checked.code == 0, checked.out
        again = invoke(*RUN, env=env)
        assert again.code == 0, again.err
        assert invoke("store.check", env=env).code == 0
        left = [p for p in (other_home / "store").rglob(".making-*") if p.parent.parent == other_home / "store"]
        assert left == []
        with capsys.disabled():
            print(f" [killed after {moment:.1f} of {whole:.1f} s, then passed]", flush=True)


def test_an_altered_archive_is_named_set_aside_and_fetched_again(other_home: Path) -> None:
    env = {"KDF_HOME": str(other_home)}
    archive = next((other_home / "downloads").glob("linux*7.1.8*.xz"))
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    said = invoke("sources.fetch", ARCHIVE, env=env)
    assert said.code == 0, said.err
    assert archive.name in said.err
    assert list((other_home / "downloads").glob(f"{archive.name}.bad-*"))
    assert invoke("sources.fetch", ARCHIVE, env=env).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A loop mount of 600 MB; it can be made larger by mounting another image over it."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a file system and needs root")
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(600 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_has_a_sentence_and_the_next_run_works(small_disk: Path, tmp_path: Path) -> None:
    home = small_disk / "home"
    (home / "downloads").mkdir(parents=True)
    copy_archive(home)
    said = invoke("patches.apply", "--series", "kit", env={"KDF_HOME": str(home)})
    assert said.code == 3, said.err
    assert "the disk is full" in said.err
    assert not list((home / "store").rglob("metadata.json"))
    # The user moves the home to a larger disk, as the sentence says.
    larger = tmp_path / "larger"
    shutil.copytree(home, larger, symlinks=True)
    assert invoke("patches.apply", "--series", "kit", env={"KDF_HOME": str(larger)}).code == 0
    assert invoke("store.check", env={"KDF_HOME": str(larger)}).code == 0
    store.remove_tree(larger)
