"""Build the kernel of a cell: configure, check that the configuration survived, make, keep what came out.

What comes in is a cell and a runtime; what goes out is a product with `image`, `vmlinux`, `System.map`, `config`,
`build.log` and metadata. The build directory stays, so that the next build of the same cell only compiles what changed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core import process, runtime, sources, store
from core.errors import UnderTest
from core.progress import Progress
from core.runtime import Mount, Session
from core.store import Product
from kconfig import annotate, config, profile, reason, survival, symbols
from kconfig.profile import Request
from kernel import cache, instrument, pool, rust, samples
from kernel import guard as callbacks
from kernel.cell import Cell
from patches import apply
from patches import series as patch_series
from toolchain import build as toolchains
from toolchain.build import Toolchain

IMAGES = {"x86_64": "arch/x86/boot/bzImage", "arm64": "arch/arm64/boot/Image"}
# What one compiler or the final link of a kernel with debug info takes at most, bytes (measured: 0.8 GB for vmlinux.o).
_MEMORY_EACH = 1 << 30
_COMPILED = re.compile(r"^\s+(?:CC|AS|RUSTC|LD|AR|HOSTCC)\b.*\s(\S+)$")
_FRAME = re.compile(r"stack frame size \((\d+)\) exceeds limit")
FRAME_LIMITS = (1024, 2048, 4096)  # bytes: what kernels ask of CONFIG_FRAME_WARN
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


def prepare(
    cell: Cell, where: str, *, install: bool = True, guard: bool = True, toolchain: Toolchain | None = None
) -> Ready:
    """Resolve the names of a cell, making toolchain and tree if need be.

    Args:
        where: `docker` or `host`.
        install: whether missing host packages may be installed.
        guard: refuse a toolchain whose callbacks are not those of the tree.
        toolchain: the one to take, if it is not that of the cell's name.

    Raises:
        UserError: an unknown name, or compiler and series speak different generations.
        UnderTest: a patch does not apply.
    """
    instrument.check_words(cell.instrument)
    wanted = patch_series.load(cell.series)
    tree = apply.tree(sources.source_tree(cell.linux), wanted)
    # Read before the toolchain is made: a tree that nothing fits is known without compiling a compiler.
    takes = callbacks.read(tree.path / "linux") if guard else None
    toolchain = toolchain or toolchains.ensure(cell.toolchain, where, install=install, targets=(cell.arch,))
    if guard:
        callbacks.check(cell.toolchain, toolchain.manifest, takes, cell.series, wanted.generation)
    version = apply.stated_version(tree.path / "linux")
    request = profile.compose(
        cell.profile, cell.base, cell.arch, version, extra_fragments=cell.fragments, sets=cell.sets
    )
    inputs: dict[str, Any] = {
        "arch": cell.arch,
        "instrument": sorted(cell.instrument),
        "request": request.identity(),
        "toolchain": toolchain.key,
        "tree": tree.key,
    }
    if wanted.imported:
        # Its user may say the layout later: then it is another kernel, since a kernel keeps the layout of its records.
        inputs["layout"] = wanted.layout
    if samples.wanted(request):
        inputs["samples"] = samples.identity()
    return Ready(cell, toolchain, tree, request, inputs)


def build(cell: Cell, where: str, *, install: bool = True, guard: bool = True) -> Product:
    """The kernel of a cell; made now if the store does not have it.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply, a symbol was lost, or the kernel does not compile.
        InfraError: the machine failed.
    """
    ready = prepare(cell, where, install=install, guard=guard)
    return store.make("kernel", ready.inputs, lambda tmp: _make(ready, tmp))


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
class ConfigCheck:
    """What became of a request.

    Attributes:
        asked: how many symbols were asked for, those that must hold besides included.
        lost: those that did not survive, each with its reason in words.
        reasons: the same reasons as data.
        warnings: what Kconfig itself said about the requests.
        config: the final configuration.
    """

    asked: int
    lost: Sequence[survival.Lost]
    reasons: Sequence[reason.Reason]
    warnings: Sequence[str]
    config: Path
    log: Path

    def require(self) -> None:
        """Raises UnderTest if a symbol was lost."""
        survival.require_none(self.lost, self.log)


def check_config(cell: Cell, where: str, *, install: bool = True, guard: bool = True) -> ConfigCheck:
    """Configure a cell without building it, and compare what was asked with what came out.

    Raises:
        UserError: the request is wrong.
        UnderTest: a patch does not apply, or the configuration cannot be made at all.
        InfraError: the machine failed.
    """
    ready = prepare(cell, where, install=install, guard=guard)
    with workplace(ready) as place:
        made = place.configure()
        lost, reasons = place.lost(made.config)
    return ConfigCheck(
        len(ready.request.asked) + len(ready.request.must), lost, reasons, made.warnings, made.config, place.log
    )


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
def workplace(
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
    remote, remote_dir = cache.shared(ready.toolchain.runtime)
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
        shared = pool.current() if ready.toolchain.runtime == "docker" else None
        if shared:
            mounts.append(Mount(shared.folder, _POOL, writable=True))
        with toolchains.open_session(ready.toolchain, mounts) as session:
            jobs = shared.slots if shared else runtime.jobs(_MEMORY_EACH)
            env = cache.environment(
                session.path(ccache_dir),
                session.path(build_dir / "ccache.log"),
                str(store.home()) if session.name == "host" else "",
                ready.toolchain.key,
                remote,
            )
            command = make_command(ready, session, linux, build_dir, 0 if shared else jobs)
            if shared:
                env["MAKEFLAGS"] = f"--jobserver-auth=fifo:{session.path(shared.pipe)}"
            yield Workplace(ready, session, linux, build_dir, command, env, jobs)


def _make(ready: Ready, out: Path) -> dict[str, Any]:
    with workplace(ready) as place:
        return make(place, out)


def make(place: Workplace, out: Path) -> dict[str, Any]:
    """Configure and compile into the build directory, then copy what is to be kept; returns the product's metadata.

    Raises:
        UnderTest: a symbol was lost, or the kernel does not compile.
        InfraError: the machine failed.
    """
    ready = place.ready
    survival.require_none(place.lost(place.configure().config)[0], place.log)
    compiled = compile_all(place)
    instrument.require(place.build_dir, ready.cell.instrument, place.log)
    if samples.wanted(ready.request):
        (out / samples.MODULES).mkdir()
        for module in samples.build(place):
            shutil.copyfile(module, out / samples.MODULES / module.name)
    return keep(place, compiled, out)


def keep(place: Workplace, compiled: Compiled, out: Path) -> dict[str, Any]:
    """Copy what a build made into the directory of a product; returns its metadata."""
    ready, build_dir = place.ready, place.build_dir
    final = survival.values((build_dir / ".config").read_text())
    kept = _collect(ready.cell.arch, build_dir, out)
    return {
        "cell": asdict(ready.cell),
        "release": (build_dir / "include/config/kernel.release").read_text().strip(),
        "tree": str(ready.tree.key),
        "toolchain_manifest": dict(ready.toolchain.manifest),
        "layout": patch_series.load(ready.cell.series).layout,
        "files": kept,
        "make_seconds": round(compiled.seconds, 1),
        "cpu_seconds": round(compiled.cpu_seconds, 1),
        "warnings": len(compiled.warnings),
        "frames": frames(compiled.warnings, int(final.get("FRAME_WARN", "0"))),
        "objects": compiled.objects,
        "jobs": place.jobs,
        "ccache": asdict(cache.read(place.statistics)),
        "command": place.command,
    }


@dataclass(frozen=True)
class Compiled:
    """What make did.

    Attributes:
        seconds: wall time.
        warnings: the distinct ones of what it compiled.
        objects: how many it made.
        cpu_seconds: user and system time of make and all that it started.
    """

    seconds: float
    warnings: frozenset[str]
    objects: int
    cpu_seconds: float = 0.0


def frames(warnings: Iterable[str], limit: int) -> dict[str, int]:
    """Bytes -> number of functions with a larger frame, for each of FRAME_LIMITS that clang was asked to warn of.

    Args:
        limit: CONFIG_FRAME_WARN, bytes; 0 asks for no warnings, so nothing is known.

    Format: clang's -Wframe-larger-than.
    """
    sizes = [int(match[1]) for one in warnings if (match := _FRAME.search(one))]
    return {str(n): sum(size > n for size in sizes) for n in FRAME_LIMITS if 0 < limit <= n}


def compile_all(place: Workplace) -> Compiled:
    """Run make.

    Raises:
        UnderTest: the kernel does not compile.
        InfraError: make was killed, or the disk is full.
    """
    cell, log = place.ready.cell, place.log
    image = Path(IMAGES[cell.arch]).name
    warnings: set[str] = set()
    errors: list[str] = []
    with Progress(f"kernel {cell.profile}", _expected_objects(cell), "objects") as progress:

        def listen(line: str) -> None:
            if found := _COMPILED.match(line):
                progress.step(1, found[1])
            elif ": warning: " in line:
                warnings.add(line)
            elif (
                ": error: " in line
                or line.startswith(("ld.lld: error", "ERROR: modpost"))
                or "undefined symbol" in line
            ):
                errors.append(line)

        with pool.slot():
            before = place.session.cpu_seconds()
            done = place.session.run(
                [*place.command, image, "vmlinux"], env=place.env, log=log, on_line=listen, timeout=6 * 3600
            )
        objects = progress.done
    process.require(done, "compiling the kernel", log, errors)
    return Compiled(done.seconds, frozenset(warnings), objects, place.session.cpu_seconds() - before)


def _expected_objects(cell: Cell) -> int | None:
    """How many objects a build like this had the last time."""
    counts = [
        int(p.metadata["objects"])
        for p in store.products()
        if p.kind == "kernel"
        and p.metadata.get("cell", {}).get("base") == cell.base
        and p.metadata["cell"]["arch"] == cell.arch
    ]
    return max(counts, default=0) or None


def _collect(arch: str, build_dir: Path, out: Path) -> dict[str, Mapping[str, Any]]:
    """Copy the products of a build; returns name -> {size in bytes, sha256}."""
    wanted = {
        "image": build_dir / IMAGES[arch],
        "vmlinux": build_dir / "vmlinux",
        "System.map": build_dir / "System.map",
        "config": build_dir / ".config",
        "build.log": build_dir / "build.log",
    }
    kept: dict[str, Mapping[str, Any]] = {}
    for name, source in wanted.items():
        if not source.is_file():
            raise UnderTest(f"the build ended well but made no {source.name}", "read the log", build_dir / "build.log")
        shutil.copyfile(source, out / name)
    modules = [f"{samples.MODULES}/{path.name}" for path in sorted((out / samples.MODULES).glob("*.ko"))]
    for name in (*wanted, *modules):
        kept[name] = {"size": (out / name).stat().st_size, "sha256": store.hash_file(out / name)}
    (out / "files.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    return kept
