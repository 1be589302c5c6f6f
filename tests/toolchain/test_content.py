"""A compiled toolchain outlives the packages around it; a plugin does not. The compiler itself is made up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from core import store
from core.errors import InfraError
from core.runtime import HostSession, Runtime
from toolchain import content, probe, share, toolchains, unpacking

PATCHED = {
    "name": "llvm-23", "kind": "patched", "llvm": 23, "packages": "p1", "build_packages": "b1", "rustc_packages": "r1",
    "runtime": "host", "machine": toolchains.platform.machine(), "patches": ["1"], "targets": ["x86_64"],
}  # fmt: skip
CLANG = "clang version 23.1.1"


def fill(tmp: Path, said: str = CLANG) -> dict[str, Any]:
    """A toolchain whose clang says a version."""
    (tmp / "bin").mkdir()
    for name in ("clang", "ld.lld"):
        (tmp / "bin" / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp / "bin" / name).chmod(0o755)
    (tmp / "manifest.json").write_text(
        json.dumps({"versions": {"clang": CLANG, "ld.lld": CLANG, "llvm": "23.1.1"}, "generation": "L0"})
    )
    return {}


@pytest.fixture(autouse=True)
def callbacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the probe finds; the made-up clang does not compile."""
    state: dict[str, Any] = {"generation": "L0"}
    monkeypatch.setattr(
        probe, "ask", lambda *_words: (probe.Generation(state["generation"], "", "", ""), {})
    )  # fmt: skip
    return state


def test_the_key_forgets_packages_of_what_was_compiled_only() -> None:
    for around in content.AROUND:
        assert content.key({**PATCHED, around: "other"}) == content.key(PATCHED)
    assert content.key({**PATCHED, "patches": ["2"]}) != content.key(PATCHED)
    plugin = {**PATCHED, "kind": "plugin"}
    assert content.key(plugin) == store.key_of(plugin)
    assert content.key({**plugin, "packages": "other"}) != content.key(plugin)


def test_the_very_packages_come_first_then_what_is_wanted_most() -> None:
    both = {**PATCHED, "targets": ["arm64", "x86_64"]}
    other = store.make("toolchain", {**PATCHED, "packages": "p0"}, fill)
    more = store.make("toolchain", {**both, "packages": "p0"}, fill)
    mine = store.make("toolchain", both, fill)
    store.make("toolchain", {**PATCHED, "patches": ["2"]}, fill)
    found = content.candidates([{**PATCHED, "build_packages": ""}, {**both, "build_packages": ""}])
    assert [one.key for one in found] == [mine.key, other.key, more.key]


def test_one_that_runs_among_other_packages_is_taken_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make("toolchain", PATCHED, fill)
    wanted = {**PATCHED, "packages": "p2", "build_packages": ""}
    found = toolchains._fitting([wanted], Runtime("host"), None, "p2")
    assert found is not None and found.key == made.key
    monkeypatch.setattr(content, "why_not", lambda *_words: pytest.fail("asked again"))
    assert toolchains._fitting([wanted], Runtime("host"), None, "p2") is not None
    made.path.joinpath(store.METADATA).write_text(json.dumps({**made.metadata, "made": 0}))
    os.utime(made.path / store.METADATA, (0, 0))
    for packages in ("p1", "p2"):
        assert toolchains._fitting([{**PATCHED, "packages": packages}], Runtime("host"), None, packages) is not None
        assert store.last_used(made) > 0, "a compiler of an hour that is used must not be removed as old"
        os.utime(made.path / store.METADATA, (0, 0))
    other = toolchains.Toolchain("llvm-23", made, Runtime("host"), None, "p2")
    same = toolchains.Toolchain("llvm-23", made, Runtime("host"), None, "p1")
    assert same.key == made.key != other.key


@pytest.mark.parametrize("generation", ["L0", "L3"])
def test_one_that_does_not_fit_is_named_and_left(
    generation: str, callbacks: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said = CLANG if generation != "L0" else "error while loading shared libraries: libz.so.1"
    made = store.make("toolchain", PATCHED, lambda tmp: fill(tmp, said))
    callbacks["generation"] = generation
    assert toolchains._fitting([{**PATCHED, "packages": "p2"}], Runtime("host"), None, "p2") is None
    printed = capsys.readouterr().err
    assert made.key[:12] in printed
    assert ("it calls L3, but its manifest contains L0" if generation == "L3" else "libz.so.1") in printed
    assert [one.kind for one in store.products()] == ["toolchain"]


def test_a_program_that_fails_is_a_reason(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "bin" / "ld.lld").unlink()
    session = HostSession()
    assert "ld.lld" in content.why_not(session, tmp_path, tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InfraError, match="malformed"):
        content.why_not(session, tmp_path, tmp_path)


def test_an_archive_of_other_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callbacks: dict[str, Any]
) -> None:
    made = store.make("toolchain", PATCHED, fill)
    shared = tmp_path / "shared"
    shared.mkdir()
    out = share.export(made, shared).path
    assert out.name == f"{content.key(PATCHED)}.tar.zst"
    monkeypatch.setattr("toolchain.surroundings.of_toolchain", lambda *_words, **_options: (None, "p2"))
    monkeypatch.setattr("toolchain.surroundings.package_list", lambda *_words: [])
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "elsewhere"))
    callbacks["generation"] = "L3"
    with pytest.raises(InfraError, match=r"made with other packages .* it calls L3"):
        share.load(out)
    assert store.products() == []
    callbacks["generation"] = "L0"
    assert share.load(out).product.key == made.key
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "third"))
    wanted = {**PATCHED, "packages": "p2", "build_packages": ""}
    taken = toolchains._obtain(str(shared), [wanted])
    assert taken is not None and taken.key == made.key
    with pytest.raises(InfraError, match="contains the toolchain"):
        unpacking.take(out, {**wanted, "patches": ["2"]})


def test_one_that_is_only_faster_does_but_plain_is_no_answer_to_who_wants_it_fast() -> None:
    plain = {**PATCHED, "variables": {"A": "1"}}
    fast = {**PATCHED, "variables": {"A": "1", "LLVM_ENABLE_LTO": "Thin"}}
    profiled = {**PATCHED, "variables": {"A": "1", "LLVM_PROFDATA_FILE": "/p"}, "profile": "5" * 64}
    made = store.make("toolchain", profiled, fill)
    assert [one.key for one in content.candidates([plain])] == [made.key]
    assert content.candidates([fast]) == []
    assert content.candidates([{**profiled, "profile": "6" * 64}]) == []
    first = store.make("toolchain", plain, fill)
    assert [one.key for one in content.candidates([plain])] == [first.key, made.key]
    assert content.key(plain) != content.key(profiled)
