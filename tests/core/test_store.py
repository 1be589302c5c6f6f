"""What stands in the store is complete: killed, doubled, disturbed and short of disk."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import process, store, upkeep
from core.errors import InfraError, UnderTest, UserError

ROOT = Path(__file__).parent.parent.parent
# A maker in a process of its own: says what it does in files beside the home.
MAKER = """
import sys, time
from pathlib import Path
from core import store

def work(tmp):
    (tmp / "half").write_text("x" * 1000)
    with open(sys.argv[1], "a") as out:
        out.write("made\\n")
    time.sleep(float(sys.argv[2]))
    (tmp / "whole").write_text("y")
    return {}

print(store.make("thing", {"a": 1}, work).path)
"""


def maker(log: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(log), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def write(name: str, text: str = "x") -> Any:
    def work(tmp: Path) -> dict[str, Any]:
        (tmp / name).write_text(text)
        return {"note": name}

    return work


def test_a_product_is_made_once() -> None:
    made = store.make("thing", {"a": 1, "b": [2]}, write("f"))
    assert (made.path / "f").read_text() == "x"
    assert made.metadata["inputs"] == {"a": 1, "b": [2]}
    assert made.metadata["note"] == "f"
    assert made.metadata["content"] == {"files": 1, "bytes": 1}
    again = store.make("thing", {"b": [2], "a": 1}, lambda _tmp: pytest.fail("made twice"))
    assert again == store.find("thing", {"a": 1, "b": [2]}) == made
    assert store.find("thing", {"a": 2}) is None
    assert (store.make("thing", {"a": 1, "b": [2]}, write("g"), renew=True).path / "g").exists()
    assert not (made.path / "f").exists()


def test_keys_do_not_depend_on_order_and_do_on_values() -> None:
    assert store.key_of({"a": 1, "b": 2}) == store.key_of({"b": 2, "a": 1})
    assert store.key_of({"a": 1}) != store.key_of({"a": "1"})
    assert len(store.key_of({})) == 64


def test_a_failed_maker_leaves_nothing() -> None:
    def work(tmp: Path) -> dict[str, Any]:
        (tmp / "f").write_text("x")
        raise InfraError("no")

    with pytest.raises(InfraError):
        store.make("thing", {}, work)
    assert list((store.home() / "store" / "thing").iterdir()) == []
    assert store.make("thing", {}, write("f")).path.is_dir()


def test_a_killed_maker_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = maker(log, 60)
    while not log.exists():
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    folder = store.home() / "store" / "thing"
    assert [entry.name[:8] for entry in folder.iterdir()] == [".making-"]
    assert store.find("thing", {"a": 1}) is None
    assert store.products() == []
    second = maker(log, 0)
    out, _ = second.communicate()
    assert second.returncode == 0
    assert [entry.name for entry in folder.iterdir()] == [Path(out.strip()).name]
    assert sorted(entry.name for entry in Path(out.strip()).iterdir()) == ["half", "metadata.json", "whole"]


def test_two_makers_of_one_key_share(tmp_path: Path) -> None:
    log = tmp_path / "log"
    makers = [maker(log, 1.0) for _ in range(3)]
    outs = {one.communicate()[0] for one in makers}
    assert [one.returncode for one in makers] == [0, 0, 0]
    assert len(outs) == 1
    assert log.read_text() == "made\n"


@contextlib.contextmanager
def small_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home on a disk of 256 KiB; where none can be mounted, writing fails as on a full one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() == 0 and process.capture(mount).code == 0:
        try:
            yield
        finally:
            process.capture(["umount", str(folder)])
        return

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "small"))
    with small_disk(tmp_path / "small", monkeypatch):
        with pytest.raises(InfraError, match=r"the disk is full: writing .* failed") as caught:
            store.make("thing", {}, write("f", "x" * 1_000_000))
        assert "KDF_HOME" in caught.value.hint
        assert list((store.home() / "store" / "thing").iterdir()) == []
    assert store.make("thing", {}, write("f")).path.is_dir()


def test_a_closed_disk_is_a_sentence() -> None:
    with pytest.raises(InfraError, match="cannot write /x: Read-only"), store.disk_errors(Path("/x")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    with pytest.raises(IsADirectoryError), store.disk_errors(Path("/x")):
        raise IsADirectoryError(errno.EISDIR, "other errors stay what they are")


def test_json_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    store.write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    with pytest.raises(TypeError):
        store.write_json(path, {"a": object()})
    assert '"a": 2' in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


def test_the_home_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_HOME", "~/kdf")
    assert store.home() == Path(os.environ["HOME"]) / "kdf"
    monkeypatch.delenv("KDF_HOME")
    assert store.home() == Path(os.environ["XDG_CACHE_HOME"]) / "kcov-dataflow-kit"


def test_damage_is_found() -> None:
    store.make("thing", {"a": 1}, write("f"))
    second = store.make("thing", {"a": 2}, write("f"))
    assert upkeep.damaged() == []
    (second.path / "f").write_text("longer")
    assert [product for product, _why in upkeep.damaged()] == [second]
    third = store.make("file", {}, lambda tmp: {"files": {"f": {"sha256": "0" * 64}}} if write("f")(tmp) else {})
    assert (third, "differs in f") in upkeep.damaged()


def test_broken_metadata_is_no_product() -> None:
    made = store.make("thing", {}, write("f"))
    (made.path / "metadata.json").write_text("{")
    assert store.find("thing", {}) is None
    assert (store.make("thing", {}, write("g")).path / "g").exists()


def test_lists_and_kinds() -> None:
    store.make("tree", {}, write("f"))
    store.make("kernel", {}, write("f"))
    assert {product.kind for product in store.products()} == {"tree", "kernel"}
    assert [product.kind for product in store.products("tree")] == ["tree"]
    with pytest.raises(UserError, match="it has: kernel, tree"):
        store.products("tre")


DAY = 86400.0


def last_used(product: store.Product, days: float) -> None:
    """Make a product one that was made, and last used, so many days ago."""
    then = time.time() - days * DAY
    store.write_json(product.path / "metadata.json", {**product.metadata, "made": int(then)})
    os.utime(product.path / "metadata.json", (then, then))


def test_collecting_removes_the_old_and_the_half_made() -> None:
    old = store.make("thing", {"a": 1}, write("f"))
    new = store.make("thing", {"a": 2}, write("f"))
    last_used(old, 2)
    (old.path / "f").chmod(0o400)
    old.path.chmod(0o500)
    half = old.path.parent / ".making-0123456789abcdef-999999999"
    (half / "x").mkdir(parents=True)
    gone = upkeep.collect(1)
    assert [path for path, _size in gone] == [old.path]
    assert new.path.exists()
    assert not half.exists()


@pytest.mark.parametrize(
    "use",
    [
        lambda product: store.find("thing", product.metadata["inputs"]),
        lambda product: store.make("thing", product.metadata["inputs"], lambda _tmp: pytest.fail("made twice")),
        lambda product: store.product("thing", product.key),
        store.mark_used,
    ],
    ids=["find", "make", "product", "mark_used"],
)
def test_what_is_used_stays_however_old_it_is(use: Callable[[store.Product], store.Product | None]) -> None:
    made = store.make("thing", {"a": 1}, write("f"))
    other = store.make("thing", {"a": 2}, write("f"))
    for product in (made, other):
        last_used(product, 90)
    before = (made.path / "metadata.json").read_bytes()
    now = time.time()
    found = use(made)
    assert found is not None and found.key == made.key
    assert store.last_used(found) >= now - 1
    assert [path for path, _size in upkeep.collect(30)] == [other.path]
    assert (made.path / "metadata.json").read_bytes() == before
    assert upkeep.damaged() == []
    assert sorted(entry.name for entry in made.path.iterdir()) == ["f", "metadata.json"]


def test_looking_at_the_whole_store_uses_nothing() -> None:
    made = store.make("thing", {}, write("f"))
    last_used(made, 90)
    upkeep.damaged()
    (listed,) = store.products()
    assert 89 * DAY < time.time() - store.last_used(listed) < 91 * DAY
    assert [path for path, _size in upkeep.collect(30)] == [made.path]


def test_a_product_that_nobody_used_counts_from_when_it_was_made() -> None:
    made = store.make("thing", {}, write("f"))
    assert abs(store.last_used(made) - made.metadata["made"]) < 5
    # Whoever copied it may have given its file an older time.
    os.utime(made.path / "metadata.json", (0, 0))
    assert store.last_used(made) == made.metadata["made"]


def test_what_is_used_while_old_products_are_removed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make("thing", {}, write("f"))
    last_used(made, 90)
    real = store.lock

    @contextlib.contextmanager
    def lock(name: str) -> Iterator[None]:
        with real(name):
            assert store.find("thing", {})
            yield

    monkeypatch.setattr(store, "lock", lock)
    assert upkeep.collect(30) == []
    assert made.path.exists()


def test_a_store_that_cannot_be_written_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make("thing", {}, write("f"))

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    assert store.find("thing", {}) == made


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x" * 10_000)
    assert store.count_content(tmp_path / "d") == {"files": 1, "bytes": 10_000}
    assert 10_000 <= store.size_of(tmp_path / "d") < 20_000


def test_removing_does_not_follow_links(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "f").write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(keep)
    store.remove_tree(tmp_path / "tree")
    store.remove_tree(tmp_path / "tree")
    assert (keep / "f").exists()


def test_the_log_of_a_failure_outlives_the_directory_it_was_written_in(tmp_path: Path) -> None:
    def work(tmp: Path) -> dict[str, object]:
        (tmp / "build.log").write_text("why it failed")
        raise UnderTest("it failed", "read the log", tmp / "build.log")

    with pytest.raises(UnderTest) as caught:
        store.make("thing", {"a": 1}, work)
    assert caught.value.log is not None
    assert caught.value.log.read_text() == "why it failed"


def test_unfinished_work_of_others_is_held_by_its_lock() -> None:
    """Its process has another number here, or none: a run in another container works on this home."""
    folder = store.home() / "store" / "thing"
    key = "a" * 16
    busy, killed = folder / f"{store._WORK_PREFIX}{key}-999999999", folder / f"{store._WORK_PREFIX}{'b' * 16}-1"
    for path in (busy, killed):
        path.mkdir(parents=True)
    with store.lock(f"thing-{key}"):
        upkeep.collect(30)
        assert busy.exists() and not killed.exists()
    upkeep.collect(30)
    assert not busy.exists()


@pytest.mark.parametrize("text", ["[]", "", "{}", '{"inputs": []}', "["])
def test_malformed_metadata_is_damage(text: str) -> None:
    made = store.make("thing", {"a": 1}, write("f"))
    (made.path / "metadata.json").write_text(text)
    assert store.find("thing", {"a": 1}) is None
    assert [why for _product, why in upkeep.damaged()] == ["has no readable metadata"]
    assert store.make("thing", {"a": 1}, write("f")).path == made.path
    assert upkeep.damaged() == []


@pytest.mark.parametrize("days", [-5.0, float("nan"), float("inf"), 1e9])
def test_retention_is_checked(days: float) -> None:
    made = store.make("thing", {"a": 1}, write("f"))
    with pytest.raises(UserError, match="number of days"):
        upkeep.collect(days)
    assert made.path.exists()


def test_two_namespaces_of_processes_share_a_home(tmp_path: Path) -> None:
    """As two containers on one home: the process that works in one has no number that the other knows."""
    root = Path(store.__file__).parent.parent
    works = (
        "import sys, time; from pathlib import Path; from core import store\n"
        "def work(folder):\n"
        "    (folder / 'part').write_text('x'); Path(sys.argv[1]).touch(); time.sleep(3)\n"
        "    (folder / 'f').write_text('y')\n"
        "    return {}\n"
        "print(store.make('thing', {'a': 1}, work).path)\n"
    )
    sweeps = "from core import store, upkeep; upkeep.collect(30); print(len(store.products()))\n"
    apart = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c"]
    env = {**os.environ, "KDF_HOME": str(store.home()), "PYTHONPATH": str(root)}
    began = tmp_path / "began"
    with subprocess.Popen([*apart, works, str(began)], env=env, stdout=subprocess.PIPE, text=True) as worker:
        while not began.exists():
            assert worker.poll() is None
            time.sleep(0.05)
        swept = subprocess.run([*apart, sweeps], env=env, capture_output=True, text=True, check=True)
        out, _ = worker.communicate(timeout=60)
    assert (worker.returncode, swept.stdout) == (0, "0\n")
    assert sorted(entry.name for entry in Path(out.strip()).iterdir()) == ["f", "metadata.json", "part"]


def test_a_file_system_without_locks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    def refuse(_lock: object, **_options: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(InfraError, match="has no locks"):
        store.make("thing", {"a": 1}, write("f"))
