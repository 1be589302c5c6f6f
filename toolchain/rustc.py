"""Compile rustc with one of our LLVMs, and install the parts that a kernel needs.

Takes a compiler of rustc.yaml and a finished LLVM. Gives `bin/rustc`, its libraries and the source of the standard
library, to be added to that LLVM. The source is a pinned archive with our patches. Source and build directory are kept,
so cargo continues where it was stopped. Never uses the network while it compiles.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import process, step, store
from core.arch import of_host
from core.errors import InfraError, UnderTest
from core.progress import Progress
from core.runtime import Image, Mount, Runtime, Session, jobs
from patches import apply
from patches.series import PatchFile, read_directory
from sources import catalogue
from toolchain import rust_recipe, usage, worktree
from toolchain.rust_recipe import BINDGEN, Compiler, Setting, toml

# Bytes that the largest rustc of the build takes (2.3 GB were seen for rustc_middle).
_MEMORY_EACH = 5 << 29
_SOURCE, _BUILD, _STAGE0, _LLVM = "/kdf/source", "/kdf/build", "/kdf/stage0", "/kdf/toolchain"
_COMPILING = re.compile(r"^\s+Compiling (\S+ \S+)")
_CHECKSUM = ".cargo-checksum.json"


def build_directory(compiler: Compiler, llvm: int, packages: str, runtime: Runtime) -> Path:
    """Return the build directory of a rustc; all states of our patches share it, to compile little again."""
    key = {**compiler.inputs(), "patches": [], "llvm": llvm, "packages": packages, "runtime": runtime.name}
    del key["bindgen"]
    return store.home() / "build" / f"{compiler.name}-llvm-{llvm}-{store.key_of(key)[:16]}"


def build(
    compiler: Compiler,
    major: int,
    llvm: Path,
    llvm_key: str,
    runtime: Runtime,
    image: Image | None,
    packages: str,
    root: Path,
) -> dict[str, Any]:
    """Build a rustc and install it into a directory.

    Args:
        major: of LLVM.
        llvm: a toolchain with `bin/llvm-config` and `lib/libLLVM.so`.
        llvm_key: identity of that LLVM; when it changes, rustc's wrapper of LLVM is compiled again.
        image: the image in which it is compiled; None on the host.
        packages: identity of the packages around the build.
        root: directory that gets `bin` and `lib`; it may already contain an LLVM.

    Returns:
        Figures of the build: those of `toolchain.usage.read`, `crates` compiled in this call, and `jobs`.

    Raises:
        UserError: a patch is hostile or malformed.
        UnderTest: a patch does not apply, or rustc does not compile.
        InfraError: the machine failed.
    """
    place = build_directory(compiler, major, packages, runtime)
    pristine = catalogue.source_tree(compiler.source).path / "src"
    with store.lock(f"build-{place.name}"), store.disk_errors(place):
        (place / "build").mkdir(parents=True, exist_ok=True)
        worktree.sync(pristine, compiler.entries, _changes(compiler, pristine), place / "source")
        _lay_stage0(compiler, place / "stage0")
        mounts = [
            # Writable, because cargo writes new Cargo.lock files into the source.
            Mount(place / "source", _SOURCE, writable=True),
            Mount(place / "build", _BUILD, writable=True),
            Mount(place / "stage0", _STAGE0),
            Mount(llvm, _LLVM),
        ]
        with runtime.open_session(image=image, mounts=mounts) as session:
            facts = _compile(compiler, major, session, place, llvm, llvm_key, root)
        _install(place, root)
    return facts


def _changes(compiler: Compiler, pristine: Path) -> dict[str, bytes | None]:
    """Return path -> content of each file that differs from the source; None for a removed file."""
    changes: dict[str, bytes | None] = dict(
        apply.changed_files(pristine, [*_packaging(compiler), *read_directory(rust_recipe.PATCHES)], compiler.source)
    )
    if compiler.packaging:
        # Cargo checks each file on the list of a vendored crate. Patched and missing files must not be on it.
        for file in sorted(pristine.glob(f"vendor/*/{_CHECKSUM}")):
            sums = {**json.loads(file.read_text()), "files": {}}
            changes[str(file.relative_to(pristine))] = json.dumps(sums, separators=(",", ":"), sort_keys=True).encode()
    for workspace in compiler.locks:
        if (pristine / workspace / "Cargo.lock").is_file():
            changes[str(Path(workspace) / "Cargo.lock")] = None
    return changes


def _packaging(compiler: Compiler) -> list[PatchFile]:
    """Return the distribution's patches of the compiler's groups, in their order.

    Raises:
        InfraError: the distribution's list names a patch that is missing.
    """
    packaging = compiler.packaging
    if packaging is None:
        return []
    folder = catalogue.source_tree(packaging.source).path / "src" / "patches"
    listed = [line.strip() for line in (folder / "series").read_text().splitlines() if line.strip()]
    names = [name for name in listed if name.partition("/")[0] in packaging.groups]
    for name in names:
        if not (folder / name).is_file():
            raise InfraError(f"{packaging.source} lists {name}, but does not contain it", "fetch it again")
    return [PatchFile(name, folder / name, store.hash_file(folder / name)) for name in names]


def _lay_stage0(compiler: Compiler, folder: Path) -> None:
    """Link the files of all packages of stage 0 into one directory."""
    if folder.is_dir():
        return
    new = folder.with_name(".stage0.new")
    store.remove_tree(new)
    new.mkdir()
    for name in compiler.stage0:
        done = process.run(["cp", "-al", "--", f"{catalogue.source_tree(name).path}/src/.", str(new)])
        if not done.ok:
            raise InfraError(f"copying {name} failed: {(done.tail or ('',))[-1]}", "look at the disk")
    new.rename(folder)


def _compile(
    compiler: Compiler, major: int, session: Session, place: Path, llvm: Path, llvm_key: str, root: Path
) -> dict[str, Any]:
    log = root / "build-rustc.log"
    build_dir, source, stage0 = place / "build", session.path(place / "source"), session.path(place / "stage0")
    triple = of_host("no rustc is built for").rust_triple
    _write(build_dir / "llvm-config", _llvm_config(session.path(llvm), major, llvm_key), 0o755)
    own = session.path(build_dir)
    places: dict[str, dict[str, Setting]] = {
        "build": {
            "build": triple,
            "host": (triple,),
            "target": (triple,),
            "build-dir": f"{own}/out",
            "cargo": f"{stage0}/bin/cargo",
            "rustc": f"{stage0}/bin/rustc",
        },
        f"target.{triple}": {
            "cc": "clang-19",
            "cxx": "clang++-19",
            "ar": "llvm-ar-19",
            "ranlib": "llvm-ranlib-19",
            "linker": "clang-19",
            "llvm-config": f"{own}/llvm-config",
        },
    }
    settings = {
        part: {**compiler.settings.get(part, {}), **places.get(part, {})} for part in [*compiler.settings, *places]
    }
    _write(build_dir / "bootstrap.toml", 'change-id = "ignore"\n' + toml(settings), 0o644)
    parallel = jobs(_MEMORY_EACH)
    env = {
        "CARGO_HOME": f"{own}/cargo-home",
        "CARGO_NET_OFFLINE": "true",
        # Build scripts run once. Optimizing them takes longer than running them.
        "CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_OPT_LEVEL": "0",
        "HOME": own,
        # The linker also uses this path, to find the libLLVM that librustc_driver needs.
        "LD_LIBRARY_PATH": f"{stage0}/lib/{triple.replace('-unknown', '')}:{session.path(llvm)}/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    spent = build_dir / "usage.txt"
    with Progress(f"compiling {compiler.name}", None, "crates") as progress:

        def listen(line: str) -> None:
            if match := _COMPILING.match(line):
                progress.step(1, match[1])

        done = session.run(
            [
                *usage.command(session, spent),
                *("python3", f"{source}/x.py", "--config", f"{own}/bootstrap.toml"),
                *("build", "--stage", "1", f"-j{parallel}", *compiler.targets),
            ],
            cwd=place / "source",
            env=env,
            log=log,
            on_line=listen,
            timeout=12 * 3600,
        )
        crates = progress.done
    step.require(done, f"compiling {compiler.name}", log)
    return {"crates": crates, **usage.read(spent), "jobs": parallel}


def _llvm_config(llvm: str, major: int, key: str) -> str:
    """Return a script that replaces llvm-config in rustc's build.

    The real llvm-config names libLLVM only if LLVM's own tools are linked with it. Ours are not, to be faster.
    It also names a target only if all its parts are installed. Ours are not, so rustc would omit the target.
    """
    return f"""#!/bin/sh
# of {key}
real={llvm}/bin/llvm-config
case " $* " in
*" --components "*) echo "$($real --components) $($real --targets-built | tr A-Z a-z)" ;;
*" --libs "*) echo "-lLLVM-{major}" ;;
*" --libfiles "*) readlink -f {llvm}/lib/libLLVM.so ;;
*" --libnames "*) basename "$(readlink -f {llvm}/lib/libLLVM.so)" ;;
*) exec $real "$@" ;;
esac
"""


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file only if its content changes, because cargo compares its time."""
    if path.is_file() and path.read_text() == text:
        return
    store.write_text(path, text)
    path.chmod(mode)


def _install(place: Path, root: Path) -> None:
    """Copy rustc, its library, the standard library and its source into `root`; add a bindgen."""
    triple = of_host("no rustc is built for").rust_triple
    stage1 = place / "build" / "out" / triple / "stage1"
    if not (stage1 / "bin" / "rustc").is_file():
        raise UnderTest("the build succeeded, but rustc is missing", "read the log", root / "build-rustc.log")
    (root / "bin").mkdir(exist_ok=True)
    (root / "lib").mkdir(exist_ok=True)
    shutil.copyfile(stage1 / "bin" / "rustc", root / "bin" / "rustc")
    (root / "bin" / "rustc").chmod(0o755)
    store.write_text(root / "bin" / "bindgen", BINDGEN)
    (root / "bin" / "bindgen").chmod(0o755)
    for library in sorted((stage1 / "lib").glob("librustc_driver-*.so")):
        shutil.copyfile(library, root / "lib" / library.name)
    standard = Path("lib") / "rustlib" / triple / "lib"
    shutil.copytree(stage1 / standard, root / standard)
    # A kernel build finds the source in rustc's sysroot (rust/Makefile, RUST_LIB_SRC).
    shutil.copytree(place / "source" / "library", root / "lib" / "rustlib" / "src" / "rust" / "library", symlinks=True)


def check(session: Session, root: Path, major: int) -> Sequence[str]:
    """Check that a finished rustc runs in its image, with the LLVM of the same toolchain.

    Returns:
        The output of `rustc --version --verbose` and `bindgen --version`.

    Raises:
        UnderTest: it does not run, has another LLVM, or does not know our flags.
    """
    log = root / "build-rustc.log"
    lines: list[str] = []
    rustc = session.path(root / "bin" / "rustc")
    done = session.run([rustc, "--version", "--verbose"], log=log, on_line=lines.append)
    step.require(done, "the rustc that was built", log)
    version = next((line.partition(":")[2].strip() for line in lines if line.startswith("LLVM version:")), "none")
    if version.partition(".")[0] != str(major):
        raise UnderTest(f"the rustc that was built has LLVM {version}, not LLVM {major}", log=log)
    done = session.run([session.path(root / "bin" / "bindgen"), "--version"], log=log, on_line=lines.append)
    step.require(done, "the bindgen of the image", log)
    return lines
