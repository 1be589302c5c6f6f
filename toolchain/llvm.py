"""Compile LLVM with our pass in it, and install the parts that a kernel needs.

Takes a toolchain of kind `patched` and a user's choices. Gives a directory with `bin/`, `lib/`, `include/` and
`manifest.json`. The source is the pinned archive with `patches/llvm/<major>` applied and the pass copied to the paths
in its `copies.yaml`. The build directory is kept, so a later build only compiles missing and changed parts.
Never uses the network while it compiles.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import step, store
from core.arch import of_host
from core.data import load_yaml
from core.errors import UnderTest, UserError
from core.progress import Progress
from core.runtime import Image, Mount, Runtime, Session, available_memory, jobs
from patches import apply
from patches.series import PatchFile, read_directory
from sources import catalogue
from toolchain import borrowed, plugin, recipe, rust_recipe, rustc, usage, worktree
from toolchain.recipe import Choices, Recipe, Variable
from toolchain.specs import ToolchainSpec

PATCHES = Path(__file__).parent.parent / "patches" / "llvm"
RECIPE = "llvm"
PASS_FOLDER = Path(__file__).parent / "pass"
# Bytes that the largest compiler of the build and the link of a tool take (1.2 GB and 1.1 GB were seen; ThinLTO 4 GB).
_MEMORY_EACH = 5 << 28
_MEMORY_LINK = {"": 3 << 29, "thin": 4 << 30}
_STEP = re.compile(r"^\[(\d+)/(\d+)\] (.*)")
_SOURCE, _BUILD, _INSTALL, _CCACHE = "/kdf/source", "/kdf/build", "/kdf/install", "/kdf/ccache"
# The product also contains the tests of the patches, for `toolchain.verify`.
TESTS = Path("share/kcov-dataflow/tests")


@dataclass(frozen=True)
class Plan:
    """The data that decides a patched compiler.

    Attributes:
        patches: the patches for its major version of LLVM, in order.
        copies: file of the pass -> its path in LLVM's source.
        profile: the file of `choices.profile`; None if the choices have no profile.
    """

    spec: ToolchainSpec
    recipe: Recipe
    choices: Choices
    patches: tuple[PatchFile, ...]
    copies: Mapping[str, str]
    profile: Path | None = None

    def inputs(self, source: str) -> dict[str, Any]:
        """Return the part of the toolchain's key that the plan decides.

        Args:
            source: sha256 of the source archive.
        """
        return {
            "source": source,
            "patches": [patch.sha256 for patch in self.patches],
            "copies": {place: store.hash_file(PASS_FOLDER / name) for name, place in self.copies.items()},
            "variables": {k: list(v) if isinstance(v, tuple) else v for k, v in self.variables().items()},
            "targets": list(self.choices.targets),
            **({"profile": self.choices.profile} if self.choices.profile else {}),
        }

    def variables(self) -> dict[str, Variable]:
        """Return CMake's variables."""
        return recipe.variables(self.recipe, self.choices, self.spec.variables)


def read_plan(spec: ToolchainSpec, choices: Choices, own: Recipe, profile: Path | None = None) -> Plan:
    """Read what decides a patched compiler.

    Args:
        profile: the file of `choices.profile`.

    Raises:
        UserError: there are no patches for this LLVM, or copies.yaml is malformed.
    """
    folder = PATCHES / str(spec.llvm)
    file = folder / "copies.yaml"
    if not file.is_file():
        raise UserError(f"there are no patches for LLVM {spec.llvm}: {file} is missing")
    root = load_yaml(file)
    copies: dict[str, str] = {}
    for node in root.elements("copies"):
        node.only("from", "to")
        name, place = node.string("from"), node.string("to")
        if not (PASS_FOLDER / name).is_file() or "/" in name:
            raise node.get("from").error(f"the pass has no file {name}")
        if place.startswith("/") or ".." in place.split("/"):
            raise node.get("to").error(f"{place} leaves the source")
        copies[name] = place
    return Plan(spec, own, choices, read_directory(folder), copies, profile)


def current(spec: ToolchainSpec) -> dict[str, Any]:
    """Return the part of a toolchain's key that its patches and its pass decide."""
    own = recipe.load(RECIPE)
    inputs = read_plan(spec, recipe.choose(own, host_arch()), own).inputs("")
    return {"patches": inputs["patches"], "copies": inputs["copies"], **rustc_inputs(spec)}


def rustc_inputs(spec: ToolchainSpec) -> dict[str, Any]:
    """Return the part of a toolchain's key that its rustc decides; empty without a rustc."""
    if spec.rustc == borrowed.STOCK:
        return {"rustc": borrowed.inputs()}
    return {"rustc": rust_recipe.find(spec.rustc).inputs()} if spec.rustc else {}


def known_sources(spec: ToolchainSpec) -> list[str]:
    """Return the sha256 of each archive with the toolchain's source; all of them contain the same files."""
    return [origin.sha256 for origin in catalogue.find(spec.source).origins if origin.sha256]


def source_hash(spec: ToolchainSpec) -> str:
    """Return the sha256 of the source archive used here; fetch and unpack it if it is not there yet.

    Raises:
        InfraError: it cannot be fetched.
    """
    return str(catalogue.source_tree(spec.source).metadata["inputs"]["sha256"])


def build_directory(plan: Plan, packages: str, runtime: Runtime) -> Path:
    """Return the build directory of a compiler; all states of patches and pass share it, to compile little again."""
    inputs = plan.inputs("")
    key = {
        "name": plan.spec.name,
        "source": plan.spec.source,
        "variables": inputs["variables"],
        "packages": packages,
        "runtime": runtime.name,
        **({"profile": inputs["profile"]} if "profile" in inputs else {}),
    }
    return store.home() / "build" / f"{plan.spec.name}-{store.key_of(key)[:16]}"


def build(plan: Plan, runtime: Runtime, image: Image | None, packages: str, root: Path) -> dict[str, Any]:
    """Fill a directory with the compiler.

    Args:
        image: the image in which it is compiled; None on the host.
        packages: identity of the packages around the build.
        root: an empty directory.

    Returns:
        Figures of the build: `steps` of a full build, `steps_run` in this call, `runs` of Ninja that ended by
        themselves with their time (`wall_seconds`, `cpu_seconds`), the time of this call alone (`last_...`),
        `largest_process` in bytes, and `jobs`.

    Raises:
        UserError: a patch is hostile or malformed.
        UnderTest: a patch does not apply, LLVM does not compile, or the compiler does not emit the right calls.
        InfraError: the machine failed.
    """
    place = build_directory(plan, packages, runtime)
    source = catalogue.source_tree(plan.spec.source)
    pristine = source.path / "src"
    changes: dict[str, bytes | None] = dict(apply.changed_files(pristine, plan.patches, plan.spec.source))
    changes |= {to: (PASS_FOLDER / name).read_bytes() for name, to in plan.copies.items()}
    ccache = store.home() / "ccache-llvm"
    with store.lock(f"build-{place.name}"), store.disk_errors(place):
        for folder in (place / "build", ccache):
            folder.mkdir(parents=True, exist_ok=True)
        worktree.sync(pristine, plan.recipe.folders, changes, place / "source")
        mounts = [
            Mount(place / "source", _SOURCE),
            Mount(place / "build", _BUILD, writable=True),
            Mount(root, _INSTALL, writable=True),
            Mount(ccache, _CCACHE, writable=True),
        ]
        if plan.profile:
            mounts.append(Mount(plan.profile.parent, str(Path(recipe.PROFILE).parent)))
        with runtime.open_session(image=image, mounts=mounts) as session:
            facts = _compile(plan, session, place, ccache, packages, root)
        _install_tests(plan, place / "source", root)
    return facts


def _compile(plan: Plan, session: Session, place: Path, ccache: Path, packages: str, root: Path) -> dict[str, Any]:
    """Configure, compile and install; return the figures of the build."""
    log = root / "build.log"
    build_dir = place / "build"
    env = {
        "CCACHE_DIR": session.path(ccache),
        "CCACHE_MAXSIZE": "10G",
        "CCACHE_COMPILERCHECK": f"string:{packages}",
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_BASEDIR": session.path(place) if session.name == "host" else "/kdf",
        # LLVM compiles with precompiled headers, without time stamps in them (ccache manual, "Precompiled headers").
        "CCACHE_SLOPPINESS": "pch_defines,time_macros",
    }
    _configure(plan, session, place, env, log)
    parallel = jobs(_MEMORY_EACH)
    spent = build_dir / "usage.txt"
    with Progress(f"compiling {plan.spec.source}", None, "steps") as progress:

        def listen(line: str) -> None:
            if match := _STEP.match(line):
                progress.at(int(match[1]), int(match[2]), match[3].rpartition("/")[2])

        command = [*usage.command(session, spent), "ninja", f"-j{parallel}"]
        done = session.run(
            [*command, "distribution"], cwd=build_dir, env=env, log=log, on_line=listen, timeout=12 * 3600
        )
        steps = progress.done
    step.require(done, f"compiling {plan.spec.source}", log)
    done = session.run(
        ["ninja", f"-j{parallel}", "install-distribution-stripped"],
        cwd=build_dir,
        env={**env, "DESTDIR": session.path(root)},
        log=log,
    )
    step.require(done, "installing the compiler", log)
    _unwrap(root, str(plan.variables()["CMAKE_INSTALL_PREFIX"]))
    total = _total_steps(session, build_dir, env)
    return {
        "steps": total,
        "steps_run": steps,
        **usage.read(spent),
        "jobs": parallel,
    }


def _configure(plan: Plan, session: Session, place: Path, env: Mapping[str, str], log: Path) -> None:
    """Run CMake; if the directory is configured already, CMake only handles changes."""
    build_dir = place / "build"
    variables = plan.variables()
    links = max(1, min(jobs(_MEMORY_EACH), available_memory() // _MEMORY_LINK[plan.choices.lto]))
    variables["LLVM_PARALLEL_LINK_JOBS"] = str(links)
    if plan.profile:
        variables["LLVM_PROFDATA_FILE"] = session.path(plan.profile)
    errors: list[str] = []
    with Progress(f"configuring {plan.spec.source}", None, "lines") as progress:

        def listen(line: str) -> None:
            progress.step(1, line)
            # CMake prints the place in one line, and the message in the next lines.
            if errors and errors[-1].endswith(":") and line.strip():
                errors[-1] += f" {line.strip()}"
            elif line.startswith("CMake Error"):
                errors.append(f"{line.partition(' (')[0].rstrip(':')}:")

        done = session.run(
            ["cmake", "-G", "Ninja", *recipe.arguments(variables), session.path(place / "source" / "llvm")],
            cwd=build_dir,
            env=env,
            log=log,
            on_line=listen,
        )
    step.require(done, f"configuring {plan.spec.source}", log, errors)


def _total_steps(session: Session, build_dir: Path, env: Mapping[str, str]) -> int:
    """Return the number of steps of a full build: the commands that Ninja lists for the target."""
    lines: list[str] = []
    done = session.run(["ninja", "-t", "commands", "distribution"], cwd=build_dir, env=env, on_line=lines.append)
    return len(lines) if done.ok else 0


def _unwrap(root: Path, prefix: str) -> None:
    """Move the files that were installed below DESTDIR/prefix to the top."""
    inner = root / prefix.lstrip("/")
    for entry in sorted(inner.iterdir()):
        shutil.move(entry, root / entry.name)
    store.remove_tree(root / prefix.lstrip("/").split("/")[0])


def _install_tests(plan: Plan, source: Path, root: Path) -> None:
    """Copy the test files that the patches add."""
    for patch in plan.patches:
        for path in apply.added_files(patch):
            if path.startswith(("llvm/test/", "clang/test/")):
                target = root / TESTS / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / path, target)


def finish(plan: Plan, session: Session, root: Path) -> dict[str, Any]:
    """Check which calls a finished compiler emits, and write its manifest.

    Args:
        session: in the image in which the compiler will run; `root` is mounted writable.

    Raises:
        UnderTest: it does not emit the calls of our pass.
        InfraError: it does not run there.
    """
    log = root / "build.log"
    tools = session.path(root / "bin")
    version = plugin.output(session, [f"{tools}/llvm-config", "--version"], log)[0]
    if version.split(".")[0] != str(plan.spec.llvm):
        raise UnderTest(f"the compiler that was built is LLVM {version}, not LLVM {plan.spec.llvm}", log=log)
    has_rustc = bool(plan.spec.rustc)
    if has_rustc:
        rustc.check(session, root, plan.spec.llvm)
    manifest = plugin.describe(session, tools, version, root, f"{tools}/rustc" if has_rustc else None)
    if manifest["generation"] != "L0":
        raise UnderTest(f"the finished toolchain calls {manifest['callbacks']}, which is not generation L0", log=log)
    if has_rustc:
        manifest["rustc"] = "bin/rustc"
    manifest["targets"] = list(plan.choices.targets)
    store.write_json(root / plugin.MANIFEST, manifest)
    return manifest


def host_arch() -> str:
    """Return the kernel's name of this machine's architecture, which LLVM is built to run on.

    Raises:
        InfraError: no LLVM is built for it.
    """
    return of_host("no LLVM is built for").name
