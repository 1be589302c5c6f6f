"""Toolchains and images as data: what is in the files, and what wrong files are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import store
from core.errors import UserError
from core.runtime import Runtime
from toolchain import image, llvm, specs, toolchains


def test_the_files_load() -> None:
    found, preferred = specs.load()
    assert {"plugin-19", "plugin-23"} <= set(found)
    assert preferred
    for spec in found.values():
        packages = image.host_packages(spec.image)
        assert spec.source if spec.kind == "patched" else f"clang-{spec.llvm}" in packages


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean plugin-19"):
        specs.spec("plugin-18")
    with pytest.raises(UserError, match="did you mean kernel"):
        image.spec("kernle")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("toolchains: {a: {about: x, kind: plugin, llvm: '19', image: kernel}}", r"a\.llvm: expected a whole number"),
        ("toolchains: {a: {about: x, kind: plugn, llvm: 19, image: kernel}}", "did you mean plugin"),
        ("toolchains: {a: {about: x, kind: plugin, llvm: 19, image: kernl}}", "did you mean kernel"),
        ("toolchains: {a: {about: x, knd: plugin}}", "unknown key"),
        ("toolchains: {a: {about: x, kind: patched, llvm: 19, image: kernel}}", "source"),
        ("toolchains: {a: {about: x, kind: stock, llvm: 19, image: kernel, source: b}}", "only a patched toolchain"),
        ("toolchains: {}\npreferred: [b]", "no toolchain b"),
        ("toolchains: {a: 1, a: 2}", "the key a is there twice"),
    ],
)
def test_wrong_files(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "toolchains.yaml"
    file.write_text(text)
    monkeypatch.setattr(specs, "FILE", file)
    with pytest.raises(UserError, match=said):
        specs.load()


def test_an_unpinned_base_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_BASE_IMAGE", "debian:trixie")
    with pytest.raises(UserError, match="not pinned"):
        image.specs()


def test_a_patched_toolchain_is_taken_only_if_it_is_there_as_it_would_be_made_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path))
    monkeypatch.setattr(llvm, "current", lambda _spec: {"patches": ["now"]})
    assert toolchains.default_name(Runtime("docker")) == "plugin-19"
    stale = {"name": "llvm-23", "runtime": "docker", "patches": ["then"]}
    store.make("toolchain", stale, lambda _tmp: {})
    assert toolchains.default_name(Runtime("docker")) == "plugin-19"
    store.make("toolchain", {**stale, "patches": ["now"]}, lambda _tmp: {})
    assert toolchains.default_name(Runtime("docker")) == "llvm-23"
    store.make("toolchain", {**stale, "patches": ["now"], "targets": ["x86_64"]}, lambda _tmp: {})
    assert toolchains.default_name(Runtime("docker"), "x86_64") == "llvm-23"
    assert toolchains.default_name(Runtime("host")) == "plugin-19"


def test_a_compiler_that_does_not_know_the_architecture_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path))
    monkeypatch.setattr(llvm, "current", lambda _spec: {})
    store.make("toolchain", {"name": "llvm-23", "runtime": "docker", "targets": ["x86_64"]}, lambda _tmp: {})
    assert toolchains.default_name(Runtime("docker"), "arm64") == "plugin-19"
    store.make("toolchain", {"name": "llvm-23", "runtime": "docker", "targets": ["arm64", "x86_64"]}, lambda _tmp: {})
    assert toolchains.default_name(Runtime("docker"), "arm64") == "llvm-23"
