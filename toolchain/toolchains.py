"""Make a toolchain, or find it in the store, and open sessions with it.

Takes a name and a runtime. Gives a directory with `bin/clang`, the LLVM tools that a kernel build finds with `LLVM=`,
and a manifest. Never uses a toolchain of one runtime in the other, because the compilers differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import process, store
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Image, Mount, Runtime, Session
from core.store import Product
from toolchain import specs, surroundings
from toolchain.specs import ToolchainSpec

if TYPE_CHECKING:
    from toolchain import llvm, recipe
    from toolchain.rust_recipe import Compiler

PASS_FOLDER = Path(__file__).parent / "pass"
INSIDE = "/kdf/toolchain"


@dataclass(frozen=True)
class Toolchain:
    """A toolchain that is ready.

    Attributes:
        runtime: where it runs.
        image: the image in which it runs; None on the host.
        packages: sha256 of the packages around it: the image's, or the host packages that replace the image.
    """

    name: str
    product: Product
    runtime: Runtime
    image: Image | None
    packages: str

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Return versions, hashes and the callback generation, as the build found them."""
        loaded: Mapping[str, Any] = json.loads((self.product.path / "manifest.json").read_text())
        return loaded

    @property
    def generation(self) -> str | None:
        """Return the callback generation that the probe name; None if it does not have the pass."""
        name = self.manifest.get("generation")
        return str(name) if name else None

    @property
    def key(self) -> str:
        """Return the key for products that are made with it; it includes the packages if they are not its own."""
        if self.product.metadata["inputs"].get("packages", self.packages) == self.packages:
            return self.product.key
        return store.key_of({"toolchain": self.product.key, "packages": self.packages})


def default_name(runtime: Runtime, arch: str = "") -> str:
    """Return the default toolchain: the first preferred one that the store has, else the last preferred one.

    If the store only has an older state of a toolchain, it does not count, because it would be compiled again.

    Args:
        arch: the architecture for which it must compile; the host's if empty.
    """
    return stored_runtimes("", arch).get(runtime.name, specs.load()[1][-1])


def stored_runtimes(name: str, arch: str) -> dict[str, str]:
    """Find the runtimes for which the store has a toolchain; never make one.

    Args:
        name: of the toolchain; if empty, the first preferred one that the store has.
        arch: the architecture for which it must compile; the host's if empty.

    Returns:
        Runtime -> name of its toolchain.
    """
    known, preferred = specs.load()
    stored = [p.metadata["inputs"] for p in store.products() if p.kind == "toolchain"]
    runtimes: dict[str, str] = {}
    for candidate in [name] if name else preferred:
        if candidate not in known:
            continue  # the name is refused where it is resolved
        required: Mapping[str, Any] = {"name": candidate}
        if known[candidate].kind == "patched":
            required = {**required, **current_inputs(known[candidate])}
        for inputs in stored:
            if all(inputs.get(key) == value for key, value in required.items()) and (
                not arch or arch in inputs.get("targets", [arch])
            ):
                runtimes.setdefault(str(inputs.get("runtime")), candidate)
    return runtimes


def current_inputs(own: ToolchainSpec) -> dict[str, Any]:
    """Return the part of a toolchain's key that this checkout decides."""
    if own.kind == "patched":
        from toolchain import llvm

        return llvm.current(own)
    return {"pass": _pass_hash(), "llvm": own.llvm, **_chosen(own)}


def _chosen(own: ToolchainSpec) -> dict[str, str]:
    """Return a plugin's generation for its key; empty for L0, so that older keys stay valid."""
    return {} if own.generation == "L0" else {"generation": own.generation}


def _pass_hash() -> str:
    """Return a sha256 of the names and bytes of the pass's sources and of `plugin.py`, which compiles them."""
    digest = hashlib.sha256()
    files = [p for p in PASS_FOLDER.rglob("*") if p.is_file()] + [PASS_FOLDER.parent / "plugin.py"]
    for path in sorted(files):
        digest.update(f"{path.name}\0{store.hash_file(path)}\n".encode())
    return digest.hexdigest()


def ensure(
    own: ToolchainSpec,
    runtime: Runtime,
    *,
    targets: Sequence[str] = (),
    lto: str = "",
    profile: Path | None = None,
    shared: str = "",
) -> Toolchain:
    """Find a toolchain in the store, or make it now.

    Args:
        targets: architectures for which it must compile, in addition to the host's.
        lto: kind of link-time optimization of a patched one; empty for none.
        profile: file with the profile for a patched one's optimization (`kernel.train`).
        shared: a shared store to look in before building (`sources.depot`), or empty.

    Raises:
        UserError: the toolchain does not have one of these choices.
        UnderTest: our pass, or LLVM with our pass, does not compile.
        InfraError: obtained is no engine, no disk space, or a package is missing.
    """
    made, packages = surroundings.of_toolchain(own, runtime)
    if own.kind == "patched":
        from toolchain import llvm, recipe

        chosen = recipe.choose(
            recipe.load(llvm.RECIPE), llvm.host_arch(), targets, lto, store.hash_file(profile) if profile else ""
        )
        return _ensure_patched(own, runtime, made, packages, chosen, profile, shared=shared)
    if lto or profile:
        raise UserError(f"the toolchain {own.name} is not compiled from source, so --lto and --pgo cannot be used")
    inputs = {
        "name": own.name,
        "kind": own.kind,
        "llvm": own.llvm,
        "pass": _pass_hash(),
        "packages": packages,
        "runtime": runtime.name,
        "machine": platform.machine(),
        **_chosen(own),
    }
    if obtained := _obtain(shared, [inputs]):
        return Toolchain(own.name, obtained, runtime, made, packages)

    def work(tmp: Path) -> dict[str, Any]:
        from toolchain import plugin

        mounts = [Mount(PASS_FOLDER, "/kdf/pass"), Mount(tmp, INSIDE, writable=True)]
        with runtime.open_session(image=made, mounts=mounts) as session:
            plugin.build(session, own.llvm, PASS_FOLDER, tmp, with_pass=own.kind == "plugin", generation=own.generation)
        return {}

    return Toolchain(own.name, store.make("toolchain", inputs, work), runtime, made, packages)


def _ensure_patched(
    own: ToolchainSpec,
    runtime: Runtime,
    made: Image | None,
    packages: str,
    wanted: recipe.Choices,
    profile: Path | None,
    *,
    shared: str,
) -> Toolchain:
    """Find a compiler from source in the store that has all wanted targets, or make it."""
    from toolchain import borrowed, llvm, recipe, rust_recipe

    own_recipe = recipe.load(llvm.RECIPE)
    plans = [llvm.read_plan(own, choices, own_recipe, profile) for choices in recipe.at_least(own_recipe, wanted)]
    build_packages = ""
    rust = llvm.rustc_inputs(own)
    compiled = own.rustc not in ("", borrowed.STOCK)
    if compiled:
        rust["rustc_packages"] = ""

    def inputs(plan: llvm.Plan, source: str) -> dict[str, Any]:
        return {
            "name": own.name,
            "kind": own.kind,
            "llvm": own.llvm,
            "packages": packages,
            "build_packages": build_packages,
            "runtime": runtime.name,
            "machine": platform.machine(),
            **plan.inputs(source),
            **rust,
        }

    will_do = [inputs(plan, source) for plan in plans for source in llvm.known_sources(own)]
    found = _fitting(will_do, runtime, made, packages)
    if not found and _obtain(shared, will_do):
        found = _fitting(will_do, runtime, made, packages)
    if found:
        return Toolchain(own.name, found, runtime, made, packages)
    builder, build_packages = surroundings.of_image(own_recipe.image, runtime)
    compiler: _Rust | None = None
    if compiled:
        own_rust = rust_recipe.find(own.rustc)
        compiler = _Rust(own_rust, *surroundings.of_image(own_rust.image, runtime))
        rust["rustc_packages"] = compiler.packages
    plan = plans[0]
    source = llvm.source_hash(own)
    if not own.rustc:
        product = _make_patched(inputs(plan, source), plan, runtime, made, builder, build_packages)
        return Toolchain(own.name, product, runtime, made, packages)
    # The LLVM is a separate product. A change of rustc does not build it again.
    bare = replace(plan, spec=replace(own, rustc=""))
    without = {key: value for key, value in inputs(plan, source).items() if key not in ("rustc", "rustc_packages")}
    below = _fitting([without], runtime, made, packages) or _make_patched(
        without, bare, runtime, made, builder, build_packages
    )
    whole = store.make(
        "toolchain", inputs(plan, source), lambda tmp: _add_rustc(plan, below, compiler, runtime, made, tmp)
    )
    return Toolchain(own.name, whole, runtime, made, packages)


@dataclass(frozen=True)
class _Rust:
    """A rustc that is compiled.

    Attributes:
        image: the image in which it is compiled; None on the host.
        packages: identity of the packages around that build.
    """

    compiler: Compiler
    image: Image | None
    packages: str


def _add_rustc(
    plan: llvm.Plan, below: Product, rust: _Rust | None, runtime: Runtime, made: Image | None, tmp: Path
) -> dict[str, Any]:
    """Fill a directory with an LLVM of the store and a rustc.

    Args:
        below: the LLVM.
        rust: the rustc to compile; None for the distribution's own rustc.
        made: the image in which both run.
    """
    from toolchain import borrowed, llvm, rustc

    _link_tree(below.path, tmp)
    if rust:
        facts = rustc.build(
            rust.compiler, plan.spec.llvm, below.path, below.key, runtime, rust.image, rust.packages, tmp
        )
    with runtime.open_session(image=made, mounts=[Mount(tmp, INSIDE, writable=True)]) as session:
        if not rust:
            facts = borrowed.install(session, tmp)
        llvm.finish(plan, session, tmp)
    return {"build": below.metadata["build"], "rustc": facts}


def _make_patched(
    inputs: Mapping[str, Any],
    plan: llvm.Plan,
    runtime: Runtime,
    made: Image | None,
    builder: Image | None,
    packages: str,
) -> Product:
    """Make an LLVM with our pass, without a rustc.

    Args:
        made: the image in which it runs; None on the host.
        builder: the image in which it is compiled; None on the host.
        packages: identity of the packages around the build.
    """
    from toolchain import llvm

    def work(tmp: Path) -> dict[str, Any]:
        facts = llvm.build(plan, runtime, builder, packages, tmp)
        with runtime.open_session(image=made, mounts=[Mount(tmp, INSIDE, writable=True)]) as session:
            llvm.finish(plan, session, tmp)
        return {"build": facts}

    return store.make("toolchain", inputs, work)


def _link_tree(source: Path, target: Path) -> None:
    """Link all directories of another product into `target`, without its files at the top.

    Raises:
        InfraError: it cannot be copied.
    """
    for entry in sorted(source.iterdir()):
        if not entry.is_dir():
            continue
        done = process.run(["cp", "-al", "--", str(entry), str(target)])
        if not done.ok:
            raise InfraError(f"copying {source} failed: {(done.tail or ('',))[-1]}", "look at the disk")


def _fitting(
    will_do: Sequence[Mapping[str, Any]], runtime: Runtime, made: Image | None, packages: str
) -> Product | None:
    """Find a compiled toolchain in the store that works with the packages here; None if there is none.

    Args:
        packages: identity of the packages of `made`, or of the host.
    """
    from toolchain import content

    for product in content.candidates(will_do):
        if product.metadata["inputs"].get("packages") == packages:
            return store.mark_used(product)
        try:
            check_fit(product.path, product.key, runtime, made, packages)
        except UnderTest as error:
            runtime.say(f"{error.message}; trying the next one")
            continue
        return store.mark_used(product)
    return None


def check_fit(root: Path, key: str, runtime: Runtime, made: Image | None, packages: str) -> None:
    """Raise if a compiled toolchain does not work with the packages of this machine; a success is stored.

    Args:
        root: the toolchain.
        key: its key.
        packages: identity of the packages around it here.

    Raises:
        UnderTest: it does not run, or does not emit the calls of its manifest.
    """
    from toolchain import content

    def work(tmp: Path) -> dict[str, Any]:
        scratch = tmp / "scratch"
        scratch.mkdir()
        mounts = [Mount(root, INSIDE), Mount(scratch, "/kdf/scratch", writable=True)]
        with runtime.open_session(image=made, mounts=mounts) as session:
            why = content.why_not(session, root, scratch)
        store.remove_tree(scratch)
        if why:
            raise UnderTest(f"the toolchain {key[:12]} was compiled with other packages and does not fit here: {why}")
        return {}

    store.make("fit", {"toolchain": key, "packages": packages, "runtime": runtime.name}, work)


def _obtain(shared: str, will_do: Sequence[Mapping[str, Any]]) -> Product | None:
    """Import the first of some toolchains that a shared store has; None if it has none of them."""
    if not shared or any(store.find("toolchain", inputs) for inputs in will_do):
        return None
    from sources import depot
    from toolchain import content, unpacking

    by_name = {content.key(inputs): inputs for inputs in will_do}
    with depot.found(shared, list(by_name)) as there:
        return unpacking.take(there[1], by_name[there[0]]) if there else None


@contextlib.contextmanager
def open_session(
    toolchain: Toolchain, mounts: Sequence[Mount] = (), *, devices: Sequence[str] = ()
) -> Iterator[Session]:
    """Open a session in the toolchain's image, or on the host, with the toolchain mounted read-only."""
    with toolchain.runtime.open_session(
        image=toolchain.image,
        mounts=[Mount(toolchain.product.path, INSIDE), *mounts],
        devices=devices,
    ) as session:
        yield session
