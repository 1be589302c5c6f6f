"""Test archives: the same product gives the same bytes, and only listed members are unpacked."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core import store
from core.errors import InfraError, KitError, UserError
from core.store import Product
from sources import archive
from sources.archive import Entry, Index


def fill(tmp: Path) -> dict[str, Any]:
    (tmp / "bin").mkdir()
    (tmp / "lib" / "empty").mkdir(parents=True)
    (tmp / "bin" / "clang").write_bytes(b"\x7fELF" + bytes(range(256)) * 40)
    (tmp / "bin" / "clang").chmod(0o755)
    (tmp / "bin" / "clang++").symlink_to("clang")
    (tmp / "bin" / "ld.lld").symlink_to("/usr/lib/llvm-19/bin/ld.lld")
    (tmp / "lib" / "pass.so").write_bytes(b"")
    (tmp / "manifest.json").write_text("{}\n")
    return {"build": {"steps": 3}}


@pytest.fixture
def product() -> Product:
    return store.make("toolchain", {"name": "plugin-19", "runtime": "docker"}, fill)


def stock(goal: str) -> bool:
    return goal.startswith("/usr/lib/llvm-19/bin/")


def tree(root: Path) -> dict[str, Any]:
    return {entry.name: entry for entry in archive.entries(root)}


def pack(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)


def forge(path: Path, index: Index, contents: dict[str, bytes], headers: dict[str, bytes] | None = None) -> Path:
    """Write an archive with any index; everything that is not given is correct."""
    text = index.text()
    named = f"index-{hashlib.sha256(text).hexdigest()}.json"
    parts = [archive._header(Entry(named, "file", len(text))), text, archive._padding(len(text))]
    for entry in index.entries:
        content = contents.get(entry.name, b"")
        try:
            header = archive._header(entry)
        except ValueError:
            header = bytes(512)
        parts += [(headers or {}).get(entry.name, header), content, archive._padding(len(content))]
    path.write_bytes(pack(b"".join(parts) + bytes(1024)))
    return path


def listed(name: str, content: bytes = b"", kind: str = "file", goal: str = "") -> Entry:
    digest = hashlib.sha256(content).hexdigest() if kind in ("file", "program") else ""
    return Entry(name, kind, len(content), digest, goal)


def an_index(*entries: Entry) -> Index:
    inputs = {"name": "x"}
    return Index("toolchain", store.key_of(inputs), inputs, {}, {}, entries)


def test_there_and_back(product: Product, tmp_path: Path) -> None:
    out = tmp_path / "t.tar.zst"
    index = archive.write(product, out, {"package_list": ["a=1:amd64"]})
    target = tmp_path / "target"
    target.mkdir()
    assert archive.extract(out, target, stock) == index == archive.read_index(out)
    assert index.notes == {"package_list": ["a=1:amd64"]}
    assert index.metadata["build"] == {"steps": 3}
    assert tree(target) == tree(product.path)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_other_programs_can_read_it(product: Product, tmp_path: Path) -> None:
    out = tmp_path / "t.tar.zst"
    index = archive.write(product, out, {})
    with (
        out.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        members = [(member.name, member.mtime, member.uid) for member in tar]
    assert members[1:] == [(entry.name, 0, 0) for entry in index.entries]


def test_the_same_product_gives_the_same_bytes(product: Product, tmp_path: Path) -> None:
    one, other = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    archive.write(product, one, {})
    (product.path / "bin" / "clang").touch()
    archive.write(product, other, {})
    assert one.read_bytes() == other.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.01513128608165504, bit=3)
def test_a_flipped_bit_is_refused_or_changes_nothing(product: Product, tmp_path: Path, where: float, bit: int) -> None:
    out = tmp_path / "t.tar.zst"
    if not out.exists():
        archive.write(product, out, {})
    content = bytearray(out.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    bad, target = tmp_path / "bad.tar.zst", tmp_path / "target"
    bad.write_bytes(content)
    store.remove_tree(target)
    target.mkdir()
    # Compressed data has bits that no content depends on (RFC 8878: the unused bit of the frame's header, its window,
    # padding of tables). A flip there may go unseen, since what comes out is the very same; any other is refused.
    try:
        archive.extract(bad, target, stock)
    except InfraError as error:
        assert "refused" in str(error)
    else:
        assert tree(target) == tree(product.path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(short=st.integers(1, 6000), more=st.binary(max_size=20))
def test_a_cut_or_a_longer_archive_is_refused(product: Product, tmp_path: Path, short: int, more: bytes) -> None:
    out = tmp_path / "t.tar.zst"
    if not out.exists():
        archive.write(product, out, {})
    content = out.read_bytes()
    bad, target = tmp_path / "bad.tar.zst", tmp_path / "target"
    for damaged in (content[: -min(short, len(content))], content + b"x" + more, content + content):
        bad.write_bytes(damaged)
        store.remove_tree(target)
        target.mkdir()
        with pytest.raises(InfraError, match="refused"):
            archive.extract(bad, target, stock)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), packed=st.booleans())
def test_noise_is_refused(tmp_path: Path, data: bytes, packed: bool) -> None:
    bad = tmp_path / "noise.tar.zst"
    bad.write_bytes(pack(data) if packed else data)
    with pytest.raises(InfraError, match="refused"):
        archive.read_index(bad)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([listed("../outside")], "leaves the archive"),
        ([listed("/etc/passwd")], "leaves the archive"),
        ([listed("bin", kind="folder"), listed("bin/../../x")], "leaves the archive"),
        ([listed("a//b")], "leaves the archive"),
        ([listed("x\0y")], "leaves the archive"),
        ([listed("")], "leaves the archive"),
        ([listed("a"), listed("a")], "twice"),
        ([listed("b"), listed("a")], "out of order"),
        ([listed("bin/clang")], "not in a directory"),
        ([listed("bin", kind="link", goal="/etc"), listed("bin/clang")], "not in a directory"),
        ([listed("metadata.json")], "of its own"),
        ([listed("a" * 200)], "cannot be a member"),
        ([listed("a", kind="link", goal="b" * 200)], "cannot be a member"),
        ([listed("\ud800")], "cannot be a member"),
        ([replace(listed("a"), size=1 << 40)], "cannot be a member"),
        ([replace(listed("a"), size=-1)], "malformed"),
        ([replace(listed("a"), kind="device")], "malformed"),
        ([replace(listed("a", kind="folder"), size=5)], "malformed"),
        ([replace(listed("a"), goal="b")], "malformed"),
        ([listed("a", kind="link")], "malformed"),
        ([replace(listed("a"), sha256="0" * 64)], "another sha256"),
    ],
)
def test_hostile_lists_are_refused(tmp_path: Path, entries: list[Entry], why: str) -> None:
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(InfraError, match=why):
        archive.extract(forge(tmp_path / "bad.tar.zst", an_index(*entries), {}), target)
    assert [p for p in tmp_path.rglob("*") if p.is_symlink()] == []
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".zst" and p.name != "kdf-home") >= ["inner"]
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("goal", ["/etc/passwd", "../../etc", "/usr/lib/llvm-19/bin/../../x", "sub/../../../y"])
def test_links_that_leave_are_refused(tmp_path: Path, goal: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    bad = forge(tmp_path / "bad.tar.zst", an_index(listed("a", kind="link", goal=goal)), {})
    with pytest.raises(KitError, match="leaves it"):
        archive.extract(bad, target)


def test_a_link_through_a_link_does_not_leave(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    entries = [listed("a", kind="link", goal="/usr/lib/llvm-19/bin/x"), listed("b", kind="link", goal="a/../../..")]
    with pytest.raises(KitError, match="leaves it"):
        archive.extract(forge(tmp_path / "bad.tar.zst", an_index(*entries), {}), target, stock)


def device(entry: Entry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type = tarfile.CHRTYPE
    return info.tobuf(tarfile.USTAR_FORMAT)


def owned(entry: Entry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.uid, info.mode = 1000, 0o4755
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("change", [device, owned, lambda _entry: bytes(512)])
def test_a_member_that_is_not_what_the_list_says(tmp_path: Path, change: Callable[[Entry], bytes]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    entry = listed("a")
    bad = forge(tmp_path / "bad.tar.zst", an_index(entry), {}, {"a": change(entry)})
    with pytest.raises(InfraError, match="differs from the index"):
        archive.extract(bad, target)


def test_a_key_that_is_not_the_hash_of_the_inputs(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="not the hash of its inputs"):
        archive.read_index(forge(tmp_path / "bad.tar.zst", replace(an_index(), key="0" * 64), {}))


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few compressed kilobytes that expand beyond the limit are read in small pieces and refused at the limit."""
    monkeypatch.setattr(archive, "LIMIT_BYTES", 1 << 20)
    content = bytes(8 << 20)
    target = tmp_path / "target"
    target.mkdir()
    bad = forge(tmp_path / "bomb.tar.zst", an_index(listed("a", content)), {"a": content})
    assert bad.stat().st_size < 10_000
    with pytest.raises(InfraError, match="more than"):
        archive.extract(bad, target)
    monkeypatch.setattr(archive, "LIMIT_BYTES", 1 << 30)
    monkeypatch.setattr(archive, "LIMIT_INDEX", 10)
    with pytest.raises(InfraError, match="its index is larger"):
        archive.read_index(bad)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        archive.read_index(tmp_path / "absent")
    with pytest.raises(UserError, match="is not a file"):
        archive.read_index(tmp_path)
