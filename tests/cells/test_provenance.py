"""Provenance: the forms that other tools read, and what is refused before a kernel is made once more."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cells import provenance, reproduction
from core import store
from core.errors import UnderTest, UserError
from core.runtime import Runtime
from core.store import Product
from kernel.built import Kernel
from toolchain.toolchains import Toolchain

CELL = {
    "toolchain": "plugin-19",
    "series": "kit",
    "profile": "all",
    "base": "tiny",
    "arch": "x86_64",
    "linux": "7.1.8",
    "instrument": [],
    "fragments": [],
    "sets": [],
}
PACKAGES = "adduser=3.152:all\nclang-19=1:19.1.7-3+b1:amd64\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, Toolchain]:
    """A kernel, its tree, source, toolchain and image in a store."""
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))

    def product(kind: str, inputs: dict[str, Any], **told: Any) -> Product:
        def work(folder: Path) -> dict[str, Any]:
            for name, text in told.pop("_files", {}).items():
                (folder / name).write_text(text)
            return told

        return store.make(kind, inputs, work)

    origin = {"url": "https://kernel.example/linux.tar.xz"}
    source = product("source", {"sha256": "5" * 64, "unpacker": 1}, origin=origin)
    patches = {"patches": ["1" * 64, "2" * 64], "source": source.key}
    tree = product("tree", patches, patches=[{"patch": "0001-a.patch"}, {"patch": "0002-b.patch"}])
    packages = "7" * 64
    product("image", {"name": "kernel"}, packages=packages, _files={"packages.txt": PACKAGES})
    manifest = {"generation": "L0", "versions": {"clang": "19.1.7"}}
    compiler = product("toolchain", {"packages": packages}, _files={"manifest.json": json.dumps(manifest)})
    kernel = product(
        "kernel",
        {"toolchain": compiler.key, "tree": tree.key, "request": {"asked": {"A": "y", "FRAME_WARN": "4096"}}},
        cell=CELL,
        release="7.1.8",
        tree=tree.key,
        command=["make", "-j4"],
        files={name: {"sha256": hash_, "size": 1} for name, hash_ in (("image", "a" * 64), ("build.log", "b" * 64))},
    )
    return Kernel(kernel), Toolchain("plugin-19", compiler, Runtime("docker"), None, packages)


def test_the_statement_has_what_the_specifications_ask(made: tuple[Kernel, Toolchain]) -> None:
    kernel, toolchain = made
    told = provenance.statement(kernel, toolchain, "run", 1_700_000_000)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    assert told["subject"] == [{"name": "image", "digest": {"sha256": "a" * 64}}]
    build, run = told["predicate"]["buildDefinition"], told["predicate"]["runDetails"]
    assert build["buildType"] and build["externalParameters"] == {"cell": CELL}
    assert run["builder"]["id"] and run["metadata"]["startedOn"] == "2023-11-14T22:13:20Z"
    parts = {one["name"]: one for one in build["resolvedDependencies"]}
    assert parts["linux 7.1.8"]["digest"] == {"sha256": "5" * 64}
    assert parts["linux 7.1.8"]["uri"] == "https://kernel.example/linux.tar.xz"
    assert parts["0002-b.patch"]["digest"] == {"sha256": "2" * 64}
    assert parts["plugin-19"]["annotations"]["generation"] == "L0"
    # A resource descriptor has a name, an uri or a digest (in-toto, spec/v1/resource_descriptor).
    assert all(one.keys() & {"uri", "digest"} and one["name"] for one in parts.values())
    assert provenance.revision()["gitCommit"] == parts["kcov-dataflow-kit"]["digest"]["gitCommit"]


def test_the_list_is_valid_and_says_what_is_no_part_of_the_kernel(made: tuple[Kernel, Toolchain]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = provenance.material_list(*made)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    parts = {one["name"]: one for one in told["components"]}
    assert parts["0001-a.patch"]["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    clang = parts["clang-19:amd64"]
    assert clang["scope"] == "excluded" and clang["purl"] == "pkg:deb/debian/clang-19@1:19.1.7-3%2Bb1?arch=amd64"
    assert [one["name"] for one in told["metadata"]["component"]["components"]] == ["image"]
    assert text == provenance.material_list(*made)


def test_modules_of_a_kernel_that_was_made_before_they_were_counted(made: tuple[Kernel, Toolchain]) -> None:
    kernel, toolchain = made
    (kernel.path / "modules").mkdir()
    (kernel.path / "modules" / "a.ko").write_bytes(b"code")
    told = provenance.statement(kernel, toolchain, "run", 0)
    names = {one["name"]: one["digest"]["sha256"] for one in told["subject"]}
    assert names["modules/a.ko"] == store.hash_file(kernel.path / "modules" / "a.ko")
    assert set(names) == {"image", "modules/a.ko"}


def test_what_is_gone_from_the_store_is_left_out(made: tuple[Kernel, Toolchain]) -> None:
    kernel, toolchain = made
    for kind in ("tree", "source", "image"):
        shutil.rmtree(store.home() / "store" / kind)
    assert {one["name"] for one in provenance.dependencies(kernel, toolchain)} >= {"plugin-19"}
    assert "clang-19" not in provenance.material_list(kernel, toolchain)


@pytest.fixture
def folder(made: tuple[Kernel, Toolchain], tmp_path: Path) -> Path:
    """The folder of a run."""
    where = tmp_path / "run"
    where.mkdir()
    store.write_json(where / provenance.STATEMENT, provenance.statement(*made, "run", 0))
    return where


def test_a_statement_is_read_back(folder: Path, made: tuple[Kernel, Toolchain]) -> None:
    found = reproduction.load(folder / "result.json")
    assert found.cell.profile.name == "all" and found.files == {"image": "a" * 64}
    assert store.key_of(found.inputs) == made[0].key


def drop(*keys: str) -> Callable[[Any], None]:
    def change(told: Any) -> None:
        for key in keys[:-1]:
            told = told[key]
        del told[keys[-1]]

    return change


def other(value: Any, *keys: str) -> Callable[[Any], None]:
    def change(told: Any) -> None:
        for key in keys[:-1]:
            told = told[key]
        told[keys[-1]] = value

    return change


BUILD = ("predicate", "buildDefinition")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop("subject"), "subject"),
        (other([], "subject"), "no known runtime, or no file"),
        (other("urn:other", *BUILD, "buildType"), "not a statement about a kernel of this kit"),
        (other(7, *BUILD, "externalParameters", "cell", "linux"), "cell.linux"),
        (other("fs/", *BUILD, "externalParameters", "cell", "instrument"), "cell.instrument"),
        (other("m68k", *BUILD, "externalParameters", "cell", "arch"), "no architecture m68k"),
        (other("vm", *BUILD, "internalParameters", "runtime"), "no known runtime"),
        (other([1], *BUILD, "internalParameters", "inputs"), "has the wrong type"),
    ],
)
def test_what_is_no_statement_is_refused(folder: Path, change: Callable[[Any], None], told: str) -> None:
    file = folder / provenance.STATEMENT
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        reproduction.load(folder)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no provenance"):
        reproduction.load(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_is_the_users_error(tmp_path: Path, value: Any) -> None:
    (tmp_path / provenance.STATEMENT).write_text(json.dumps(value))
    with pytest.raises(UserError):
        reproduction.load(tmp_path)


def test_what_differs_is_named_by_its_place(made: tuple[Kernel, Toolchain]) -> None:
    then = dict(made[0].inputs)
    now = copy.deepcopy(then)
    assert list(reproduction.differences(then, now)) == []
    now["request"]["asked"]["FRAME_WARN"] = "2048"
    now["request"]["asked"]["NEW"] = "y"
    now["tree"] = "0" * 64
    assert sorted(reproduction.differences(then, now)) == ["request.asked.FRAME_WARN", "request.asked.NEW", "tree"]


def test_sections_that_differ_are_named(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    files = []
    for value in (1, 2):
        source.write_text(f"int one = {value}; int f(void) {{ return 3; }}\n")
        files.append(tmp_path / f"{value}.o")
        subprocess.run(["gcc", "-c", str(source), "-o", str(files[-1])], check=True)
    assert reproduction.sections(*files) == [".data"]
    assert reproduction.sections(source, source) == []


def test_one_file_that_differs_fails(tmp_path: Path, folder: Path) -> None:
    cell = reproduction.load(folder).cell
    same, differs = reproduction.Compared("vmlinux", "1", "1"), reproduction.Compared("image", "1", "2", (".text",))
    reproduction.Reproduced(cell, (same,), "", 1, 1.0, tmp_path).require()
    with pytest.raises(UnderTest, match=r"1 of 2 files differ: image \(\.text\)"):
        reproduction.Reproduced(cell, (same, differs), "", 1, 1.0, tmp_path).require()
    gone = reproduction.Compared("modules/a.ko", "1", "")
    with pytest.raises(UnderTest, match=r"modules/a\.ko"):
        reproduction.Reproduced(cell, (gone,), "", 1, 1.0, tmp_path).require()
