"""Make a plugin toolchain: a stock clang, our pass as plugins for it, and front programs that load them.

Takes a session and an LLVM major. Fills a directory with `bin/` (fronts, and links to the stock tools, usable as
`make LLVM=<dir>/bin/`), `lib/` (the pass, one plugin per variant) and `manifest.json`. Never assumes from its name what
a compiler calls: it compiles a probe and reads the callbacks in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core import store
from core.errors import InfraError, UnderTest
from core.runtime import Session
from toolchain import probe

MANIFEST = "manifest.json"

# Bit 0 arguments, bit 1 return values: variant.c and front.c count the same way.
VARIANTS: Mapping[str, int] = {"dataflow-args": 1, "dataflow-ret": 2, "dataflow-args-ret": 3}
_BITS = {"L0": 0, "L3": 4, "G1": 8}  # by value, gated: bits 2 and 3 of variant.c
# Generations that the pass can emit; L1 has the same callbacks as L0 under other flags, and its front knows both.
GENERATIONS = tuple(_BITS)

# The kernel's Makefile takes these from LLVM= (7.1: Makefile, tools/scripts); our tests and readers use the others.
TOOLS = (
    "ld.lld", "llvm-ar", "llvm-as", "llvm-config", "llvm-dis", "llvm-dwarfdump", "llvm-link", "llvm-nm", "llvm-objcopy",
    "llvm-objdump", "llvm-ranlib", "llvm-readelf", "llvm-size", "llvm-strip", "llvm-symbolizer", "opt", "llc",
    "FileCheck",
)  # fmt: skip


@dataclass(frozen=True)
class _Llvm:
    """Describe the stock LLVM under a toolchain, as its llvm-config prints it."""

    bindir: str
    libdir: str
    version: str
    cxxflags: tuple[str, ...]
    ldflags: tuple[str, ...]


def output(session: Session, argv: Sequence[str], log: Path | None = None) -> list[str]:
    """Return all lines of a command that must succeed.

    Raises:
        InfraError: it fails or is not there.
    """
    lines: list[str] = []
    ended = session.run(argv, log=log, on_line=lines.append)
    if not ended.ok:
        why = lines[-1] if lines else f"exit code {ended.code}"
        raise InfraError(f"{argv[0]} failed: {why}", "run ./invoke doctor, it names what is missing", log)
    return lines


def _llvm(session: Session, major: int) -> _Llvm:
    config = f"llvm-config-{major}"

    def ask(*words: str) -> str:
        return " ".join(output(session, [config, *words])).strip()

    version = ask("--version")
    if version.split(".")[0] != str(major):
        raise InfraError(f"{config} says that it is LLVM {version}")
    return _Llvm(
        bindir=ask("--bindir"),
        libdir=ask("--libdir"),
        version=version,
        cxxflags=tuple(ask("--cxxflags").split()),
        ldflags=tuple(ask("--link-shared", "--ldflags", "--libs").split()),
    )


def _compile(session: Session, argv: Sequence[str], what: str, log: Path) -> None:
    if not session.run(argv, log=log).ok:
        raise UnderTest(f"{what} does not compile with this LLVM", log=log)


def _build_pass(
    session: Session,
    llvm: _Llvm,
    sources: Path,
    objects: Path,
    lib: Path,
    log: Path,
    generation: str = "L0",
) -> None:
    """Compile the pass once and link it once per variant.

    Args:
        generation: of the callbacks that it emits, one of `GENERATIONS`.
    """
    cxx = [f"{llvm.bindir}/clang++", *llvm.cxxflags, "-O2", "-fPIC", "-fno-rtti", "-fvisibility=hidden", "-Wall"]
    # LLVM's headers take far longer to compile than the pass: its files are compiled as one.
    whole = objects / "pass.cpp"
    compiled = whole.with_suffix(".o")
    if not compiled.exists():
        files = sorted(sources.glob("*.cpp"))
        whole.write_text("".join(f'#include "{session.path(file)}"\n' for file in files))
        _compile(session, [*cxx, "-c", session.path(whole), "-o", session.path(compiled)], "the pass", log)
    for variant, number in VARIANTS.items():
        own = session.path(objects / f"{variant}.o")
        bits = number | _BITS[generation]
        define = f"-DKCOV_DATAFLOW_VARIANT={bits}"
        source = session.path(sources / "variant.c")
        _compile(session, [f"{llvm.bindir}/clang", "-O2", "-fPIC", "-fvisibility=hidden", define, "-c", source,
                           "-o", own], "variant.c", log)  # fmt: skip
        # Without libraries of LLVM a plugin takes what it needs from the compiler that loads it.
        defs = ["-Wl,-z,defs"] if llvm.ldflags else []
        _compile(session, [f"{llvm.bindir}/clang++", "-shared", *defs, session.path(compiled), own, *llvm.ldflags,
                           "-o", session.path(lib / f"{variant}.so")], "the plugin", log)  # fmt: skip


def _rustc(session: Session, major: int) -> str | None:
    """Find the stock rustc if it is built on the same LLVM: a plugin does not load into another."""
    try:
        lines = output(session, ["rustc", "--version", "--verbose"])
        where = output(session, ["sh", "-c", "command -v rustc"])[0]
    except InfraError:
        return None
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("LLVM version:")), "")
    return where if found.split(".")[0] == str(major) else None


def _link_tools(session: Session, llvm: _Llvm, bin_folder: Path) -> list[str]:
    there = set(output(session, ["ls", llvm.bindir]))
    found = [tool for tool in TOOLS if tool in there]
    for tool in found:
        (bin_folder / tool).symlink_to(PurePosixPath(llvm.bindir) / tool)
    return found


def describe(session: Session, tools: str, version: str, root: Path, rustc: str | None) -> dict[str, Any]:
    """Describe a toolchain: versions as its programs print them, hashes of our files, the generation.

    Args:
        tools: directory of the LLVM tools, as the session sees it.
        version: of LLVM.
        root: the toolchain, with `bin/clang`.
        rustc: path of a stock rustc that it serves, or None.
    """
    clang = session.path(root / "bin" / "clang")
    versions = {
        "clang": output(session, [clang, "--version"])[0],
        "ld.lld": output(session, [f"{tools}/ld.lld", "--version"])[0],
        "llvm": version,
    }
    if rustc:
        versions["rustc"] = output(session, [rustc, "--version"])[0]
    scratch = root / ".probe"
    scratch.mkdir()
    found, answers = probe.ask(session, clang, scratch)
    store.remove_tree(scratch)
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    return {
        "versions": versions,
        "files": {str(p.relative_to(root)): store.hash_file(p) for p in files if p.name != "build.log"},
        "generation": found.name if found else None,
        "callbacks": {"args": found.args, "ret": found.ret, "flags": found.flags} if found else None,
        "probe": answers,
        "rustc": rustc,
    }


def build(
    session: Session, major: int, sources: Path, root: Path, *, with_pass: bool = True, generation: str = "L0"
) -> dict[str, Any]:
    """Fill a directory with a toolchain.

    Args:
        session: where it is compiled and will run; it must see `sources` and, writable, `root`.
        major: of LLVM; `llvm-config-<major>` must be there.
        sources: `toolchain/pass`.
        root: an empty directory.
        with_pass: without, `bin/` only links to the stock programs (for controls).
        generation: of its callbacks, one of `GENERATIONS`.

    Returns:
        The manifest, as written to `manifest.json`.

    Raises:
        UnderTest: the pass does not compile, or the finished toolchain does not call what it should.
        InfraError: a program that it stands on is missing.
    """
    llvm = _llvm(session, major)
    log = root / "build.log"
    bin_folder, lib = root / "bin", root / "lib"
    bin_folder.mkdir()
    lib.mkdir()
    _link_tools(session, llvm, bin_folder)
    rustc = _rustc(session, major)
    if with_pass:
        objects = root / ".objects"
        objects.mkdir()
        _build_pass(session, llvm, sources, objects, lib, log, generation)
        store.remove_tree(objects)
        _build_front(session, llvm, sources, root, rustc, log, generation)
    else:
        for name, real in (("clang", f"{llvm.bindir}/clang"), ("clang++", f"{llvm.bindir}/clang++"), ("rustc", rustc)):
            if real:
                (bin_folder / name).symlink_to(real)
    manifest = describe(session, llvm.bindir, llvm.version, root, rustc)
    if with_pass and manifest["generation"] != generation:
        raise UnderTest(
            f"the finished toolchain calls {manifest['callbacks']}, which is not generation {generation}", log=log
        )
    store.write_json(root / MANIFEST, manifest)
    return manifest


def build_beside(session: Session, tools: str, sources: Path, root: Path) -> None:
    """Fill a directory with plugins and fronts for a compiler from source, to compare with what is built into it.

    Args:
        tools: directory of the compiler's programs, as the session sees it; its `llvm-config` and headers are used.
        sources: `toolchain/pass`.
        root: an empty directory, writable in the session.

    Raises:
        UnderTest: the pass does not compile with its headers.
    """
    llvm = _Llvm(
        bindir=tools,
        libdir="",
        version=output(session, [f"{tools}/llvm-config", "--version"])[0],
        cxxflags=tuple(" ".join(output(session, [f"{tools}/llvm-config", "--cxxflags"])).split()),
        ldflags=(),
    )
    for name in ("bin", "lib", ".objects"):
        (root / name).mkdir()
    _build_pass(session, llvm, sources, root / ".objects", root / "lib", root / "build.log")
    _build_front(session, llvm, sources, root, None, root / "build.log")


def _build_front(
    session: Session,
    llvm: _Llvm,
    sources: Path,
    root: Path,
    rustc: str | None,
    log: Path,
    generation: str = "L0",
) -> None:
    """Compile one static program for three names. Its identity makes the fronts of two toolchains differ as files."""
    version = output(session, [f"{llvm.bindir}/clang", "--version"])[0]
    plugins = {p.name: store.hash_file(p) for p in sorted((root / "lib").iterdir())}
    identity = store.key_of({"clang": version, "plugins": plugins, "rustc": rustc})
    real = {"CLANG": f"{llvm.bindir}/clang", "CLANGXX": f"{llvm.bindir}/clang++", "RUSTC": rustc or "rustc-is-missing"}
    defines = [f'-DKDF_{name}="{value}"' for name, value in (*real.items(), ("IDENTITY", identity))]
    defines += {"L3": ["-DKDF_BY_VALUE"], "G1": ["-DKDF_GATED"]}.get(generation, [])
    front = root / "bin" / "clang"
    _compile(session, [f"{llvm.bindir}/clang", "-O2", "-static", "-Wall", "-Wextra", *defines,
                       session.path(sources / "front.c"), "-o", session.path(front)], "front.c", log)  # fmt: skip
    (root / "bin" / "clang++").symlink_to("clang")
    if rustc:
        (root / "bin" / "rustc").symlink_to("clang")
