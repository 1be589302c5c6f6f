"""Sample modules: which kernels get them, and that they decide the kernel but not its build directory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from core import runtime
from kconfig import profiles
from kernel import samples
from kernel.workplace import Ready, Workplace, build_directory


@pytest.mark.parametrize(
    ("name", "there"), [("rust-all", True), ("rust", False), ("all", False), ("none", False), ("dataflow", False)]
)
def test_only_kernels_with_rust_and_dataflow_everywhere(name: str, there: bool) -> None:
    request = profiles.compose(name, "tiny", "x86_64", "7.1.8")
    assert samples.wanted(request) is there


def test_a_changed_sample_is_another_kernel_in_the_same_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    before = samples.identity()
    folder = tmp_path / "samples"
    folder.mkdir()
    for path in samples.FOLDER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(samples, "FOLDER", folder)
    assert samples.identity() == before
    (folder / "Makefile").write_text("obj-m := x.o\n")
    assert samples.identity() != before
    inputs = {"tree": "t", "samples": before}
    assert build_directory(inputs) == build_directory({**inputs, "samples": samples.identity()})
    assert build_directory(inputs) == build_directory({"tree": "t"})


def test_the_modules_are_those_of_the_makefile() -> None:
    made = (samples.FOLDER / "Makefile").read_text()
    assert all(f"{name}.o" in made for name in samples.NAMES)
    assert {path.stem for path in samples.FOLDER.iterdir() if path.suffix in (".c", ".rs")} == set(samples.NAMES)


def test_what_is_compiled_beside_a_kernel_is_cached_by_its_directory(tmp_path: Path) -> None:
    env = {"CCACHE_NOHASHDIR": "1", "CCACHE_DIR": "/ccache"}
    ready = cast(Ready, None)
    place = Workplace(ready, runtime.HostSession(), tmp_path, tmp_path, ["make", "O=x"], env, 1)
    first, second = place.module_steps(tmp_path / "own")
    assert first == (["make", "O=x", "modules"], env)
    assert second == (["make", "O=x", f"M={tmp_path}/own", "modules"], {"CCACHE_DIR": "/ccache"})
