"""Compile rustc against an LLVM of ours, and install what a kernel needs of it.

What comes in is a compiler of rustc.yaml and a finished LLVM; what goes out are `bin/rustc`, its libraries and the
source of the standard library, to be put beside that LLVM. As with LLVM itself the source is a pinned archive with
patches on it in a directory that is kept, and so is the build: cargo goes on where it was stopped. There is no network
meanwhile.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import process, store
from core.arch import of_host
from core.errors import InfraError, UnderTest
from core.progress import Progress
from core.runtime import Image, Mount, Runtime, Session, jobs
from patches import apply
from patches.series import PatchFile, read_directory
from sources import catalogue
from toolchain import rust_recipe, usage, worktree
from toolchain.rust_recipe import BINDGEN, Compiler, Setting, toml

# What the largest rustc of the build takes, bytes (measured: 2.3 GB for rustc_middle).
_MEMORY_EACH = 5 << 29
_SOURCE, _BUILD, _STAGE0, _LLVM = "/kdf/source", "/kdf/build", "/kdf/stage0", "/kdf/toolchain"
_COMPILING = re.compile(r"^\s+Compiling (\S+ \S+)")
_ERROR = re.compile(r"(^|: )(fatal )?error(\[|: )|panicked at")
_CHECKSUM = ".cargo-checksum.json"


def build_directory(compiler: Compiler, llvm: int, packages: str, runtime: Runtime) -> Path:
    """Where a rustc is built: one directory for all states of our patches, so that little is compiled again."""
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
    """Put a rustc into a directory.

    Args:
        major: of LLVM.
        llvm: a toolchain with `bin/llvm-config` and `lib/libLLVM.so`.
        llvm_key: what identifies it: rustc's wrapper of LLVM is compiled again when it changes.
        image: what it is compiled in; None on the host.
        packages: identity of the packages around the build.
        root: where `bin` and `lib` go; it may hold an LLVM.

    Returns:
        How it went, as `toolchain.usage.read` says it, and `crates` compiled in this call, and `jobs`.

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
            # Writable, because cargo writes the locks that it makes anew beside the workspaces.
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
    """The files that differ from the source's."""
    found: dict[str, bytes | None] = dict(
        apply.changed_files(pristine, [*_packaging(compiler), *read_directory(rust_recipe.PATCHES)], compiler.source)
    )
    if compiler.packaging:
        # Cargo compares each file of a vendored crate; what was left out, or is patched, must not be on its list.
        for file in sorted(pristine.glob(f"vendor/*/{_CHECKSUM}")):
            sums = {**json.loads(file.read_text()), "files": {}}
            found[str(file.relative_to(pristine))] = json.dumps(sums, separators=(",", ":"), sort_keys=True).encode()
    for workspace in compiler.locks:
        if (pristine / workspace / "Cargo.lock").is_file():
            found[str(Path(workspace) / "Cargo.lock")] = None
    return found


def _packaging(compiler: Compiler) -> list[PatchFile]:
    """The distribution's patches that are wanted, in their order.

    Raises:
        InfraError: its list names a patch that is not there.
    """
    packaging = compiler.packaging
    if packaging is None:
        return []
    folder = catalogue.source_tree(packaging.source).path / "src" / "patches"
    listed = [line.strip() for line in (folder / "series").read_text().splitlines() if line.strip()]
    wanted = [name for name in listed if name.partition("/")[0] in packaging.groups]
    for name in wanted:
        if not (folder / name).is_file():
            raise InfraError(f"{packaging.source} lists {name}, which it does not hold", "fetch it again")
    return [PatchFile(name, folder / name, store.hash_file(folder / name)) for name in wanted]


def _lay_stage0(compiler: Compiler, place: Path) -> None:
    """Put the packages of stage 0 into one directory, as links to the store's files."""
    if place.is_dir():
        return
    new = place.with_name(".stage0.new")
    store.remove_tree(new)
    new.mkdir()
    for name in compiler.stage0:
        done = process.run(["cp", "-al", "--", f"{catalogue.source_tree(name).path}/src/.", str(new)])
        if not done.ok:
            raise InfraError(f"copying {name} failed: {(done.tail or ('',))[-1]}", "look at the disk")
    new.rename(place)


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
        # Build scripts run once: to optimize them takes longer than they do.
        "CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_OPT_LEVEL": "0",
        "HOME": own,
        # The linker, too, looks there: for the libLLVM that librustc_driver needs.
        "LD_LIBRARY_PATH": f"{stage0}/lib/{triple.replace('-unknown', '')}:{session.path(llvm)}/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    spent = build_dir / "usage.txt"
    errors: list[str] = []
    with Progress(f"compiling {compiler.name}", None, "crates") as progress:

        def listen(line: str) -> None:
            if found := _COMPILING.match(line):
                progress.step(1, found[1])
            elif _ERROR.search(line):
                errors.append(line)

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
    process.require(done, f"compiling {compiler.name}", log, errors)
    return {"crates": crates, **usage.read(spent), "jobs": parallel}


def _llvm_config(llvm: str, major: int, key: str) -> str:
    """An llvm-config for rustc's build.

    The real one names libLLVM only where LLVM's own tools are linked with it, and ours are not: they are faster so. And
    it names a target only where all parts of it are installed: rustc would leave out those of which we have some.
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
    """Write a file only if it would change: cargo goes by its time."""
    if path.is_file() and path.read_text() == text:
        return
    store.write_text(path, text)
    path.chmod(mode)


def _install(place: Path, root: Path) -> None:
    """Copy rustc, its own library, the standard library and its source; put a bindgen beside it."""
    triple = of_host("no rustc is built for").rust_triple
    stage1 = place / "build" / "out" / triple / "stage1"
    if not (stage1 / "bin" / "rustc").is_file():
        raise UnderTest("the build ended well but made no rustc", "read the log", root / "build-rustc.log")
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
    # Where rustc's sysroot has it, a kernel finds it by itself: rust/Makefile, RUST_LIB_SRC.
    shutil.copytree(place / "source" / "library", root / "lib" / "rustlib" / "src" / "rust" / "library", symlinks=True)


def check(session: Session, root: Path, major: int) -> Sequence[str]:
    """Look at what was built: that it runs where it will be used, with the LLVM that is beside it.

    Returns:
        What `rustc --version --verbose` and `bindgen --version` print.

    Raises:
        UnderTest: it does not run, has another LLVM, or does not know our flags.
    """
    log = root / "build-rustc.log"
    lines: list[str] = []
    rustc = session.path(root / "bin" / "rustc")
    done = session.run([rustc, "--version", "--verbose"], log=log, on_line=lines.append)
    process.require(done, "the rustc that was built", log)
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("LLVM version:")), "none")
    if found.partition(".")[0] != str(major):
        raise UnderTest(f"the rustc that was built says that its LLVM is {found}", log=log)
    done = session.run([session.path(root / "bin" / "bindgen"), "--version"], log=log, on_line=lines.append)
    process.require(done, "the bindgen of the image", log)
    return lines
