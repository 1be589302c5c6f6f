"""Archives: resumed, truncated, altered, refused; a server on loopback plays the origins."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from core import store
from core.errors import InfraError, UserError
from sources import catalogue, checkout
from tests.served import serving


def archive(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:xz") -> bytes:
    """Return a tar archive; a TarInfo is added as it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o4755 if name.endswith(".sh") else 0o640
            info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name: str, goal: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = goal
    return info


GOOD = archive(
    {"top-1/Makefile": b"VERSION = 1\n", "top-1/a/run.sh": b"#!/bin/sh\n", "top-1/big": bytes(range(256)) * 900}
)
HASH = hashlib.sha256(GOOD).hexdigest()


@dataclass
class Server:
    """What the server on loopback answers, and the requests that it received."""

    content: bytes = GOOD
    etag: str = '"one"'
    cut: int = 0  # bytes of a body after which the connection ends, 0 for none
    cuts: int = 0  # how many answers are cut
    status: int = 0  # a status to answer with, 0 for the right one
    ranges: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def headers(self) -> list[str]:
        return [request.get("Range", "") for request in self.asked]


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append({**dict(self.headers), "path": self.path})
            if state.status:
                self.send_error(state.status)
                return
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and state.ranges and self.headers.get("If-Range", state.etag) == state.etag:
                start = int(wanted[1])
            if start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.end_headers()
            if state.cut and state.cuts:
                state.cuts -= 1
                self.wfile.write(body[: state.cut])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Handler) as state.url:
        yield state


@pytest.fixture
def source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A sources.yaml with one source `linux-1.0`: an origin that does not resolve, then the server."""
    file = tmp_path / "sources.yaml"
    write_catalogue(file, server)
    monkeypatch.setattr(catalogue, "FILE", file)
    return file


def write_catalogue(file: Path, server: Server, sha256: str = HASH, size: int = 0) -> None:
    file.write_text(
        json.dumps(
            {
                "default": "linux-1.0",
                "sources": {
                    "linux-1.0": {
                        "origins": [
                            {"url": "http://no.such.host.invalid/x.tar.xz", "sha256": sha256},
                            {"url": f"{server.url}/x.tar.xz", "sha256": sha256, "bytes": size},
                        ],
                        "unpinned": [f"{server.url}/upstream/y.tar.xz"],
                    },
                },
            }
        )
    )


def downloads() -> Path:
    return store.home() / "downloads"


def names() -> list[str]:
    return sorted(entry.name for entry in downloads().iterdir())


def test_the_first_origin_that_answers_wins(
    source_file: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    path = catalogue.fetch("1.0")
    assert path.read_bytes() == GOOD
    assert names() == ["x.tar.xz", "x.tar.xz.json"]
    facts = json.loads((downloads() / "x.tar.xz.json").read_text())
    assert facts["url"] == f"{server.url}/x.tar.xz"
    assert facts["sha256"] == HASH
    said = capsys.readouterr().err
    assert "no.such.host.invalid does not resolve" in said
    assert "linux-1.0: 0.0 MB from http://127.0.0.1" in said
    catalogue.fetch("linux-1.0")
    assert len(server.asked) == 1


def test_all_failed_lists_each_reason(source_file: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(InfraError) as caught:
        catalogue.fetch("1.0")
    said = caught.value.message
    assert "http://no.such.host.invalid/x.tar.xz: no.such.host.invalid does not resolve" in said
    assert "/x.tar.xz: 127.0.0.1 answered HTTP 404" in said
    assert "/upstream/y.tar.xz: its hash is not known here: give --sha256" in said
    assert "--sha256" in caught.value.hint
    assert not any("upstream" in request["path"] for request in server.asked)


def test_a_refused_connection_is_named(source_file: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    write_catalogue(source_file, server)
    with pytest.raises(InfraError, match=r"127\.0\.0\.1 refuses the connection"):
        catalogue.fetch("1.0")


def test_a_cut_body_is_resumed(source_file: Path, server: Server) -> None:
    server.cut, server.cuts = 100, 2
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert server.headers() == ["", "bytes=100-", "bytes=200-"]
    assert server.asked[1]["If-Range"] == '"one"'


def test_a_server_that_cuts_for_ever_is_left_and_resumed_later(source_file: Path, server: Server) -> None:
    server.cut, server.cuts = 10, 1000
    with pytest.raises(InfraError, match=r"127\.0\.0\.1 ended after 80 bytes"):
        catalogue.fetch("1.0")
    assert names() == ["x.tar.xz.part", "x.tar.xz.part.json"]
    assert catalogue.list_sources()[0]["here"] == "part"
    server.cut = 0
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert server.headers()[-1] == "bytes=80-"


def test_a_changed_file_is_sent_whole(source_file: Path, server: Server) -> None:
    server.cut, server.cuts = 100, 1
    server.content = b"z" * len(GOOD)
    server.cuts = 8
    with pytest.raises(InfraError):
        catalogue.fetch("1.0")
    server.content, server.etag, server.cut = GOOD, '"two"', 0
    asked = len(server.asked)
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert len(server.asked) == asked + 1


def test_a_server_without_ranges_sends_all(source_file: Path, server: Server) -> None:
    server.ranges = False
    server.cut, server.cuts = 100, 1
    assert catalogue.fetch("1.0").read_bytes() == GOOD


def test_a_part_that_is_damaged_is_begun_again(source_file: Path, server: Server) -> None:
    downloads().mkdir(parents=True)
    (downloads() / "x.tar.xz.part").write_bytes(b"not the beginning")
    (downloads() / "x.tar.xz.part.json").write_text(json.dumps({"sha256": HASH, "url": "elsewhere"}))
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert server.headers() == ["bytes=17-", ""]
    assert names() == ["x.tar.xz", "x.tar.xz.json"]


def test_a_part_of_something_else_is_not_resumed(source_file: Path, server: Server) -> None:
    downloads().mkdir(parents=True)
    (downloads() / "x.tar.xz.part").write_bytes(GOOD[:50])
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert server.headers() == [""]


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_a_part_that_is_whole_or_too_long(extra: bytes, source_file: Path, server: Server) -> None:
    downloads().mkdir(parents=True)
    (downloads() / "x.tar.xz.part").write_bytes(GOOD + extra)
    (downloads() / "x.tar.xz.part.json").write_text(json.dumps({"sha256": HASH}))
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    assert len(server.asked) == (2 if extra else 1)


def test_wrong_bytes_are_set_aside(source_file: Path, server: Server) -> None:
    server.content = b"an error page with status 200"
    for n in (1, 2):
        with pytest.raises(InfraError, match=f"gave sha256 [0-9a-f]{{64}}, pinned is {HASH}; kept as x.tar.xz.bad-{n}"):
            catalogue.fetch("1.0")
    assert names() == ["x.tar.xz.bad-1", "x.tar.xz.bad-2"]
    assert (downloads() / "x.tar.xz.bad-1").read_bytes() == server.content


def test_a_wrong_length_is_refused_before_it_is_fetched(source_file: Path, server: Server) -> None:
    write_catalogue(source_file, server, size=len(GOOD) + 1)
    with pytest.raises(InfraError, match=f"has a file of {len(GOOD)} bytes, pinned are {len(GOOD) + 1}"):
        catalogue.fetch("1.0")
    assert names() == []


@pytest.mark.parametrize(
    ("damage", "said"), [(lambda b: b[:-5], "is truncated"), (lambda b: b[:9] + b"!" + b[10:], "altered")]
)
def test_a_damaged_archive_is_named_set_aside_and_fetched_again(
    damage: object, said: str, source_file: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    path = catalogue.fetch("1.0")
    assert callable(damage)
    path.write_bytes(damage(GOOD))
    capsys.readouterr()
    assert catalogue.fetch("1.0").read_bytes() == GOOD
    err = capsys.readouterr().err
    assert str(path) in err
    assert said in err
    assert "set aside as x.tar.xz.bad-1" in err
    assert len(server.asked) == 2


def test_verify_names_what_is_damaged(source_file: Path, server: Server) -> None:
    path = catalogue.fetch("1.0")
    assert [row["status"] for row in catalogue.verify()] == ["ok"]
    path.write_bytes(GOOD[:-1])
    (row,) = catalogue.verify()
    assert row["status"] == f"is truncated ({len(GOOD) - 1} of {len(GOOD)} bytes): set aside as x.tar.xz.bad-1"
    assert catalogue.verify() == []


def test_an_unpinned_origin_needs_a_hash_which_is_remembered(source_file: Path, server: Server) -> None:
    write_catalogue(source_file, server, sha256="0" * 64)
    other = archive({"up/f": b"upstream"})
    server.content = other
    theirs = hashlib.sha256(other).hexdigest()
    with pytest.raises(UserError, match="is not a sha256"):
        catalogue.fetch("1.0", sha256="abc")
    with pytest.raises(InfraError, match=f"upstream/y.tar.xz: gave sha256 {theirs}, pinned is {'1' * 64}"):
        catalogue.fetch("1.0", sha256="1" * 64)
    path = catalogue.fetch("1.0", sha256=theirs)
    assert path.name == "y.tar.xz"
    assert catalogue.fetch("1.0") == path
    assert (catalogue.source_tree("1.0").path / "src" / "f").read_bytes() == b"upstream"
    rows = {row["origin"]: row["pinned"] for row in catalogue.list_sources()}
    assert rows[f"{server.url}/upstream/y.tar.xz"] == theirs


def test_two_runs_share_one_download(source_file: Path, server: Server) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(catalogue.fetch("1.0"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(server.asked) == 1


def test_a_full_disk_while_fetching(source_file: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InfraError, match="the disk is full"):
            catalogue.fetch("1.0")
    assert catalogue.fetch("1.0").read_bytes() == GOOD


def test_the_tree_of_a_source(source_file: Path, server: Server) -> None:
    product = catalogue.source_tree("1.0")
    root = product.path / "src"
    assert (root / "Makefile").read_text() == "VERSION = 1\n"
    assert (root / "Makefile").stat().st_mode & 0o7777 == 0o644
    assert (root / "a" / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (root / "Makefile").stat().st_mtime == 1_700_000_000
    assert product.metadata["origin"]["url"] == f"{server.url}/x.tar.xz"
    (downloads() / "x.tar.xz").unlink()
    assert catalogue.source_tree("linux-1.0") == product
    assert len(server.asked) == 1


def test_unknown_names(source_file: Path) -> None:
    with pytest.raises(UserError, match=r"there is no source 1.1 \(did you mean 1.0\?\)"):
        catalogue.source_tree("1.1")
    for spec, said in (
        ("path:/no/such", "no directory or archive /no/such"),
        ("git:somewhere", "does not name a commit"),
        ("git:--upload-pack=x@abc", "does not name a commit"),
        ("git:x@-abc", "does not name a commit"),
    ):
        with pytest.raises(UserError, match=said):
            catalogue.source_tree(spec)


@pytest.mark.parametrize(
    "members",
    [
        {"/etc/x": b""},
        {"t/../../x": b""},
        {"t/a": b"", "u/b": b""},
        {"t/a": b"", "t/./a": b""},
        {"t/a": b"", "t/a/b": b""},
        {"t/" + "n" * 300: b""},
        {"t/l": link("t/l", "/etc/passwd")},
        {"t/l": link("t/l", "../outside")},
        {"t/d/e/f": b"", "t/up": link("t/up", "d/e"), "t/l": link("t/l", "up/../../..")},
        {"t/a/b/c/f": b"", "t/a/b/c/l": link("t/a/b/c/l", "../../.."), "t/m": link("t/m", "a/b/c/l/../outside")},
        {"t/l": link("t/l", "../../secret", tarfile.LNKTYPE)},
        {"t/l": link("t/l", "t/none", tarfile.LNKTYPE)},
        {"t/n": link("t/n", "", tarfile.CHRTYPE)},
        {"t/n": link("t/n", "", tarfile.FIFOTYPE)},
    ],
)
def test_hostile_archives(members: dict[str, bytes | tarfile.TarInfo], tmp_path: Path) -> None:
    file = tmp_path / "evil.tar.xz"
    file.write_bytes(archive(members))
    (tmp_path / "secret").write_text("x")
    before = sorted(tmp_path.iterdir())
    with pytest.raises((InfraError, UserError)):
        catalogue.source_tree(f"path:{file}")
    assert sorted(p for p in tmp_path.iterdir() if p.name != "kdf-home") == before
    assert store.products() == []


def test_a_link_cannot_be_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    file = tmp_path / "evil.tar"
    file.write_bytes(archive({"t/d": link("t/d", str(outside)), "t/d/f": b"x"}, "w"))
    with pytest.raises((InfraError, UserError)):
        catalogue.source_tree(f"path:{file}")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_of_the_users(mode: str, tmp_path: Path) -> None:
    inside: dict[str, bytes | tarfile.TarInfo] = {
        "./t/f": b"x",
        "t/l": link("t/l", "f"),
        "t/dangling": link("t/dangling", "none"),
    }
    file = tmp_path / "mine.tar"
    file.write_bytes(archive({**inside, "t/h": link("t/h", "t/f", tarfile.LNKTYPE)}, mode))
    root = catalogue.source_tree(f"path:{file}").path / "src"
    assert (root / "l").read_bytes() == (root / "h").read_bytes() == b"x"
    assert (root / "dangling").is_symlink()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_cut_archive_is_damaged(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.tar"
    file.write_bytes(archive({"t/f": bytes(range(256)) * 4000}, mode)[:-700])
    with pytest.raises(InfraError, match="cannot be unpacked"):
        catalogue.source_tree(f"path:{file}")


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in root.rglob("*")}


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "sub").mkdir(parents=True)
    (root / "Makefile").write_text("VERSION = 1\n")
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "link").symlink_to("sub/run.sh")
    (root / ".gitignore").write_text("*.o\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    git(root, "tag", "-a", "-m", "v1", "v1")
    return root


def test_a_directory_is_copied_and_never_written_to(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("x")
    (root / "l").symlink_to("d/f")
    (root / "e").symlink_to("d")
    before = state_of(root)
    product = catalogue.source_tree(f"path:{root}")
    assert state_of(root) == before
    assert (product.path / "src" / "l").read_text() == "x"
    assert (product.path / "src" / "e").is_symlink()
    assert catalogue.source_tree(f"path:{root}") == product
    (root / "d" / "f").write_text("longer")
    assert catalogue.source_tree(f"path:{root}").key != product.key
    (root / "out").symlink_to("/etc")
    with pytest.raises(UserError, match="contains a link that leaves it: out -> /etc"):
        catalogue.source_tree(f"path:{root}")


def test_a_work_tree_is_known_by_its_content(repository: Path) -> None:
    (repository / "x.o").write_text("ignored")
    before = state_of(repository)
    clean = catalogue.source_tree(f"path:{repository}")
    assert state_of(repository) == before
    assert not (clean.path / "src" / "x.o").exists()
    assert not (clean.path / "src" / ".git").exists()
    (repository / "Makefile").touch()
    assert catalogue.source_tree(f"path:{repository}") == clean
    keys = {clean.key}
    for name, text in (("Makefile", "VERSION = 2\n"), ("new.c", "int a;\n"), ("new.c", "int b;\n")):
        (repository / name).write_text(text)
        dirty = catalogue.source_tree(f"path:{repository}")
        assert (dirty.path / "src" / name).read_text() == text
        keys.add(dirty.key)
    (repository / "sub" / "run.sh").unlink()
    keys.add(catalogue.source_tree(f"path:{repository}").key)
    assert len(keys) == 5


def test_a_tree_that_changes_while_it_is_copied(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = checkout.copy_tree

    def slow(root: Path, files: list[str], target: Path) -> None:
        copy(root, files, target)
        (root / "Makefile").write_text("VERSION = 9\n")

    monkeypatch.setattr(checkout, "copy_tree", slow)
    with pytest.raises(UserError, match="changed while it was copied"):
        catalogue.source_tree(f"path:{repository}")
    assert store.products() == []


@pytest.mark.parametrize("how", ["local", "remote"])
def test_a_commit(how: str, repository: Path) -> None:
    place = str(repository) if how == "local" else repository.as_uri()
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "Makefile").write_text("VERSION = 2\n")
    git(repository, "commit", "-q", "-a", "-m", "two")
    (repository / "Makefile").write_text("dirty\n")
    before = state_of(repository)
    product = catalogue.source_tree(f"git:{place}@{commit}")
    root = product.path / "src"
    assert (root / "Makefile").read_text() == "VERSION = 1\n"
    assert (root / "sub" / "run.sh").stat().st_mode & 0o100
    assert (root / "link").is_symlink()
    assert sorted(entry.name for entry in root.iterdir()) == [".gitignore", "Makefile", "link", "sub"]
    assert catalogue.source_tree(f"git:{place}@v1") == product
    assert catalogue.source_tree(f"git:{place}@main").key != product.key
    assert state_of(repository) == before
    assert product.metadata["inputs"] == {"git": commit}


def test_commits_that_are_not_there(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no commit none"):
        catalogue.source_tree(f"git:{repository}@none")
    with pytest.raises(UserError, match="has no branch or tag none"):
        catalogue.source_tree(f"git:{repository.as_uri()}@none")
    with pytest.raises(InfraError, match="git failed") as caught:
        catalogue.source_tree(f"git:{repository.as_uri()}@{'0' * 40}")
    assert caught.value.log is not None
    assert caught.value.log.exists()
    with pytest.raises(InfraError, match="cannot be read"):
        catalogue.source_tree(f"git:{(tmp_path / 'none').as_uri()}@main")
    with pytest.raises(UserError, match="is not a git repository"):
        catalogue.source_tree(f"git:{tmp_path}@main")


def test_the_real_catalogue_loads() -> None:
    default, known = catalogue.load()
    assert default == "linux-7.1.8"
    linux = {"linux-7.1.8", "linux-7.2.8", "linux-6.12.107"}
    upstream = linux | {"llvm-23.1.1", "llvm-19.1.7", "rustc-1.95.0"}
    # Sources that only Debian has: one origin each, because the hashes of their snapshots are not known.
    debian = {name for name in known if name.startswith("rustc-1.95.0-")}
    assert set(known) == upstream | debian
    for source in (known[name] for name in sorted(debian)):
        assert [origin.kind for origin in source.origins] == ["pool"]
    for source in (known[name] for name in sorted(upstream)):
        assert [origin.kind for origin in source.origins] == ["pool", "snapshot"]
        assert len({origin.sha256 for origin in source.origins}) == 1
        assert source.unpinned
    assert len(catalogue.list_sources()) == 18 + len(debian)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://x/a", "sha256": "12"}, r"linux-1.0.origins\[0\].sha256: expected 64 hex digits"),
        ({"sha256": HASH}, "say exactly one of pool, snapshot and url"),
        ({"url": "http://x/a", "pool": "x", "sha256": HASH}, "exactly one"),
        ({"snapshot": "12", "file": "x", "sha256": HASH}, "expected a sha1"),
        ({"url": "http://x/", "sha256": HASH}, "not a plain name"),
        ({"ulr": "x"}, r"unknown key \(did you mean url\?\)"),
    ],
)
def test_wrong_catalogues(change: dict[str, str], said: str, source_file: Path) -> None:
    source_file.write_text(json.dumps({"default": "linux-1.0", "sources": {"linux-1.0": {"origins": [change]}}}))
    with pytest.raises(UserError, match=said):
        catalogue.load()
