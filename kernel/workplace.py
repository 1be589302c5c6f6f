"""Open the workplace in which a cell is configured and built.

Takes a cell with its tree and its toolchain. Gives a session with the source, a build directory and make's command
line. Never removes the build directory, so the next build of the same cell only compiles what changed.
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

# Most bytes that one compiler, or the final link of a kernel with debug info, takes (0.8 GB were seen for vmlinux.o).
_MEMORY_EACH = 1 << 30
_TREE, _BUILD, _CCACHE, _POOL = "/kdf/tree", "/kdf/build", "/kdf/ccache", "/kdf/pool"


@dataclass(frozen=True)
class Ready:
    """All inputs of a build of a cell.

    Attributes:
        tree: the product whose `path/linux` is the patched source.
        request: the composed configuration.
        inputs: values that decide the kernel; their hash is the kernel's key.
    """

    cell: Cell
    toolchain: Toolchain
    tree: Product
    request: Request
    inputs: Mapping[str, Any]


def build_directory(inputs: Mapping[str, Any]) -> Path:
    """Return the incremental build directory of a kernel; the sample modules do not change it."""
    return store.home() / "build" / store.key_of({k: v for k, v in inputs.items() if k != "samples"})[:24]


def make_command(ready: Ready, session: Session, tree: Path, build_dir: Path, jobs: int) -> list[str]:
    """Return the make command line of a cell, without a target, for configuration and compilation.

    Args:
        jobs: number of parallel jobs; 0 if make takes slots from a job pool.
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
        # Kernels of the same inputs have the same bytes, independent of user, machine and time.
        "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER=kdf",
        "KBUILD_BUILD_HOST=kdf",
        "KBUILD_BUILD_VERSION=1",
    ]
    # A toolchain's rustc knows our flags. If the toolchain does not have one, the tree finds one itself.
    if ready.toolchain.manifest.get("rustc"):
        # The tree finds the library's source below rustc's sysroot (rust/Makefile, RUST_LIB_SRC).
        command.append(f"RUSTC={tools}/bin/rustc")
    if (ready.toolchain.product.path / "bin" / "bindgen").is_file():
        command.append(f"BINDGEN={tools}/bin/bindgen")
    if ready.cell.instrument:
        command.append(f"KCOV_DATAFLOW_ONLY={' '.join(sorted(ready.cell.instrument))}")
    return command


@dataclass(frozen=True)
class Workplace:
    """A session for one cell, with its source, its build directory, its make command and its variables."""

    ready: Ready
    session: Session
    linux: Path
    build_dir: Path
    command: list[str]
    env: Mapping[str, str]
    jobs: int

    @property
    def log(self) -> Path:
        """Return the build log."""
        return self.build_dir / "build.log"

    @property
    def statistics(self) -> Path:
        """Return ccache's statistics log."""
        return self.build_dir / "ccache.log"

    def module_steps(self, folder: Path) -> list[tuple[list[str], Mapping[str, str]]]:
        """Return the commands that compile external modules for the kernel, each with its variables.

        Args:
            folder: contains their Makefile and is mounted in the session.
        """
        # The first command writes the list of the kernel's symbols. The second reads it.
        external = [*self.command, f"M={self.session.path(folder)}", "modules"]
        return [([*self.command, "modules"], self.env), (external, cache.beside(self.env))]

    def configure(self) -> config.Configured:
        """Make the final configuration in the build directory.

        Raises:
            InfraError: Rust is requested, and the tree does not accept it.
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
            # An image does not change. On a host, a later change of its programs may change the base's configuration.
            base_inputs={**inputs, "tree": self.ready.tree.key} if self.session.name == "docker" else None,
        )

    def lost(self, final: Path) -> tuple[list[survival.Lost], list[reason.Reason]]:
        """Return the lost symbols of a final configuration, and the reasons; also report them to the CI system.

        Reasons are only looked up if a symbol is lost.
        """
        explained, reasons = self.explained(survival.compare(self.ready.request, final.read_text()))
        annotate.tell(map(annotate.of_lost, explained))
        return explained, reasons

    def explained(
        self, lost: Sequence[survival.Lost], graph: symbols.Graph | None = None
    ) -> tuple[list[survival.Lost], list[reason.Reason]]:
        """Return lost symbols with their reasons as notes, and the reasons.

        Args:
            graph: of the configuration; it is read if it is needed and not given.
        """
        reasons = reason.explain(
            self.session, self.build_dir, self.command, self.ready.request, lost, self.log, self.env, graph=graph
        )
        return [replace(symbol, note=str(why)) for symbol, why in zip(lost, reasons, strict=True)], reasons


@contextlib.contextmanager
def open_workplace(
    ready: Ready, more: Sequence[Mount] = (), *, linux: Path | None = None, build_dir: Path | None = None
) -> Iterator[Workplace]:
    """Open the workplace of a cell; one run at a time has it.

    Args:
        more: further mounts of its session.
        linux: a copy of the source to use in place of the store's tree; every file must have the same content.
        build_dir: used in place of the cell's own.
    """
    build_dir = build_dir or build_directory(ready.inputs)
    ccache_dir = store.home() / "ccache"
    linux = linux or ready.tree.path / "linux"
    remote, remote_dir = cache.shared(ready.toolchain.runtime.name)
    # The lock's name has two parts of the path: build directories that others chose may all be called `out`.
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
        # A host's make may be older than 4.4, the first version that takes slots from a named pipe.
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
