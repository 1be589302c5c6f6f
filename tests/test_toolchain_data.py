"""Toolchains and images as data: what is in the files, and what wrong files are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from toolchain import image, names


def test_the_files_load() -> None:
    found, preferred = names.load()
    assert {"plugin-19", "plugin-23"} <= set(found)
    assert preferred
    for spec in found.values():
        assert f"clang-{spec.llvm}" in image.host_packages(spec.image)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean plugin-19"):
        names.spec("plugin-18")
    with pytest.raises(UserError, match="did you mean kernel"):
        image.spec("kernle")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("toolchains: {a: {about: x, kind: plugin, llvm: '19', image: kernel}}", r"a\.llvm: expected a whole number"),
        ("toolchains: {a: {about: x, kind: plugn, llvm: 19, image: kernel}}", "did you mean plugin"),
        ("toolchains: {a: {about: x, kind: plugin, llvm: 19, image: kernl}}", "did you mean kernel"),
        ("toolchains: {a: {about: x, knd: plugin}}", "unknown key"),
        ("toolchains: {}\npreferred: [b]", "no toolchain b"),
        ("toolchains: {a: 1, a: 2}", "the key a is there twice"),
    ],
)
def test_wrong_files(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "toolchains.yaml"
    file.write_text(text)
    monkeypatch.setattr(names, "FILE", file)
    with pytest.raises(UserError, match=said):
        names.load()


def test_an_unpinned_base_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDF_BASE_IMAGE", "debian:trixie")
    with pytest.raises(UserError, match="not pinned"):
        image.specs()
