"""Toolchains as files: where they are found, what is refused, what is said. No engine: the image is made up."""

from __future__ import annotations

import functools
import http.server
import json
import platform
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import store
from core.errors import InfraError, UserError
from core.runtime import Image, Runtime
from core.store import Product
from sources import archive, depot
from tests.served import serving
from toolchain import reproduce, share, specs, toolchains, unpacking

PACKAGES = ["clang-19=1:19.1.7-3:amd64", "lld-19=1:19.1.7-3:amd64"]


def inputs(**changes: Any) -> dict[str, Any]:
    """Those of a plugin toolchain, as `ensure` computes them."""
    usual = {
        "name": "plugin-19",
        "kind": "plugin",
        "llvm": 19,
        "pass": toolchains._pass_hash(),
        "packages": "p1",
        "runtime": "docker",
        "machine": platform.machine(),
    }
    return {**usual, **changes}


def fill(tmp: Path) -> dict[str, Any]:
    (tmp / "bin").mkdir()
    (tmp / "bin" / "clang").write_text("front")
    (tmp / "bin" / "clang").chmod(0o755)
    (tmp / "bin" / "ld.lld").symlink_to("/usr/lib/llvm-19/bin/ld.lld")
    (tmp / "manifest.json").write_text(json.dumps({"versions": {"clang": "clang 19"}, "generation": "L0"}))
    return {"build": dict.fromkeys(unpacking.FACTS, 1)}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The image of this machine; tests change its identity and its packages."""
    state: dict[str, Any] = {"packages": "p1", "list": PACKAGES}

    def place(_own: specs.ToolchainSpec, _runtime: Runtime) -> tuple[Image | None, str]:
        return Image("kernel", "ref", state["packages"]), state["packages"]

    monkeypatch.setattr("toolchain.surroundings.of_toolchain", place)
    monkeypatch.setattr("toolchain.surroundings.package_list", lambda _name, _runtime, _packages: state["list"])
    return state


@pytest.fixture
def made() -> Product:
    return store.make("toolchain", inputs(), fill)


def new_home(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("KDF_HOME", str(path))


def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: Any, **_options: Any) -> None:
        raise AssertionError("nothing is to be built")

    monkeypatch.setattr("core.runtime.Runtime.open_session", refuse)


def test_an_imported_toolchain_is_found_as_if_built(
    made: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.tar.zst"
    done = share.export(made, out)
    assert done.path == out
    assert done.sha256 == store.hash_file(out)
    new_home(monkeypatch, tmp_path / "elsewhere")
    no_build(monkeypatch)
    taken = share.load(out)
    assert (taken.name, taken.runtime, taken.new, taken.stale) == ("plugin-19", "docker", True, "")
    assert taken.product.key == made.key
    assert taken.product.path != made.path
    assert taken.product.metadata["imported"]["from"] == "t.tar.zst"
    assert taken.product.metadata["build"] == made.metadata["build"]
    assert toolchains.ensure(specs.spec("plugin-19"), Runtime("docker")).product.path == taken.product.path
    assert share.built("plugin-19", Runtime("docker")).path == taken.product.path
    assert reproduce.compare(made.path, taken.product.path).differences == ()
    assert not share.load(out).new


def test_a_shared_directory(made: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    assert share.export(made, shared).path == shared / f"{made.key}.tar.zst"
    new_home(monkeypatch, tmp_path / "elsewhere")
    no_build(monkeypatch)
    assert toolchains.ensure(specs.spec("plugin-19"), Runtime("docker"), shared=str(shared)).product.key == made.key


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root = tmp_path / "served"
    root.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with serving(handler) as address:
        yield f"{address}/", root


def test_a_shared_address(
    made: Product, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, root = server
    share.export(made, root)
    new_home(monkeypatch, tmp_path / "elsewhere")
    no_build(monkeypatch)
    assert toolchains.ensure(specs.spec("plugin-19"), Runtime("docker"), shared=address).product.key == made.key
    assert list((store.home() / "downloads").iterdir()) == []


def test_a_shared_store_that_has_it_not(server: tuple[str, Path], tmp_path: Path) -> None:
    for place in (server[0], str(tmp_path)):
        with depot.found(place, ["0" * 64]) as there:
            assert there is None


def test_a_shared_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a directory"), depot.found(str(tmp_path / "absent"), ["0" * 64]):
        pass
    with pytest.raises(InfraError, match="cannot be read"), depot.found("http://127.0.0.1:9/", ["0" * 64]):
        pass
    with pytest.raises(UserError, match="not an address of http"), depot.found("ftp://127.0.0.1/", ["0" * 64]):
        pass


def test_a_shared_store_that_lies(made: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under another toolchain's key is refused, and nothing is built in its place."""
    other = store.make("toolchain", inputs(llvm=18), fill)
    shared = tmp_path / "shared"
    shared.mkdir()
    share.export(other, shared).path.rename(shared / f"{made.key}.tar.zst")
    new_home(monkeypatch, tmp_path / "elsewhere")
    no_build(monkeypatch)
    with pytest.raises(InfraError, match=f"contains the toolchain {other.key[:12]}"):
        toolchains.ensure(specs.spec("plugin-19"), Runtime("docker"), shared=str(shared))
    assert store.products() == []


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte(made: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "t.tar.zst"
    share.export(made, out)
    flip_a_byte(out)
    new_home(monkeypatch, tmp_path / "elsewhere")
    with pytest.raises(InfraError, match="is refused"):
        share.load(out)
    assert [p for p in (store.home() / "store").rglob("*") if p.is_file()] == []


def test_no_image_is_made_for_a_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_much(tmp: Path) -> dict[str, Any]:
        (tmp / "large").write_bytes(random.Random(1).randbytes(1 << 20))
        return fill(tmp)

    out = tmp_path / "t.tar.zst"
    share.export(store.make("toolchain", inputs(), fill_much), out)
    flip_a_byte(out)
    new_home(monkeypatch, tmp_path / "elsewhere")
    archive.read_index(out)  # the damage is behind what says what this is

    def place(*_words: Any, **_options: Any) -> None:
        raise AssertionError("an image is made")

    monkeypatch.setattr("toolchain.surroundings.of_toolchain", place)
    with pytest.raises(InfraError, match="is refused"):
        share.load(out)
    assert [p for p in (store.home() / "store").rglob("*") if p.is_file()] == []


def test_other_packages_are_named(
    made: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surroundings: dict[str, Any]
) -> None:
    out = tmp_path / "t.tar.zst"
    share.export(made, out)
    new_home(monkeypatch, tmp_path / "elsewhere")
    surroundings.update(packages="p2", list=["clang-19=1:19.1.7-4:amd64", PACKAGES[1], "new=1:amd64"])
    with pytest.raises(InfraError, match=r"image kernel here: clang-19 1:19.1.7-3 there, 1:19.1.7-4 here; new none"):
        share.load(out)
    assert store.products() == []


def test_other_packages_are_named_runtime_the_store_has_it(
    made: Product, tmp_path: Path, surroundings: dict[str, Any]
) -> None:
    out = tmp_path / "t.tar.zst"
    share.export(made, out)
    surroundings.update(packages="p2", list=["clang-19=1:19.1.7-4:amd64", PACKAGES[1]])
    with pytest.raises(InfraError, match=r"clang-19 1:19.1.7-3 there, 1:19.1.7-4 here"):
        share.load(out)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "plugin-18"}, r"toolchain plugin-18, which is not known here \(did you mean plugin-1"),
        ({"name": None}, "not known here"),
        ({"runtime": "jail"}, "runtime jail"),
        ({"machine": "m68k"}, "was made on m68k"),
    ],
)
def test_what_is_no_toolchain_of_ours(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    made = store.make("toolchain", inputs(**changes), fill)
    archive.write(made, tmp_path / "t.tar.zst", {})
    with pytest.raises(UserError, match=why):
        share.load(tmp_path / "t.tar.zst")


def test_a_product_of_another_kind(tmp_path: Path) -> None:
    archive.write(store.make("kernel", inputs(), fill), tmp_path / "t.tar.zst", {})
    with pytest.raises(UserError, match="kind kernel, not a toolchain"):
        share.load(tmp_path / "t.tar.zst")


@pytest.mark.parametrize("manifest", ["", "[]", '{"versions": {}}', "[" * 100_000])
def test_without_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str) -> None:
    made = store.make("toolchain", inputs(), fill)
    (made.path / "manifest.json").write_text(manifest)
    archive.write(made, tmp_path / "t.tar.zst", {})
    new_home(monkeypatch, tmp_path / "elsewhere")
    with pytest.raises(InfraError, match="does not contain a toolchain"):
        share.load(tmp_path / "t.tar.zst")


def test_facts_that_are_none_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make("toolchain", inputs(), lambda tmp: {**fill(tmp), "build": {"steps": "many"}})
    archive.write(made, tmp_path / "t.tar.zst", {})
    new_home(monkeypatch, tmp_path / "elsewhere")
    assert "build" not in share.load(tmp_path / "t.tar.zst").product.metadata


def test_the_state_of_the_pass_is_said(made: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    share.export(made, tmp_path / "t.tar.zst")
    monkeypatch.setattr(toolchains, "_pass_hash", lambda: "0" * 64)
    with pytest.raises(UserError, match="another one than this checkout describes: the pass"):
        share.built("plugin-19", Runtime("docker"))
    new_home(monkeypatch, tmp_path / "elsewhere")
    assert share.load(tmp_path / "t.tar.zst").stale == "the pass"


def test_what_is_not_built(made: Product) -> None:
    with pytest.raises(UserError, match="built for docker, not for host"):
        share.built("plugin-19", Runtime("host"))
    with pytest.raises(UserError, match="plugin-23 is not built"):
        share.built("plugin-23", Runtime("docker"))
    with pytest.raises(UserError, match="no toolchain plugin-2 "):
        share.built("plugin-2", Runtime("docker"))


def test_the_name_of_the_file(made: Product, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not end in \.tar\.zst"):
        share.export(made, tmp_path / "toolchain.zip")


@pytest.mark.parametrize(
    ("kind", "goal", "may"),
    [
        ("plugin", "/usr/lib/llvm-19/bin/ld.lld", True),
        ("stock", "/usr/bin/rustc", True),
        ("plugin", "/usr/lib/llvm-23/bin/ld.lld", False),
        ("plugin", "/usr/lib/llvm-19/bin/..", False),
        ("plugin", "/usr/lib/llvm-19/bin/../../x", False),
        ("plugin", "/usr/bin/python3", False),
        ("patched", "/usr/lib/llvm-19/bin/ld.lld", False),
    ],
)
def test_which_links_may_leave(kind: str, goal: str, may: bool) -> None:
    assert unpacking.is_stock(goal, specs.ToolchainSpec("x", "", kind, 19, "kernel")) is may


def test_differences_have_reasons(made: Product, tmp_path: Path) -> None:
    other = store.make("toolchain", inputs(llvm=18), fill)
    (made.path / "bin" / "clang").write_text("front of 9")
    (made.path / "bin" / "ld.lld").unlink()
    (made.path / "bin" / "ld.lld").symlink_to("lld")
    (made.path / "build.log").write_text("one run")
    (other.path / "only").write_text("")
    (other.path / "placed").write_text(f"built in {store.home()}/build")
    (made.path / "placed").write_text("built in /elsewhere")
    found = {one.name: one for one in reproduce.compare(made.path, other.path).differences}
    assert found["bin/clang"].reason == "10 bytes here, 5 there, first difference at byte 5"
    assert found["bin/ld.lld"].reason == "leads to lld here, to /usr/lib/llvm-19/bin/ld.lld there"
    assert found["only"].reason == f"only in {other.path}"
    assert found["placed"].reason.startswith("contains the path of the build")
    assert [one.name for one in found.values() if not one.matters] == ["build.log"]
    assert set(found) == {"bin/clang", "bin/ld.lld", "build.log", "only", "placed"}


def test_products_by_key(made: Product) -> None:
    assert reproduce.find(made.key[:8]) == made.path == reproduce.find(str(made.path))
    with pytest.raises(UserError, match="0 toolchains"):
        reproduce.find("zz")
