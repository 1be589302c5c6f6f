"""A built kernel as a type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import store
from kconfig import survival
from kernel import built
from kernel.built import Kernel

METADATA = {
    "cell": {"profile": "all", "base": "tiny", "arch": "x86_64"},
    "files": {"image": {"size": 7, "sha256": "a" * 64}},
    "layout": None,
    "release": "7.1.8",
}


def fill(folder: Path) -> dict[str, Any]:
    (folder / "config").write_text("CONFIG_KCOV_DATAFLOW=y\n# CONFIG_MODULES is not set\n")
    (folder / "modules").mkdir()
    (folder / "modules" / "b.ko").touch()
    (folder / "modules" / "a.ko").touch()
    return dict(METADATA)


@pytest.fixture
def kernel() -> Kernel:
    return built.make({"request": {"asked": {"KASAN": "y"}}}, fill)


def test_what_a_kernel_is(kernel: Kernel) -> None:
    assert kernel.records and kernel.config["MODULES"] == "n"
    assert (kernel.arch, kernel.release, kernel.layout) == ("x86_64", "7.1.8", "")
    assert kernel.sizes == {"image": 7} and kernel.hashes == {"image": "a" * 64}
    assert [path.name for path in kernel.modules] == ["a.ko", "b.ko"]
    assert kernel.asked == {"KASAN": "y"}
    assert (kernel.cpu_seconds, kernel.frames, kernel.gate_text) == (None, {}, None)
    assert kernel.as_json()["path"] == str(kernel.path)


def test_the_configuration_is_read_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    usual = survival.values
    monkeypatch.setattr(survival, "values", lambda text: (read.append(text), usual(text))[1])
    assert kernel.config == kernel.config and kernel.records
    assert len(read) == 1


def test_it_is_found_again(kernel: Kernel) -> None:
    store.make("tree", {}, lambda _folder: {})
    assert built.find(kernel.inputs) == kernel
    assert built.by_key(kernel.key) == kernel
    assert built.all_kernels() == [kernel]
    assert built.find({"another": 1}) is None and built.by_key("no key") is None
