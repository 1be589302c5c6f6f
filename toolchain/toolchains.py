"""Make a toolchain, or find it in the store; open sessions that see it.

What comes in is a name and a runtime; what goes out is a directory with `bin/clang` and the LLVM tools that `LLVM=` of
a kernel build takes, and its manifest. A toolchain of one runtime is never used in the other: the compilers differ.
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
        image: the image that it runs in; None on the host.
        packages: sha256 of the packages around it: the image's, or those of the host that the image would have.
    """

    name: str
    product: Product
    runtime: Runtime
    image: Image | None
    packages: str

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Versions, hashes and the callback generation, as the build found them."""
        loaded: Mapping[str, Any] = json.loads((self.product.path / "manifest.json").read_text())
        return loaded

    @property
    def generation(self) -> str | None:
        """The callback generation that a probe found, or None if it has no pass."""
        found = self.manifest.get("generation")
        return str(found) if found else None

    @property
    def key(self) -> str:
        """What decides the things that are made with it: itself, and the packages around it where they are not those
        that it was made for."""
        if self.product.metadata["inputs"].get("packages", self.packages) == self.packages:
            return self.product.key
        return store.key_of({"toolchain": self.product.key, "packages": self.packages})


def default_name(runtime: Runtime, arch: str = "") -> str:
    """The toolchain to use when none is named: the first preferred one that is in the store, else the last.

    One that would have to be compiled for an hour is not taken because an older state of it is there.

    Args:
        arch: the architecture that it must compile for; the host's if empty.
    """
    return stored_runtimes("", arch).get(runtime.name, specs.load()[1][-1])


def stored_runtimes(name: str, arch: str) -> dict[str, str]:
    """Find the runtimes for which the store has a toolchain; only the store is read.

    Args:
        name: of the toolchain; if empty, the first preferred one that the store has.
        arch: the architecture that it must compile for; the host's if empty.

    Returns:
        Runtime to the name of its toolchain.
    """
    known, preferred = specs.load()
    there = [p.metadata["inputs"] for p in store.products() if p.kind == "toolchain"]
    found: dict[str, str] = {}
    for candidate in [name] if name else preferred:
        if candidate not in known:
            continue  # whoever resolves the name refuses it
        wanted: Mapping[str, Any] = {"name": candidate}
        if known[candidate].kind == "patched":
            wanted = {**wanted, **current_inputs(known[candidate])}
        for inputs in there:
            if all(inputs.get(key) == value for key, value in wanted.items()) and (
                not arch or arch in inputs.get("targets", [arch])
            ):
                found.setdefault(str(inputs.get("runtime")), candidate)
    return found


def current_inputs(own: ToolchainSpec) -> dict[str, Any]:
    """The part of a toolchain's key that says what this checkout would put into it."""
    if own.kind == "patched":
        from toolchain import llvm

        return llvm.current(own)
    return {"pass": _pass_hash(), "llvm": own.llvm, **_chosen(own)}


def _chosen(own: ToolchainSpec) -> dict[str, str]:
    """The generation of a plugin, where it is not the usual one: those keys stay what they were."""
    return {} if own.generation == "L0" else {"generation": own.generation}


def _pass_hash() -> str:
    """sha256 over the names and bytes of the pass sources and of the recipe that compiles them."""
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
        targets: architectures that it must compile for, besides the host's.
        lto: kind of link-time optimization of a patched one.
        profile: of a patched one, what it is optimized by (`kernel.train`).
        shared: a shared store to look in before building (`sources.depot`), or empty.

    Raises:
        UserError: it has no such choice.
        UnderTest: our pass or LLVM with it does not compile.
        InfraError: no engine, no disk, no packages.
    """
    made, packages = surroundings.of_toolchain(own, runtime)
    if own.kind == "patched":
        from toolchain import llvm, recipe

        chosen = recipe.choose(
            recipe.load(llvm.RECIPE), llvm.host_arch(), targets, lto, store.hash_file(profile) if profile else ""
        )
        return _ensure_patched(own, runtime, made, packages, chosen, profile, shared=shared)
    if lto or profile:
        raise UserError(f"the toolchain {own.name} is not compiled from source: it has no --lto and no --pgo")
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
    if there := _obtain(shared, [inputs]):
        return Toolchain(own.name, there, runtime, made, packages)

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
    """A compiler from source, out of the store if one there compiles for all that is wanted."""
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
    # The LLVM is a product of its own: neither it nor rustc is built again because of the other.
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
        image: what it is compiled in; None on the host.
        packages: identity of the packages around that.
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
        rust: what is compiled; None for the distribution's own rustc.
        made: the image that both run in.
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
    """An LLVM of ours, without a rustc.

    Args:
        made: the image that it runs in; `builder`: that it is compiled in; `packages`: the identity of those in there.
    """
    from toolchain import llvm

    def work(tmp: Path) -> dict[str, Any]:
        facts = llvm.build(plan, runtime, builder, packages, tmp)
        with runtime.open_session(image=made, mounts=[Mount(tmp, INSIDE, writable=True)]) as session:
            llvm.finish(plan, session, tmp)
        return {"build": facts}

    return store.make("toolchain", inputs, work)


def _link_tree(source: Path, target: Path) -> None:
    """Give `target` the compiler of another product, as links to its files; what describes that product stays there.

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
    """A compiled toolchain of the store, made with whatever packages around it, that runs here; None without one.

    Args:
        packages: the identity of those of `made`, or of the host.
    """
    from toolchain import content

    for product in content.candidates(will_do):
        if product.metadata["inputs"].get("packages") == packages:
            return store.mark_used(product)
        try:
            check_fit(product.path, product.key, runtime, made, packages)
        except UnderTest as error:
            runtime.say(f"{error.message}; looking for another one")
            continue
        return store.mark_used(product)
    return None


def check_fit(root: Path, key: str, runtime: Runtime, made: Image | None, packages: str) -> None:
    """Let a compiled toolchain run among the packages of this machine; what was seen to fit is not asked again.

    Args:
        root: the toolchain; `key`: of it.
        packages: the identity of those around it here.

    Raises:
        UnderTest: it does not run, or does not call what its manifest says.
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
    """The first of some toolchains that a shared store has, taken from there; None without one."""
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
    """A session in the toolchain's image, or on the host, that sees the toolchain read-only."""
    with toolchain.runtime.open_session(
        image=toolchain.image,
        mounts=[Mount(toolchain.product.path, INSIDE), *mounts],
        devices=devices,
    ) as session:
        yield session
