"""What decides a patched compiler, and the source tree it is built from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import InfraError, UnderTest, UserError
from core.process import Finished
from core.runtime import Runtime
from core.step import require
from toolchain import image, llvm, recipe, specs, worktree


def test_the_recipe_loads_and_its_image_has_its_compiler() -> None:
    own = recipe.load("llvm")
    assert own.variables["CMAKE_C_COMPILER"] == "clang-19"
    assert {"clang-19", "lld-19", "ninja-build", "cmake"} <= set(image.host_packages(own.image))
    assert {"clang", "lld", "llvm-config", "opt", "FileCheck"} <= set(own.components)


def test_variables_are_typed() -> None:
    found = recipe.arguments({"A": True, "B": False, "C": "x y", "D": ("a", "b")})
    assert found == ["-DA:BOOL=ON", "-DB:BOOL=OFF", "-DC:STRING=x y", "-DD:STRING=a;b"]


def test_targets_become_the_compilers_own_names() -> None:
    own = recipe.load("llvm")
    one = recipe.variables(own, recipe.choose(own, "x86_64"))
    both = recipe.variables(own, recipe.choose(own, "x86_64", ["arm64"]))
    assert one["LLVM_TARGETS_TO_BUILD"] == ("X86",)
    assert both["LLVM_TARGETS_TO_BUILD"] == ("AArch64", "X86")
    assert "AArch64" in both["LLVM_DYLIB_COMPONENTS"]  # type: ignore[operator]
    assert "LLVM_ENABLE_LTO" not in one
    assert recipe.variables(own, recipe.choose(own, "x86_64", lto="thin"))["LLVM_ENABLE_LTO"] == "Thin"


def test_a_toolchains_own_variables_win() -> None:
    own = recipe.load("llvm")
    more: dict[str, recipe.Variable] = {"LLVM_TARGETS_TO_BUILD": ("ARM", "X86"), "LLVM_DYLIB_COMPONENTS": "all"}
    found = recipe.variables(own, recipe.choose(own, "x86_64"), more)
    assert found["LLVM_TARGETS_TO_BUILD"] == ("X86", "ARM")
    assert found["LLVM_DYLIB_COMPONENTS"] == "all"
    with pytest.raises(UserError, match="is a list"):
        recipe.variables(own, recipe.choose(own, "x86_64"), {"LLVM_TARGETS_TO_BUILD": "X86"})


def test_a_compiler_for_more_targets_will_do() -> None:
    own = recipe.load("llvm")
    found = recipe.at_least(own, recipe.choose(own, "x86_64"))
    assert [choices.targets for choices in found] == [("x86_64",), ("arm64", "x86_64")]
    assert len(recipe.at_least(own, recipe.choose(own, "x86_64", ["arm64"]))) == 1


@pytest.mark.parametrize(
    ("targets", "lto", "said"),
    [(["x86"], "", "not have the target x86"), ([], "fat", "not have the link-time optimization fat")],
)
def test_wrong_choices(targets: list[str], lto: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        recipe.choose(recipe.load("llvm"), "x86_64", targets, lto)


def test_the_compiler_that_is_trained_counts_and_has_no_way_to_be_trained_itself() -> None:
    own = recipe.load("llvm")
    trained = recipe.trained(own)
    assert trained.variables["LLVM_BUILD_INSTRUMENTED"] == "IR"
    assert trained.variables["LLVM_BUILD_LLVM_DYLIB"] is False
    assert {"clang", "lld"} <= set(trained.components) < set(own.components)
    # The runtime library that writes profiles, and what reads them, are of the host compiler's version.
    assert "libclang-rt-19-dev" in image.host_packages(trained.image)
    assert own.pgo is not None and own.pgo.merge == f"llvm-profdata-{own.variables['CMAKE_C_COMPILER'][-2:]}"
    with pytest.raises(UserError, match="does not describe"):
        recipe.trained(trained)


def test_a_profile_decides_the_compiler_and_its_build_directory(tmp_path: Path) -> None:
    own, spec = recipe.load("llvm"), specs.spec("llvm-23")
    plain = llvm.read_plan(spec, recipe.choose(own, "x86_64"), own)
    file = tmp_path / "profile.profdata"
    first, second = (llvm.read_plan(spec, recipe.choose(own, "x86_64", profile=text), own, file) for text in ("1", "2"))
    assert "profile" not in plain.inputs("s")
    assert first.variables()["LLVM_PROFDATA_FILE"] == recipe.PROFILE
    assert len({str(plan.inputs("s")) for plan in (plain, first, second)}) == 3
    assert len({llvm.build_directory(plan, "p", Runtime("docker")) for plan in (plain, first, second)}) == 3


def test_there_is_no_such_recipe() -> None:
    with pytest.raises(UserError, match="did you mean llvm"):
        recipe.load("lvm")


def test_patches_and_pass_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe.load("llvm")
    monkeypatch.setattr(llvm, "PATCHES", tmp_path)
    folder = tmp_path / "23"
    folder.mkdir()
    (folder / "copies.yaml").write_text("copies:\n  - {from: KcovDataflow.cpp, to: llvm/lib/K.cpp}\n")
    (folder / "0001-a.patch").write_text("one")
    spec = specs.spec("llvm-23")
    first = llvm.read_plan(spec, recipe.choose(own, "x86_64"), own)
    (folder / "0001-a.patch").write_text("two")
    second = llvm.read_plan(spec, recipe.choose(own, "x86_64"), own)
    assert first.inputs("s")["copies"] == second.inputs("s")["copies"]
    assert first.inputs("s")["patches"] != second.inputs("s")["patches"]
    # The build directory is the same for both, so that a changed patch compiles little.
    assert llvm.build_directory(first, "p", Runtime("docker")) == llvm.build_directory(second, "p", Runtime("docker"))
    assert llvm.build_directory(first, "p", Runtime("docker")) != llvm.build_directory(first, "q", Runtime("docker"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("copies:\n  - {from: Nothing.cpp, to: a}\n", "the pass has no file Nothing.cpp"),
        ("copies:\n  - {from: KcovDataflow.cpp, to: ../a}\n", "leaves the source"),
        ("copies:\n  - {from: KcovDataflow.cpp, to: /a}\n", "leaves the source"),
        ("copies:\n  - {from: KcovDataflow.cpp, too: /a}\n", "unknown key"),
    ],
)
def test_wrong_copies(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe.load("llvm")
    monkeypatch.setattr(llvm, "PATCHES", tmp_path)
    (tmp_path / "23").mkdir()
    (tmp_path / "23" / "copies.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        llvm.read_plan(specs.spec("llvm-23"), recipe.choose(own, "x86_64"), own)


def _pristine(tmp_path: Path) -> Path:
    source = tmp_path / "pristine"
    for name in ("llvm/a.cpp", "llvm/sub/b.cpp", "clang/c.cpp", "flang/d.cpp"):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        os.utime(file, (1000, 1000))
    return source


def test_only_what_changed_is_new(tmp_path: Path) -> None:
    source, place = _pristine(tmp_path), tmp_path / "place"
    changes: dict[str, bytes | None] = {"llvm/a.cpp": b"patched", "llvm/new/pass.cpp": b"pass"}
    assert worktree.sync(source, ["llvm", "clang"], changes, place) == ["llvm/a.cpp", "llvm/new/pass.cpp"]
    assert (place / "llvm/a.cpp").read_text() == "patched"
    assert (source / "llvm/a.cpp").read_text() == "llvm/a.cpp", "the store's file must not change through its link"
    assert not (place / "flang").exists()
    # A folder that a later recipe wants as well is added to what is there.
    assert worktree.sync(source, ["llvm", "clang", "flang"], changes, place) == []
    assert (place / "flang/d.cpp").read_text() == "flang/d.cpp"
    assert (place / "clang/c.cpp").stat().st_mtime == 1000
    os.utime(place / "llvm/a.cpp", (2000, 2000))
    assert worktree.sync(source, ["llvm", "clang"], {**changes, "llvm/new/pass.cpp": b"pass 2"}, place) == [
        "llvm/new/pass.cpp"
    ]
    assert (place / "llvm/a.cpp").stat().st_mtime == 2000


def test_what_is_no_longer_changed_is_as_it_was(tmp_path: Path) -> None:
    source, place = _pristine(tmp_path), tmp_path / "place"
    worktree.sync(source, ["llvm"], {"llvm/a.cpp": b"patched", "llvm/new.cpp": b"x", "llvm/sub/b.cpp": None}, place)
    assert not (place / "llvm/sub/b.cpp").exists()
    touched = worktree.sync(source, ["llvm"], {}, place)
    assert touched == ["llvm/a.cpp", "llvm/new.cpp", "llvm/sub/b.cpp"]
    assert (place / "llvm/a.cpp").read_text() == "llvm/a.cpp"
    assert (place / "llvm/sub/b.cpp").read_text() == "llvm/sub/b.cpp"
    assert not (place / "llvm/new.cpp").exists()


def test_a_killed_sync_is_mended_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, place = _pristine(tmp_path), tmp_path / "place"
    worktree.sync(source, ["llvm"], {}, place)
    real = worktree._replace

    def die(path: Path, wanted: bytes | None, mode: int) -> bool:
        real(path, wanted, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(worktree, "_replace", die)
    with pytest.raises(KeyboardInterrupt):
        worktree.sync(source, ["llvm"], {"llvm/a.cpp": b"one", "llvm/b.cpp": b"two"}, place)
    monkeypatch.setattr(worktree, "_replace", real)
    worktree.sync(source, ["llvm"], {"llvm/b.cpp": b"two"}, place)
    assert (place / "llvm/a.cpp").read_text() == "llvm/a.cpp"
    assert (place / "llvm/b.cpp").read_text() == "two"


def test_a_program_of_the_source_stays_one_when_its_text_changes(tmp_path: Path) -> None:
    source, place = _pristine(tmp_path), tmp_path / "place"
    (source / "llvm/a.cpp").chmod(0o555)
    for changes in ({"llvm/a.cpp": b"one", "llvm/sub/b.cpp": b"two"}, {"llvm/a.cpp": None}, {}):
        worktree.sync(source, ["llvm"], changes, place)
        if changes.get("llvm/a.cpp", b"") is not None:
            assert (place / "llvm/a.cpp").stat().st_mode & 0o100
        assert not (place / "llvm/sub/b.cpp").stat().st_mode & 0o100


def _ended(code: int, *tail: str, timed_out: bool = False) -> Finished:
    return Finished(("x",), code, tail, 3.0, timed_out)


@pytest.mark.parametrize(
    ("done", "errors", "kind", "said"),
    [
        (_ended(0, timed_out=True), [], InfraError, "did not end within 3 s"),
        (_ended(-9), [], InfraError, "was killed"),
        (_ended(2, "Killed", "make: *** [x] Error 2"), [], InfraError, "was killed"),
        (_ended(2, "write: No space left on device"), [], InfraError, "disk is full"),
        (_ended(2, "x", "cp: error writing a: No space left on device"), [], InfraError, "disk is full"),
        (_ended(2, "sh: bc: not found"), [], InfraError, "lacks a program: sh: bc: not found"),
        (_ended(2, "make: *** Error 2"), ["a.c:1: error: what"], UnderTest, "a.c:1: error: what"),
        (_ended(2, "nothing said"), [], UnderTest, "ended with 2"),
    ],
)
def test_a_step_that_failed_is_sorted(done: Finished, errors: list[str], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        require(done, "the step", None, errors)
    require(_ended(0), "the step", None)
