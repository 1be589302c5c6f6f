"""A store that machines share: directories and servers, half-done uploads, hostile answers."""

from __future__ import annotations

import http.server
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import store, upkeep
from core.errors import InfraError, UserError
from core.store import Product
from kernel import cache
from sources import archive, depot
from tests.served import serving
from toolchain import share


class Plain(http.server.BaseHTTPRequestHandler):
    """PUT and GET of whole files; `broken` is the kind of fault."""

    files: dict[str, bytes]
    broken: str

    def do_PUT(self) -> None:
        got = self.rfile.read(int(self.headers["Content-Length"]))
        if self.broken == "full":
            self.send_error(507)
            return
        if self.broken == "cuts" and self.path.endswith(archive.SUFFIX):
            got = got[: len(got) // 2]
        if self.broken == "dies" and self.path.endswith(archive.SUFFIX):
            self.files[self.path] = got
            self.close_connection = True
            self.connection.close()
            return
        self.files[self.path] = got
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if self.path not in self.files:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.files[self.path])))
        self.end_headers()
        self.wfile.write(self.files[self.path])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is http.server's)
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[Plain]]]:
    handler = type("Handler", (Plain,), {"files": {}, "broken": ""})
    with serving(handler) as address:
        yield address, handler


@pytest.fixture
def kernel() -> Product:
    def fill(tmp: Path) -> dict[str, Any]:
        (tmp / "image").write_bytes(b"image" * 5000)
        (tmp / "modules").mkdir()
        return {"files": {"image": {"size": 25000, "sha256": store.hash_file(tmp / "image")}}, "release": "7"}

    return store.make("kernel", {"profile": "none"}, fill)


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "elsewhere"))


def check_taken(kernel: Product, taken: Product | None) -> None:
    assert taken is not None and taken.path != kernel.path
    assert (taken.key, taken.metadata["release"]) == (kernel.key, "7")
    assert (taken.path / "image").read_bytes() == (kernel.path / "image").read_bytes()
    assert store.find("kernel", {"profile": "none"}) == taken
    assert upkeep.damaged() == []


def test_by_a_directory(kernel: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    assert [share.push(kernel, str(shared)) for _ in range(2)] == [True, False]
    (shared / f".{'0' * 64}.tar.zst.host.1").write_bytes(b"an upload that was killed")
    assert depot.names(str(shared)) == [kernel.key]
    assert list((store.home() / "downloads").iterdir()) == []
    elsewhere(monkeypatch, tmp_path)
    assert share.pull(str(shared), kernel.key, ["tree"]) is None
    check_taken(kernel, share.pull(str(shared), kernel.key, ["kernel"]))


def test_by_a_server(
    kernel: Product, server: tuple[str, type[Plain]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    assert [share.push(kernel, address) for _ in range(2)] == [True, False]
    assert handler.files[f"/{kernel.key}.sha256"].decode().strip() in next(iter(handler.files))
    elsewhere(monkeypatch, tmp_path)
    assert share.pull(address, "0" * 64, []) is None
    check_taken(kernel, share.pull(address, kernel.key, []))
    assert list((store.home() / "downloads").iterdir()) == []
    with pytest.raises(UserError, match="cannot list its archives"):
        depot.names(address)


@pytest.mark.parametrize("how", ["full", "cuts", "dies"])
def test_a_half_done_upload_is_never_believed(
    how: str, kernel: Product, server: tuple[str, type[Plain]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    handler.broken = how
    with pytest.raises(InfraError, match=r"HTTP 507|and returns|cannot be read"):
        share.push(kernel, address)
    home = store.home()
    elsewhere(monkeypatch, tmp_path)
    assert share.pull(address, kernel.key, []) is None
    handler.broken = ""
    monkeypatch.setenv("KDF_HOME", str(home))
    assert share.push(kernel, address)
    elsewhere(monkeypatch, tmp_path)
    check_taken(kernel, share.pull(address, kernel.key, []))


@pytest.mark.parametrize("what", ["flipped", "other", "no hash", "cut off"])
def test_what_a_server_may_answer(
    what: str, kernel: Product, server: tuple[str, type[Plain]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    other = store.make("kernel", {"profile": "all"}, lambda _tmp: {})
    share.push(kernel, address)
    name = next(name for name in handler.files if name.endswith(archive.SUFFIX))
    if what == "flipped":
        handler.files[name] = handler.files[name][:-9] + bytes(9)
    elif what == "cut off":
        handler.files[name] = handler.files[name][:100]
    elif what == "no hash":
        handler.files[f"/{kernel.key}.sha256"] = b"../../../etc/passwd"
    else:
        share.push(other, address)
        sha256 = handler.files[f"/{other.key}.sha256"]
        handler.files[f"/{kernel.key}.sha256"] = sha256
        theirs = handler.files[f"/{other.key}-{sha256.decode().strip()}{archive.SUFFIX}"]
        handler.files[f"/{kernel.key}-{sha256.decode().strip()}{archive.SUFFIX}"] = theirs
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(InfraError, match=r"published is|contains the product|is not a sha256"):
        share.pull(address, kernel.key, [])
    assert store.products() == []


def test_links_that_leave_and_products_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(tmp: Path) -> dict[str, Any]:
        (tmp / "out").symlink_to("/etc")
        return {}

    shared = tmp_path / "shared"
    shared.mkdir()
    made = store.make("kernel", {"profile": "x"}, fill)
    share.push(made, str(shared))
    image = store.make("image", {"name": "kernel"}, lambda _tmp: {})
    with pytest.raises(UserError, match="is useless on another machine"):
        share.push(image, str(shared))
    archive.write(image, shared / f"{image.key}{archive.SUFFIX}", {})
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"leads out|leaves|outside"):
        share.pull(str(shared), made.key, [])
    with pytest.raises(UserError, match="not taken from another machine"):
        share.pull(str(shared), image.key, ["image"])
    assert share.pull(str(shared), image.key, []) is None
    assert store.products() == []


def test_a_pulled_source_never_replaces_a_pinned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = store.make("source", {"sha256": "0" * 64}, lambda _tmp: {})
    archive.write(source, tmp_path / f"{source.key}{archive.SUFFIX}", {})
    elsewhere(monkeypatch, tmp_path)
    assert share.pull(str(tmp_path), source.key, []) is None
    with pytest.raises(UserError, match="not taken from another machine"):
        share.pull(str(tmp_path), source.key, ["source"])


@pytest.mark.parametrize(
    "metadata",
    [
        {"files": {"/dev/zero": {"size": 0, "sha256": "0" * 64}}},
        {"files": {"../../etc/passwd": {"size": 0, "sha256": "0" * 64}}},
        {"files": []},
        {"cell": "all"},
        {"warnings": "many"},
        {"frames": {"1024": "x"}},
    ],
)
def test_the_metadata_of_others_is_rebuilt(
    metadata: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.make("kernel", {"profile": "x"}, lambda _tmp: metadata)
    archive.write(made, tmp_path / f"{made.key}{archive.SUFFIX}", {})
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(InfraError, match="the metadata of"):
        share.pull(str(tmp_path), made.key, [])
    assert store.products() == []


def test_what_the_schema_does_not_know_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make("kernel", {"profile": "x"}, lambda _tmp: {"release": "7.1.8", "evil": "x"})
    archive.write(made, tmp_path / f"{made.key}{archive.SUFFIX}", {})
    elsewhere(monkeypatch, tmp_path)
    taken = share.pull(str(tmp_path), made.key, [])
    assert taken is not None
    assert taken.metadata["release"] == "7.1.8" and "evil" not in taken.metadata


def test_an_archive_that_is_swapped_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.make("kernel", {"profile": "x"}, lambda tmp: {"n": (tmp / "f").write_text("first")})
    second = store.make("kernel", {"profile": "y"}, lambda tmp: {"n": (tmp / "f").write_text("second")})
    path, other = tmp_path / f"{first.key}{archive.SUFFIX}", tmp_path / "other"
    archive.write(first, path, {})
    archive.write(second, other, {})
    elsewhere(monkeypatch, tmp_path)
    extract = archive.extract

    def swapped(given: Path, target: Path, *more: Any) -> archive.Index:
        other.replace(given)
        return extract(given, target, *more)

    monkeypatch.setattr(archive, "extract", swapped)
    with pytest.raises(InfraError, match="changed while it was read"):
        share.pull(str(tmp_path), first.key, [])
    assert store.products() == []


def test_which_cache_machines_may_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.shared("docker") == ("", None)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert cache.shared("docker") == (f"file:{cache.INSIDE}", tmp_path)
    assert cache.shared("host") == (f"file:{tmp_path}", tmp_path)
    monkeypatch.setenv(cache.VARIABLE, "http://127.0.0.1:1/c|layout=flat")
    assert cache.shared("host") == ("http://127.0.0.1:1/c|layout=flat", None)
    with pytest.raises(UserError, match="no network"):
        cache.shared("docker")
    for wrong in ("relative", f"{tmp_path}/absent", f"{tmp_path}|read-only", "http://me:secret@127.0.0.1/"):
        monkeypatch.setenv(cache.VARIABLE, wrong)
        with pytest.raises(UserError) as error:
            cache.shared("host")
        assert "secret" not in str(error.value)


def test_hits_are_counted_by_where_they_came_from(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "# a.c\ndirect_cache_hit\nlocal_storage_miss\nremote_storage_hit\nremote_storage_read_hit\n# b.c\n"
        "direct_cache_hit\nlocal_storage_hit\n# c.c\ncache_miss\nremote_storage_miss\n"
    )
    use = cache.read(log)
    assert (use.hits, use.misses, use.remote) == (2, 1, 1)
