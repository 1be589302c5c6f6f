"""Build a compiler that writes profiles of its runs, and merge these profiles.

Takes the name of a patched toolchain. Gives the same compiler, built to count (LLVM's IR profiles), and later the
merged profile. `kernel.train` runs the training. A counting compiler is a product of its own kind, so it is never used
as a toolchain.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core import step, store
from core.errors import UnderTest, UserError
from core.runtime import Mount, Runtime, Session
from toolchain import llvm, recipe, specs, surroundings, toolchains
from toolchain.toolchains import Toolchain

FILE = "profile.profdata"
# Names of raw profiles. The runs of one program share four files and add to them (clang's user manual, %Nm).
RAW = "%4m.profraw"


def counting(name: str, runtime: Runtime) -> Toolchain:
    """Find the counting compiler of a toolchain in the store, or make it.

    Raises:
        UserError: the toolchain is not compiled from source.
        UnderTest: LLVM with our pass does not compile.
        InfraError: the machine failed.
    """
    own = specs.spec(name)
    if own.kind != "patched":
        raise UserError(f"the toolchain {name} is not compiled from source, so --lto and --pgo cannot be used")
    own_recipe = recipe.trained(recipe.load(llvm.RECIPE))
    plan = llvm.read_plan(replace(own, rustc=""), recipe.choose(own_recipe, llvm.host_arch()), own_recipe)
    made, packages = surroundings.of_toolchain(own, runtime)
    builder, build_packages = surroundings.of_image(own_recipe.image, runtime)
    inputs: dict[str, Any] = {
        "name": own.name,
        "packages": packages,
        "build_packages": build_packages,
        "runtime": runtime.name,
        "machine": platform.machine(),
        **plan.inputs(llvm.source_hash(own)),
    }

    def work(tmp: Path) -> dict[str, Any]:
        facts = llvm.build(plan, runtime, builder, build_packages, tmp)
        with runtime.open_session(image=made, mounts=[Mount(tmp, toolchains.INSIDE, writable=True)]) as session:
            llvm.finish(plan, session, tmp)
        return {"build": facts}

    return Toolchain(name, store.make("training", inputs, work), runtime, made, packages)


def merge(session: Session, raw: Path, out: Path, log: Path) -> int:
    """Merge the profiles of the runs of a counting compiler.

    Args:
        raw: the directory of the profiles, mounted in the session.
        out: the file to write, mounted in the session.

    Returns:
        The number of functions in the profile.

    Raises:
        UnderTest: there is no profile.
        InfraError: the program that merges failed.
    """
    how = recipe.load(llvm.RECIPE).pgo
    written: Sequence[Path] = sorted(raw.glob("*.profraw"))
    if not written or how is None:
        raise UnderTest("the counting compiler did not write a profile", "read the log", log)
    files = [session.path(file) for file in written]
    step.require(session.run([how.merge, "merge", "-o", session.path(out), *files], log=log), "merging profiles", log)
    lines: list[str] = []
    shown = session.run([how.merge, "show", session.path(out)], log=log, on_line=lines.append)
    step.require(shown, "reading the merged profile", log)
    total = next((line.rpartition(":")[2].strip() for line in lines if line.startswith("Total functions:")), "")
    if not total.isdigit() or not int(total):
        raise UnderTest("the merged profile does not contain any function", "read the log", log)
    return int(total)
