"""Build the tree's selftests as static programs, with the modules that they need.

Takes a cell and names of targets (directories of tools/testing/selftests). Gives one product per target, with
`programs/`, `modules/` and `list`. If a target does not build, its `Target` has the reason, and nothing is raised: that
is not a fault of the kernel.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core import step, store
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
# Products of an older recipe are not used.
_RECIPE = 2
# Seconds that tools/testing/selftests/kselftest/runner.sh gives to a test without `settings`. There, `timeout=0` means
# no limit, but in a guest every test needs a limit.
_SECONDS, _UNLIMITED = 45.0, 300.0
_BUILD_SECONDS = 1800.0
_MODULES_DIR = re.compile(r"^TEST_GEN_MODS_DIR\s*:?=\s*(\S+)", re.MULTILINE)
_TIMEOUT = re.compile(r"^timeout=(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A target of the selftests, built or not.

    Attributes:
        name: its directory below tools/testing/selftests.
        product: the built target; None if it did not build.
        reason, log: why it did not build.
        lacks: symbols of its `config` that have another value in the kernel.
    """

    name: str
    product: Product | None
    reason: str = ""
    log: Path | None = None
    lacks: tuple[str, ...] = ()

    def programs(self) -> list[Path]:
        """Return the programs to run, in the order of its Makefile."""
        if self.product is None:
            return []
        names = (self.product.path / LIST).read_text().split()
        return [self.product.path / PROGRAMS / name for name in names]

    def files(self) -> list[Path]:
        """Return its programs and all files that they may read from their directory."""
        if self.product is None:
            return []
        return sorted(path for path in (self.product.path / PROGRAMS).rglob("*") if path.is_file())

    def modules(self) -> list[Path]:
        """Return the kernel modules to load before its programs run."""
        return sorted((self.product.path / MODULES).glob("*.ko")) if self.product else []

    def seconds(self) -> float:
        """Return the seconds that one program may take."""
        settings = self.product.path / PROGRAMS / "settings" if self.product else None
        match = _TIMEOUT.search(settings.read_text()) if settings and settings.is_file() else None
        return _SECONDS if match is None else float(match[1]) or _UNLIMITED


def known(linux: Path) -> list[str]:
    """Return the targets of a tree: the directories that have a Makefile."""
    folder = linux / FOLDER
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("Makefile") if path.parent != folder)


def check_names(linux: Path, names: Sequence[str]) -> None:
    """Raise UserError if the tree does not have one of these targets."""
    targets = known(linux)
    for name in names:
        if name not in targets:
            raise UserError(
                f"the tree does not have the selftests {name}{nearest(name, targets)}",
                f"name a directory of {linux / FOLDER}",
            )


def build(ready: Ready, kernel: Kernel, names: Sequence[str]) -> list[Target]:
    """Build targets for the kernel of a cell, one after the other.

    Args:
        kernel: the kernel on which they will run; their modules are built for it.

    Raises:
        UserError: the tree does not have one of the targets.
        InfraError: the machine failed.
    """
    linux = ready.tree.path / "linux"
    check_names(linux, names)
    return [_target(ready, kernel, linux / FOLDER / name, name) for name in names]


def _target(ready: Ready, kernel: Kernel, source: Path, name: str) -> Target:
    match = _MODULES_DIR.search((source / "Makefile").read_text())
    modules = match[1] if match and kernel.config.get("MODULES") == "y" else ""
    inputs = {
        "recipe": _RECIPE,
        "target": name,
        "arch": ready.cell.arch,
        "tree": ready.tree.key,
        "toolchain": ready.toolchain.key,
        # Only modules depend on the kernel.
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
    requests = survival.values(asked.read_text())
    # A symbol that is requested as a module may be built in.
    fits = {"m": ("m", "y")}
    return tuple(
        f"{symbol}={value}"
        for symbol, value in requests.items()
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
            # The guest has no libraries. With muldefs, a program may define a function that libc.a also defines.
            "USERLDFLAGS=-static -Wl,-z,muldefs",
            # Its Makefile would build modules in the source, which is read-only, and for the kernel of this machine.
            "TEST_GEN_MODS_DIR=",
        ]
        for folder in ("objects", PROGRAMS, MODULES):
            (out / folder).mkdir()
        _step(place, log, [*own, "install"], f"compiling the selftests {name}", own=True)
        lines: list[str] = []
        place.session.run([*own, "-s", "COLLECTION=kdf", "emit_tests"], log=log, on_line=lines.append)
        listed = [line.partition(":")[2].strip() for line in lines if line.startswith("kdf:")]
        if modules:
            _modules(place, source / modules, out)
    absent = [program for program in listed if not (out / PROGRAMS / program).is_file()]
    if absent or not listed:
        raise UnderTest(
            f"building the selftests {name} did not make {absent[0] if absent else 'any program'}", "read the log", log
        )
    (out / LIST).write_text("\n".join(listed) + "\n")
    store.remove_tree(out / "objects")
    return {"programs": listed}


def _modules(place: Workplace, source: Path, out: Path) -> None:
    folder = out / "objects" / "modules"
    shutil.copytree(source, folder)
    if not (place.build_dir / "vmlinux").is_file():
        # The store has the kernel, but its build directory was removed.
        place.configure()
        compilation.compile_all(place)
    for words, env in place.module_steps(folder):
        _step(replace(place, env=env), out / "build.log", words, "compiling the modules of the selftests")
    for module in folder.glob("*.ko"):
        shutil.copyfile(module, out / MODULES / module.name)


def _step(place: Workplace, log: Path, command: Sequence[str], what: str, *, own: bool = False) -> None:
    """Run one make command.

    Args:
        own: whether it runs a target's own Makefile. If that needs a program that is missing, only this target does
            not build.
    """
    done = place.session.run(command, env=place.env, log=log, timeout=_BUILD_SECONDS)
    try:
        step.require(done, what, log)
    except step.MissingProgramError as error:
        if own:
            raise UnderTest(error.message, "read the log", log) from error
        raise
