"""Train a compiler: compile a kernel with an instrumented clang, and keep the profile.

Takes the name of a toolchain that is compiled from source. Gives a product with the profile with which
`toolchain.toolchains.ensure` optimizes that toolchain. The kernel is never booted and is removed at the end.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from core import store
from core.arch import host_arch
from core.runtime import Mount, Runtime
from core.store import Product
from kernel import compilation, kernels
from kernel.cell import Cell, CellNames, resolve
from kernel.workplace import open_workplace
from sources import catalogue
from toolchain import training

_RAW = "/kdf/raw"


def cell_of(toolchain: str) -> Cell:
    """Return the cell for the training: the tiny kernel, fully instrumented, so that our pass is trained too."""
    return resolve(CellNames(toolchain, "kit", "all", "tiny", host_arch(), catalogue.default_linux()))


def profile(name: str, runtime: Runtime) -> Product:
    """Find the profile of a toolchain's compiler in the store, or make it.

    Args:
        name: a toolchain of kind patched.

    Returns:
        A product with `profile.profdata`; its metadata has the number of functions and the time that the training took.

    Raises:
        UserError: the toolchain is not compiled from source.
        UnderTest: LLVM or the kernel does not compile.
        InfraError: the machine failed.
    """
    counting = training.counting(name, runtime)
    ready = kernels.prepare(cell_of(name), runtime, toolchain=counting)

    def work(tmp: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=store.home() / "build", prefix="training-") as folder:
            raw, objects = Path(folder) / "raw", Path(folder) / "objects"
            raw.mkdir()
            mounts = [Mount(raw, _RAW, writable=True), Mount(tmp, "/kdf/profile", writable=True)]
            with open_workplace(ready, mounts, build_dir=objects) as place:
                counts = {"LLVM_PROFILE_FILE": f"{place.session.path(raw)}/{training.RAW}", "CCACHE_DISABLE": "1"}
                counted = replace(place, env={**place.env, **counts})
                counted.configure()
                done = compilation.compile_all(counted)
                functions = training.merge(place.session, raw, tmp / training.FILE, place.log)
        return {"functions": functions, "objects": done.objects, "cpu_seconds": round(done.cpu_seconds, 1)}

    inputs = {"training": counting.product.key, "kernel": ready.inputs}
    return store.make("profile", inputs, work)
