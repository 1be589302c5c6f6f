"""The place in which a cell is configured and built: a session, the source, a build directory, make's command line.

The build directory stays, so that the next build of the same cell only compiles what changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import store
from core.runtime import Mount, Session, jobs
from core.store import Product
from kconfig import annotate, config, reason, survival, symbols
from kconfig.profiles import Request
from kernel import cache, pool, rust
from kernel.cell import Cell
from toolchain import toolchains
from toolchain.toolchains import Toolchain

# What one compiler or the final link of a kernel with debug info takes at most, bytes (measured: 0.8 GB for vmlinux.o).
_MEMORY_EACH = 1 << 30
_TREE, _BUILD, _CCACHE, _POOL = "/kdf/tree", "/kdf/build", "/kdf/ccache", "/kdf/pool"


@dataclass(frozen=True)
class Ready:
    """Everything that a build of a cell needs, resolved from names.

    Attributes:
        tree: the product whose `path/linux` is the patched source.
        request: the composed configuration.
        inputs: what decides the kernel; its hash is the kernel's key.
    """

    cell: Cell
    toolchain: Toolchain
    tree: Product
    request: Request
    inputs: Mapping[str, Any]


def build_directory(inputs: Mapping[str, Any]) -> Path:
    """The incremental build directory of a kernel; modules of ours that are built beside it do not decide it."""
    return store.home() / "build" / store.key_of({k: v for k, v in inputs.items() if k != "samples"})[:24]


def make_command(ready: Ready, session: Session, tree: Path, build_dir: Path, jobs: int) -> list[str]:
    """The make command line of a cell, without a target: the same for configuration and compilation.

    Args:
        jobs: how many at once; 0 if the environment says where to get slots.
    """
    tools = session.path(ready.toolchain.product.path)
    command = [
        "make",
        *([f"-j{jobs}"] if jobs else []),
        "-C",
        session.path(tree),
        f"O={session.path(build_dir)}",
        f"ARCH={ready.cell.arch}",
        f"LLVM={tools}/bin/",
        f"CC=ccache {tools}/bin/clang",
        # A kernel of the same inputs has the same bytes, whoever builds it and when.
        "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER=kdf",
        "KBUILD_BUILD_HOST=kdf",
        "KBUILD_BUILD_VERSION=1",
    ]
    # A toolchain with a rustc has the one that knows our flags; without, the tree looks for one by itself.
    if ready.toolchain.manifest.get("rustc"):
        # The source of the library follows from it: it is below its sysroot (rust/Makefile, RUST_LIB_SRC).
        command.append(f"RUSTC={tools}/bin/rustc")
    if (ready.toolchain.product.path / "bin" / "bindgen").is_file():
        command.append(f"BINDGEN={tools}/bin/bindgen")
    if ready.cell.instrument:
        command.append(f"KCOV_DATAFLOW_ONLY={' '.join(sorted(ready.cell.instrument))}")
    return command


@dataclass(frozen=True)
class Workplace:
    """A session for one cell, with its source, its directory, its make command and its variables."""

    ready: Ready
    session: Session
    linux: Path
    build_dir: Path
    command: list[str]
    env: Mapping[str, str]
    jobs: int

    @property
    def log(self) -> Path:
        return self.build_dir / "build.log"

    @property
    def statistics(self) -> Path:
        return self.build_dir / "ccache.log"

    def module_steps(self, folder: Path) -> list[tuple[list[str], Mapping[str, str]]]:
        """The commands that compile external modules beside the kernel, each with its variables.

        Args:
            folder: with their Makefile; the session sees it.
        """
        # The first one writes the list of the kernel's symbols, which the second one reads.
        beside = [*self.command, f"M={self.session.path(folder)}", "modules"]
        return [([*self.command, "modules"], self.env), (beside, cache.beside(self.env))]

    def configure(self) -> config.Configured:
        """Make the final configuration in the build directory.

        Raises:
            InfraError: Rust is asked for, and the tree says that it is not available.
        """
        rust.require(self.session, self.command, self.ready.request, self.log, self.env)
        inputs = {"arch": self.ready.cell.arch, "toolchain": self.ready.toolchain.key}
        return config.make_config(
            self.session,
            self.linux,
            self.build_dir,
            self.command,
            self.ready.request,
            self.log,
            env=self.env,
            # An image does not change; what a host's programs let the base's target find may be another thing tomorrow.
            base_inputs={**inputs, "tree": self.ready.tree.key} if self.session.name == "docker" else None,
        )

    def lost(self, final: Path) -> tuple[list[survival.Lost], list[reason.Reason]]:
        """The requests that a final configuration does not grant, and why; nothing is looked up if none is lost.

        The CI system in which this runs is told of them, too.
        """
        told, reasons = self.explained(survival.compare(self.ready.request, final.read_text()))
        annotate.tell(map(annotate.of_lost, told))
        return told, reasons

    def explained(
        self, lost: Sequence[survival.Lost], graph: symbols.Graph | None = None
    ) -> tuple[list[survival.Lost], list[reason.Reason]]:
        """Lost requests with their reasons as notes, and the reasons.

        Args:
            graph: of the configuration; read now if it is needed and not given.
        """
        reasons = reason.explain(
            self.session, self.build_dir, self.command, self.ready.request, lost, self.log, self.env, graph=graph
        )
        return [replace(one, note=str(why)) for one, why in zip(lost, reasons, strict=True)], reasons


@contextlib.contextmanager
def open_workplace(
    ready: Ready, more: Sequence[Mount] = (), *, linux: Path | None = None, build_dir: Path | None = None
) -> Iterator[Workplace]:
    """Open the place in which a cell is configured and built; one run at a time has it.

    Args:
        more: what else its session is to see.
        linux: the source, if it is not the tree of the store: with the same content in every file.
        build_dir: if it is not the cell's own.
    """
    build_dir = build_dir or build_directory(ready.inputs)
    ccache_dir = store.home() / "ccache"
    linux = linux or ready.tree.path / "linux"
    remote, remote_dir = cache.shared(ready.toolchain.runtime.name)
    # The last part alone would not do: a directory in which many kernels are built has it in a directory of its own.
    with store.lock("-".join(build_dir.parts[-2:])), store.disk_errors(build_dir):
        for folder in (build_dir, ccache_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("build.log", "ccache.log"):
            (build_dir / name).unlink(missing_ok=True)
        mounts = [
            Mount(linux, _TREE),
            Mount(build_dir, _BUILD, writable=True),
            Mount(ccache_dir, _CCACHE, writable=True),
            *([Mount(remote_dir, cache.INSIDE, writable=True)] if remote_dir else []),
            *more,
        ]
        # A host's make may be older than 4.4, which is the first that takes slots from a pipe with a name.
        shared = pool.current() if ready.toolchain.runtime.name == "docker" else None
        if shared:
            mounts.append(Mount(shared.folder, _POOL, writable=True))
        with toolchains.open_session(ready.toolchain, mounts) as session:
            parallel = shared.slots if shared else jobs(_MEMORY_EACH)
            env = cache.environment(
                session.path(ccache_dir),
                session.path(build_dir / "ccache.log"),
                str(store.home()) if session.name == "host" else "",
                ready.toolchain.key,
                remote,
            )
            command = make_command(ready, session, linux, build_dir, 0 if shared else parallel)
            if shared:
                env["MAKEFLAGS"] = f"--jobserver-auth=fifo:{session.path(shared.pipe)}"
            yield Workplace(ready, session, linux, build_dir, command, env, parallel)
