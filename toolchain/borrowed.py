"""The distribution's own rustc, run on our libLLVM: a toolchain has a rustc that knows our flags without compiling one.

What comes in is a compiler from source whose libLLVM.so has the soname, the symbols and the targets of the
distribution's; what goes out is `bin/rustc` beside it. The distribution's files stay as they are: the dynamic linker
is told where to look for this one process, and what rustc starts does not see it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import process, store
from core.arch import of_host
from core.errors import UnderTest
from core.runtime import Session
from toolchain import plugin

# In toolchains.yaml, in place of the name of a compiler to build.
STOCK = "stock"
# --library-path is for this process only; LD_LIBRARY_PATH would be for the linkers that it starts as well (ld.so(8)).
_SCRIPT = """#!/bin/sh
exec {linker} --library-path "$(dirname "$(readlink -f "$0")")/../lib" --argv0 rustc {rustc} "$@"
"""


def inputs() -> dict[str, Any]:
    """The part of a toolchain's key that says how the distribution's rustc is run; its version is the image's."""
    return {"stock": _SCRIPT}


def install(session: Session, root: Path) -> dict[str, Any]:
    """Write `bin/rustc`, and see that it knows our flags.

    Args:
        session: in the image that the toolchain runs in; it sees `root`, writable.
        root: the toolchain, with `lib/libLLVM.so`.

    Raises:
        InfraError: there is no rustc, or no linker is known for this machine.
        UnderTest: it does not run on our libLLVM, or does not call what our pass calls.
    """
    found = plugin.output(session, ["sh", "-c", "command -v rustc"])[0]
    linker = of_host("no dynamic linker is known for").dynamic_linker
    script = root / "bin" / "rustc"
    store.write_text(script, _SCRIPT.format(linker=linker, rustc=found))
    script.chmod(0o755)
    _try(session, root)
    return {"stock": found}


def _try(session: Session, root: Path) -> None:
    """Compile a function and look for our callbacks: the distribution's libLLVM refuses the flags."""
    scratch, log = root / ".rustc", root / "build-rustc.log"
    scratch.mkdir()
    source = scratch / "probe.rs"
    source.write_text("#![no_std]\n#[no_mangle]\npub fn probe(a: u32) -> u32 { a + 1 }\n")
    flags = [f"-Cllvm-args=-sanitizer-coverage-dataflow-{which}" for which in ("args", "ret")]
    done = session.run(
        [session.path(root / "bin" / "rustc"), "--crate-type=lib", "-Copt-level=2", "-Cpasses=sancov-module", *flags,
         "--emit=llvm-ir", "-o", session.path(scratch / "probe.ll"), session.path(source)], log=log)  # fmt: skip
    process.require(done, "the distribution's rustc on our libLLVM", log)
    text = (scratch / "probe.ll").read_text(errors="replace")
    missing = [name for name in ("args", "ret") if f"call void @__sanitizer_cov_trace_{name}(" not in text]
    if missing:
        raise UnderTest(f"the distribution's rustc on our libLLVM makes no trace_{missing[0]} call", log=log)
    store.remove_tree(scratch)
