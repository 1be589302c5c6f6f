"""The recipe of rustc: its data, what decides a compiler, and what is written for its build."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from core import store
from core.errors import InfraError, UserError
from core.runtime import Runtime
from sources import catalogue
from toolchain import borrowed, rust_recipe, rustc, specs, usage


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "rustc.yaml"
    monkeypatch.setattr(rust_recipe, "FILE", file)
    return file


def test_the_real_file_loads_and_names_what_there_is() -> None:
    for spec in specs.load()[0].values():
        if spec.rustc not in ("", borrowed.STOCK):
            assert rust_recipe.find(spec.rustc)
    own = rust_recipe.find("rustc-1.95.0")
    known = catalogue.load()[1]
    assert own.packaging is not None
    assert {own.source, own.packaging.source, *own.stage0} <= set(known)
    assert own.settings["llvm"]["download-ci-llvm"] is False
    assert own.settings["rust"]["codegen-backends"] == ("llvm",)
    assert own.packaging.groups == ("prune", "vendor")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "rsut"}, "there is no image rsut"),
        ({"entries": ["../x"]}, r"entries\[0\]: ../x leaves the source"),
        ({"locks": ["/x"]}, r"locks\[0\]: /x leaves the source"),
        (
            {"settings": {"rust": {"a": {"b": 1}}}},
            r"settings.rust.a: expected true or false, a whole number, text or a list",
        ),
        ({"sorce": "x"}, r"unknown key \(did you mean source\?\)"),
        ({"packaging": {"source": "x", "group": []}}, "unknown key"),
    ],
)
def test_wrong_files(change: dict[str, object], said: str, wrong: Path) -> None:
    whole = {"image": "rust", "source": "rustc-1.95.0", "stage0": [], "entries": ["x"], "targets": [], "settings": {}}
    wrong.write_text(json.dumps({"compilers": {"a": {**whole, **change}}}))
    with pytest.raises(UserError, match=said):
        rust_recipe.find("a")


def test_an_unknown_rustc_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean rustc-1\.95\.0"):
        rust_recipe.find("rustc-1.96.0")


def test_only_a_patched_toolchain_has_a_rustc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "toolchains.yaml"
    file.write_text("toolchains: {a: {about: x, kind: plugin, llvm: 19, image: kernel, rustc: b}}")
    monkeypatch.setattr(specs, "FILE", file)
    with pytest.raises(UserError, match="only a patched toolchain"):
        specs.load()


def test_a_changed_patch_keeps_the_directory_and_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    own = rust_recipe.find("rustc-1.95.0")
    before, place = own.inputs(), rustc.build_directory(own, 23, "p", Runtime("docker"))
    patches = tmp_path / "patches"
    patches.mkdir()
    (patches / "0001-x.patch").write_text("x")
    monkeypatch.setattr(rust_recipe, "PATCHES", patches)
    assert own.inputs() != before
    assert {**own.inputs(), "patches": before["patches"]} == before
    assert rustc.build_directory(own, 23, "p", Runtime("docker")) == place
    others = {
        rustc.build_directory(own, 22, "p", Runtime("docker")),
        rustc.build_directory(own, 23, "q", Runtime("docker")),
        rustc.build_directory(own, 23, "p", Runtime("host")),
    }
    assert len(others | {place}) == 4


def test_settings_are_toml_that_reads_back() -> None:
    settings: dict[str, dict[str, rust_recipe.Setting]] = {
        "rust": {"lto": "off", "optimize": 2, "debug": False, "say": 'a "b"\\'},
        "target.x86_64-unknown-linux-gnu": {"host": ("a", "b"), "tools": ()},
    }
    read = tomllib.loads(rust_recipe.toml(settings))
    assert read["rust"] == settings["rust"]
    assert read["target"]["x86_64-unknown-linux-gnu"] == {"host": ["a", "b"], "tools": []}


def test_a_packaging_that_lists_what_it_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = tmp_path / "src" / "patches"
    (patches / "prune").mkdir(parents=True)
    (patches / "prune" / "a.patch").write_text("a")
    (patches / "series").write_text("prune/a.patch\nbuild/b.patch\n")
    product = store.Product("source", "k", tmp_path, {})
    monkeypatch.setattr(catalogue, "source_tree", lambda _name: product)
    own = rust_recipe.find("rustc-1.95.0")
    assert [patch.name for patch in rustc._packaging(own)] == ["prune/a.patch"]
    (patches / "series").write_text("prune/a.patch\nvendor/b.patch\n")
    with pytest.raises(InfraError, match=r"lists vendor/b\.patch"):
        rustc._packaging(own)


def test_checksums_of_crates_and_locks_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crate = tmp_path / "vendor" / "a-1.0"
    crate.mkdir(parents=True)
    (crate / ".cargo-checksum.json").write_text('{"files": {"gone.c": "12"}, "package": "34"}')
    (tmp_path / "Cargo.lock").write_text("x")
    monkeypatch.setattr(rustc.apply, "changed_files", lambda *_a: {})
    monkeypatch.setattr(rustc, "_packaging", lambda _compiler: [])
    found = rustc._changes(rust_recipe.find("rustc-1.95.0"), tmp_path)
    assert found == {
        "vendor/a-1.0/.cargo-checksum.json": b'{"files":{},"package":"34"}',
        "Cargo.lock": None,
    }


def test_what_was_spent_adds_up_over_interrupted_calls(tmp_path: Path) -> None:
    file = tmp_path / "usage.txt"
    file.write_text("10.0 30.0 2.0 1000\nCommand exited with non-zero status 1\n5.5 4.0 1.0 3000\n")
    assert usage.read(file) == {
        "runs": 2,
        "wall_seconds": 15.5,
        "cpu_seconds": 37.0,
        "last_cpu_seconds": 5.0,
        "last_wall_seconds": 5.5,
        "largest_process": 3000 * 1024,
    }


def test_a_debian_package_is_unpacked(tmp_path: Path) -> None:
    package = tmp_path / "a.deb"
    package.write_bytes(_deb(_tar({"./usr/bin/a": b"it"})))
    from sources import unpack

    unpack.unpack(package, tmp_path / "out")
    assert (tmp_path / "out" / "bin" / "a").read_bytes() == b"it"


@pytest.mark.parametrize("cut", [4, 9, 40, 80, 150, -20])
def test_a_damaged_package_is_refused(cut: int, tmp_path: Path) -> None:
    from sources import unpack

    package = tmp_path / "a.deb"
    package.write_bytes(_deb(_tar({"./usr/bin/a": b"it" * 900}))[:cut])
    with pytest.raises(InfraError, match="cannot be unpacked"):
        unpack.unpack(package, tmp_path / "out")


def _tar(files: dict[str, bytes]) -> bytes:
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _deb(data: bytes) -> bytes:
    """An ar archive as dpkg-deb writes it: members at even places (ar(5))."""
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data)):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out
