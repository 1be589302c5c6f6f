"""Where the machine's own configuration says that Debian's archive is; both formats of sources.list(5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sources import origins
from sources.origins import Origin, OriginFailed

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
 https://second.example/debian
Suites: trixie trixie-updates
# in the middle
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://security.example/debian-security
Suites: trixie-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example/debian
Suites: trixie
Components: main
"""

LINES = """\
# deb http://commented.example/debian trixie main
deb-src http://src.example/debian trixie main
deb [arch=amd64 signed-by=/x/y.gpg] http://user:secret@third.example/debian sid main # why
deb https://other.example cloud-sdk-trixie main
deb https://node.example/node nodistro main
deb cdrom:[Debian]/ trixie main
deb file:/srv/debian trixie main
"""


def configuration(tmp_path: Path, deb822: str = "", lines: str = "") -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(lines)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(deb822)
    (tmp_path / "sources.list.d" / "debian.sources.save").write_text("deb http://saved.example/debian trixie main")
    return tmp_path


def test_both_formats(tmp_path: Path) -> None:
    apt = configuration(tmp_path, DEB822, LINES)
    assert origins.apt_origins(apt) == [
        "http://user:secret@third.example/debian",
        "http://mirror.example/debian",
        "https://second.example/debian",
    ]
    assert origins.apt_origin(apt) == "http://user:secret@third.example/debian"


def test_a_mirror_list(tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# which\nhttp://a.example/debian\tpriority:1\n\nhttp://b.example/debian\n")
    apt = configuration(tmp_path, lines=f"deb mirror+file:{mirrors} trixie main\n")
    assert origins.apt_origins(apt) == ["http://a.example/debian", "http://b.example/debian"]


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert origins.apt_origin(tmp_path / "none") is None
    monkeypatch.setattr(origins, "apt_origins", list)
    with pytest.raises(OriginFailed, match="names no Debian archive"):
        origins.addresses(Origin("pool", "pool/x", "x"))


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "apt_origins", lambda: ["http://a/debian", "http://b/debian"])
    assert origins.addresses(Origin("pool", "pool/x", "x")) == ["http://a/debian/pool/x", "http://b/debian/pool/x"]
    assert origins.addresses(Origin("url", "http://c/x", "x")) == ["http://c/x"]
    with pytest.raises(OriginFailed, match="KDF_SNAPSHOT"):
        origins.addresses(Origin("snapshot", "0" * 40, "x"))
    monkeypatch.setenv("KDF_SNAPSHOT", "http://snap/")
    assert origins.addresses(Origin("snapshot", "0" * 40, "x")) == [f"http://snap/file/{'0' * 40}"]


def test_secrets_are_not_shown() -> None:
    assert origins.without_user("https://me:secret@host:8/p?q") == "https://host:8/p?q"
    assert "secret" not in Origin("url", "https://me:secret@host/p", "p").shown
    assert "secret" not in origins._reason(ValueError("InvalidSchema"), "ftp://me:secret@host/p", 0)


@pytest.mark.parametrize("taken", [[], ["x.bad-1"], ["x.bad-1", "x.bad-3"]])
def test_setting_aside_takes_a_free_name(taken: list[str], tmp_path: Path) -> None:
    for name in taken:
        (tmp_path / name).write_text("old")
    (tmp_path / "x.part").write_text("new")
    aside = origins.set_aside(tmp_path / "x.part")
    assert aside.name == f"x.bad-{1 if not taken else 2}"
    assert aside.read_text() == "new"
