"""Archives that lie, are cut, or damaged: nothing of them is believed."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InfraError, KitError
from sources import tar, unpack

FOLDER = Path(__file__).parent.parent / "golden" / "field" / "archive"


def made(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


GOOD = made(("top/a", b"1" * 700), ("top/b", b"2"), ("top/" + "long/" * 40 + "c", b"3"))


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_field(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="cannot be unpacked: "):
        unpack.unpack(path, tmp_path / "out")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_good_archives_of_both_kinds(form: int, tmp_path: Path) -> None:
    name = "top/" + "a" * 120 + "/" + "b" * 120
    (tmp_path / "x.tar").write_bytes(made(("top/a", b"1"), (name, b"22"), form=form))
    unpack.unpack(tmp_path / "x.tar", tmp_path / "out")
    assert (tmp_path / "out" / name.removeprefix("top/")).read_bytes() == b"22"


@pytest.mark.parametrize("cut", [*range(0, len(GOOD), 256), len(GOOD) - 1])
def test_an_archive_that_is_cut(cut: int, tmp_path: Path) -> None:
    end = len(GOOD.rstrip(b"\0")) // 512 * 512 + 512
    (tmp_path / "x.tar").write_bytes(GOOD[:cut])
    if cut >= end + 1024:
        unpack.unpack(tmp_path / "x.tar", tmp_path / "out")
        return
    with pytest.raises(InfraError, match="cannot be unpacked"):
        unpack.unpack(tmp_path / "x.tar", tmp_path / "out")


def test_bytes_after_the_end(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD + b"x")
    with pytest.raises(InfraError, match="continues after its end"):
        unpack.unpack(tmp_path / "x.tar", tmp_path / "out")


def test_a_small_file_that_becomes_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_FLOOR", 1 << 20)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(made(("top/a", bytes(8 << 20)))))
    with pytest.raises(InfraError, match="contains more than"):
        unpack.unpack(tmp_path / "x.tar.gz", tmp_path / "out")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    reader = tar.Reader(io.BytesIO(bytes(data)), 1 << 22)
    try:
        for member in reader.members():
            assert len(b"".join(reader.content())) == member.size
    except tar.Refused:
        pass


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=3000))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "x").write_bytes(data)
    with pytest.raises(KitError):
        unpack.unpack(folder / "x", folder / "out")
