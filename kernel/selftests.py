"""Selftests of the tree, built for a guest that has no libraries: static programs, and the modules that they need.

What comes in is a cell and names of targets (directories of tools/testing/selftests); what goes out is a product for
each target with `programs/`, `modules/` and `list`. A target that does not build is a value with a reason: it says
nothing of the kernel.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core import process, store
from core.errors import UnderTest, UserError, nearest
from core.runtime import Mount
from core.store import Product
from kconfig import survival
from kernel import compilation
from kernel.built import Kernel
from kernel.workplace import Ready, Workplace, open_workplace

FOLDER = "tools/testing/selftests"
PROGRAMS, MODULES, LIST = "programs", "modules", "list"
_INSIDE = "/kdf/selftests"
# Products of an older recipe than this one are not used.
_RECIPE = 2
# What tools/testing/selftests/kselftest/runner.sh gives a test that has no `settings`, seconds; `timeout=0` there means
# no limit, and a guest must have one.
_SECONDS, _UNLIMITED = 45.0, 300.0
_BUILD_SECONDS = 1800.0
_MODULES_DIR = re.compile(r"^TEST_GEN_MODS_DIR\s*:?=\s*(\S+)", re.MULTILINE)
_TIMEOUT = re.compile(r"^timeout=(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A target of the selftests, built or not.

    Attributes:
        name: its directory below tools/testing/selftests.
        product: None if it did not build.
        reason, log: why it did not.
        lacks: symbols that its `config` asks for and the kernel does not have so.
    """

    name: str
    product: Product | None
    reason: str = ""
    log: Path | None = None
    lacks: tuple[str, ...] = ()

    def programs(self) -> list[Path]:
        """What is to be run, in the order of its Makefile."""
        if self.product is None:
            return []
        names = (self.product.path / LIST).read_text().split()
        return [self.product.path / PROGRAMS / name for name in names]

    def files(self) -> list[Path]:
        """All that its programs may look for beside them."""
        if self.product is None:
            return []
        return sorted(path for path in (self.product.path / PROGRAMS).rglob("*") if path.is_file())

    def modules(self) -> list[Path]:
        """Kernel modules, to be loaded first."""
        return sorted((self.product.path / MODULES).glob("*.ko")) if self.product else []

    def seconds(self) -> float:
        """Time that one program may take."""
        settings = self.product.path / PROGRAMS / "settings" if self.product else None
        found = _TIMEOUT.search(settings.read_text()) if settings and settings.is_file() else None
        return _SECONDS if found is None else float(found[1]) or _UNLIMITED


def known(linux: Path) -> list[str]:
    """The targets of a tree, by the directories that have a Makefile."""
    folder = linux / FOLDER
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("Makefile") if path.parent != folder)


def check_names(linux: Path, names: Sequence[str]) -> None:
    """Raises UserError if the tree has no such target."""
    there = known(linux)
    for name in names:
        if name not in there:
            raise UserError(f"the tree has no selftests {name}{nearest(name, there)}", f"they are in {linux / FOLDER}")


def build(ready: Ready, kernel: Kernel, names: Sequence[str]) -> list[Target]:
    """Build targets for the kernel of a cell, one after the other.

    Args:
        kernel: the kernel that they will run on: modules are built against it.

    Raises:
        UserError: the tree has no such target.
        InfraError: the machine failed.
    """
    linux = ready.tree.path / "linux"
    check_names(linux, names)
    return [_target(ready, kernel, linux / FOLDER / name, name) for name in names]


def _target(ready: Ready, kernel: Kernel, source: Path, name: str) -> Target:
    found = _MODULES_DIR.search((source / "Makefile").read_text())
    modules = found[1] if found and kernel.config.get("MODULES") == "y" else ""
    inputs = {
        "recipe": _RECIPE,
        "target": name,
        "arch": ready.cell.arch,
        "tree": ready.tree.key,
        "toolchain": ready.toolchain.key,
        # Only a module is bound to one kernel.
        "kernel": kernel.key if modules else "",
    }
    lacks = _lacks(source / "config", kernel.config)
    try:
        made = store.make("selftests", inputs, lambda out: _make(ready, source, name, modules, out))
    except UnderTest as error:
        return Target(name, None, error.message, error.log, lacks)
    return Target(name, made, lacks=lacks)


def _lacks(asked: Path, config: dict[str, str]) -> tuple[str, ...]:
    if not asked.is_file():
        return ()
    wanted = survival.values(asked.read_text())
    # A module asked for may as well be built in.
    fits = {"m": ("m", "y")}
    return tuple(
        f"{symbol}={value}"
        for symbol, value in wanted.items()
        if config.get(symbol, "n") not in fits.get(value, (value,))
    )


def _make(ready: Ready, source: Path, name: str, modules: str, out: Path) -> dict[str, object]:
    with open_workplace(ready, [Mount(out, _INSIDE, writable=True)]) as place:
        log = out / "build.log"
        _step(place, log, [*place.command, "headers"], "installing the kernel's headers")
        own = [
            "make",
            "-C",
            place.session.path(source),
            f"LLVM={place.session.path(ready.toolchain.product.path)}/bin/",
            f"ARCH={ready.cell.arch}",
            f"OUTPUT={place.session.path(out / 'objects')}",
            f"INSTALL_PATH={place.session.path(out / PROGRAMS)}",
            f"KHDR_INCLUDES=-isystem {place.session.path(place.build_dir)}/usr/include",
            # The guest has no libraries. What a program defines itself wins over a shared libc; with muldefs here, too.
            "USERLDFLAGS=-static -Wl,-z,muldefs",
            # Modules would be made within the source, which is read-only, and for the kernel of the machine.
            "TEST_GEN_MODS_DIR=",
        ]
        for folder in ("objects", PROGRAMS, MODULES):
            (out / folder).mkdir()
        _step(place, log, [*own, "install"], f"compiling the selftests {name}", own=True)
        said: list[str] = []
        place.session.run([*own, "-s", "COLLECTION=kdf", "emit_tests"], log=log, on_line=said.append)
        listed = [line.partition(":")[2].strip() for line in said if line.startswith("kdf:")]
        if modules:
            _modules(place, source / modules, out)
    absent = [one for one in listed if not (out / PROGRAMS / one).is_file()]
    if absent or not listed:
        raise UnderTest(f"the selftests {name} made no {absent[0] if absent else 'programs'}", "read the log", log)
    (out / LIST).write_text("\n".join(listed) + "\n")
    store.remove_tree(out / "objects")
    return {"programs": listed}


def _modules(place: Workplace, source: Path, out: Path) -> None:
    folder = out / "objects" / "modules"
    shutil.copytree(source, folder)
    if not (place.build_dir / "vmlinux").is_file():
        # The store has the kernel, its build directory is gone.
        place.configure()
        compilation.compile_all(place)
    for words, env in place.module_steps(folder):
        _step(replace(place, env=env), out / "build.log", words, "compiling the modules of the selftests")
    for module in folder.glob("*.ko"):
        shutil.copyfile(module, out / MODULES / module.name)


def _step(place: Workplace, log: Path, command: Sequence[str], what: str, *, own: bool = False) -> None:
    """One command of make.

    Args:
        own: whether it runs a target's own Makefile. What that needs besides a kernel's tools is its own matter:
            without it the target does not build, and the others do.
    """
    errors: list[str] = []

    def listen(line: str) -> None:
        if "error:" in line or line.startswith("ERROR") or "undefined" in line:
            errors.append(line)

    done = place.session.run(command, env=place.env, log=log, on_line=listen, timeout=_BUILD_SECONDS)
    try:
        process.require(done, what, log, errors)
    except process.MissingProgramError as error:
        if own:
            raise UnderTest(error.message, "read the log", log) from error
        raise
