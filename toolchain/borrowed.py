"""Run the distribution's own rustc on our libLLVM, so that it knows our flags and need not be compiled.

Takes a compiler from source whose libLLVM.so has the soname, the symbols and the targets of the distribution's. Gives
`bin/rustc` in the same toolchain, a script that passes a library path to the dynamic linker. Never changes files of the
distribution or the environment of the programs that rustc starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import step, store
from core.arch import of_host
from core.errors import UnderTest
from core.runtime import Session
from toolchain import plugin

# In toolchains.yaml, in place of the name of a compiler to build.
STOCK = "stock"
# --library-path holds for this process only; LD_LIBRARY_PATH would also hold for the linkers that it starts (ld.so(8)).
_SCRIPT = """#!/bin/sh
exec {linker} --library-path "$(dirname "$(readlink -f "$0")")/../lib" --argv0 rustc {rustc} "$@"
"""


def inputs() -> dict[str, Any]:
    """Return the part of a toolchain's key for running the distribution's rustc; the image decides its version."""
    return {"stock": _SCRIPT}


def install(session: Session, root: Path) -> dict[str, Any]:
    """Write `bin/rustc`, and check that it knows our flags.

    Args:
        session: in the toolchain's image; `root` is mounted writable.
        root: the toolchain, with `lib/libLLVM.so`.

    Raises:
        InfraError: there is no rustc, or this machine's dynamic linker is not known.
        UnderTest: rustc does not run on our libLLVM, or does not emit the calls of our pass.
    """
    rustc = plugin.output(session, ["sh", "-c", "command -v rustc"])[0]
    linker = of_host("no dynamic linker is known for").dynamic_linker
    script = root / "bin" / "rustc"
    store.write_text(script, _SCRIPT.format(linker=linker, rustc=rustc))
    script.chmod(0o755)
    _try(session, root)
    return {"stock": rustc}


def _try(session: Session, root: Path) -> None:
    """Compile a function and look for our callbacks; the distribution's libLLVM would refuse the flags."""
    scratch, log = root / ".rustc", root / "build-rustc.log"
    scratch.mkdir()
    source = scratch / "probe.rs"
    source.write_text("#![no_std]\n#[no_mangle]\npub fn probe(a: u32) -> u32 { a + 1 }\n")
    flags = [f"-Cllvm-args=-sanitizer-coverage-dataflow-{which}" for which in ("args", "ret")]
    done = session.run(
        [session.path(root / "bin" / "rustc"), "--crate-type=lib", "-Copt-level=2", "-Cpasses=sancov-module", *flags,
         "--emit=llvm-ir", "-o", session.path(scratch / "probe.ll"), session.path(source)], log=log)  # fmt: skip
    step.require(done, "the distribution's rustc on our libLLVM", log)
    text = (scratch / "probe.ll").read_text(errors="replace")
    missing = [name for name in ("args", "ret") if f"call void @__sanitizer_cov_trace_{name}(" not in text]
    if missing:
        raise UnderTest(f"the distribution's rustc on our libLLVM does not emit a trace_{missing[0]} call", log=log)
    store.remove_tree(scratch)
