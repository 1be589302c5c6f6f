"""Make a `.config`: base, then the requests, then the tree's own olddefconfig, all where the kernel will be built.

Kconfig probes the compiler, so the configuration is made in the session and with the make variables of the build. It is
made beside `.config` and takes its place only if the bytes differ: make then does not rebuild the world.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import process, store
from core.errors import UnderTest
from core.process import Finished
from core.runtime import Session
from core.store import disk_errors
from kconfig import survival
from kconfig.fragment import SHOWN, Asked, unquote
from kconfig.profiles import Request

WORK_NAME = ".config.kdf"  # relative to the build directory, so that it means the same file in every session
TIMEOUT = 900.0  # seconds for one make target: conf starts some hundred compilers, nothing more
_WARNING = re.compile(r"^(?:\S+:\d+:)?\s*warning: ", re.IGNORECASE)
_UNKNOWN = re.compile(r"unknown symbol: (?:CONFIG_)?(\w+)")
_KCONFIG_ERROR = re.compile(r"Kconfig[\w.]*:\d+: ")
# Characters that scripts/config, which hands values to sed, does not carry unchanged.
_NOT_FOR_SED = re.compile(r'[\\&"\x01]')


@dataclass(frozen=True)
class Configured:
    """A configuration that was made.

    Attributes:
        config: the final `.config`.
        warnings: what Kconfig said about the requests, unknown symbols among it.
        changed: whether `.config` is a new one.
        seconds: wall time.
    """

    config: Path
    warnings: tuple[str, ...]
    changed: bool
    seconds: float


def make_config(
    session: Session,
    tree: Path,
    build_dir: Path,
    make_argv: Sequence[str],
    request: Request,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    base_inputs: Mapping[str, str] | None = None,
) -> Configured:
    """Make the final configuration of a request in a build directory.

    Args:
        tree: the patched source, as the host sees it; only read.
        build_dir: as the host sees it; `.config` in it is replaced if it differs.
        make_argv: make, its directory and its variables, without a target: those of the build.
        log: gets all output.
        env: variables for make.
        base_inputs: everything that decides what the base's target makes, if that is known: it is then made once and
            kept in the store, which saves a run of the parser and of all its compiler tests.

    Raises:
        UnderTest: the tree's Kconfig cannot make a configuration at all.
        InfraError: a program is missing, the disk is full, a step was killed or took too long.
    """
    started = time.monotonic()
    work = build_dir / WORK_NAME
    variables = {**(env or {}), "LC_ALL": "C", "KCONFIG_WARN_UNKNOWN_SYMBOLS": "1"}
    warnings: list[str] = []

    def listen(line: str) -> None:
        if _WARNING.match(line):
            warnings.append(line.removeprefix(f"{WORK_NAME}:"))

    def make(target: str, *, listening: bool) -> None:
        done = session.run(
            [*make_argv, f"KCONFIG_CONFIG={WORK_NAME}", target],
            env=variables,
            log=log,
            timeout=TIMEOUT,
            on_line=listen if listening else None,
        )
        process.require(done, f"make {target}", log, _telling(done))

    with disk_errors(build_dir):
        _tidy(build_dir)
        if request.target and base_inputs is not None:

            def keep(folder: Path) -> dict[str, Any]:
                make(request.target, listening=False)
                shutil.copyfile(work, folder / "config")
                return {"target": request.target}

            inputs = {**base_inputs, "target": request.target}
            shutil.copyfile(store.make("base", inputs, keep).path / "config", work)
        elif request.target:
            make(request.target, listening=False)
        else:
            work.write_text(request.base_text.rstrip("\n") + "\n")
        _apply(session, tree, work, request, variables, log)
        make("olddefconfig", listening=True)
        if not work.is_file():
            raise UnderTest(f"make olddefconfig ended well but wrote no {WORK_NAME}", "read the log", log)
        final = build_dir / ".config"
        changed = not final.is_file() or final.read_bytes() != work.read_bytes()
        if changed:
            work.replace(final)
        _tidy(build_dir)
    return Configured(final, _worth_saying(warnings, request), changed, time.monotonic() - started)


def _tidy(build_dir: Path) -> None:
    """Remove what this or a killed run left beside `.config`."""
    for path in build_dir.glob(f"{WORK_NAME}*"):
        path.unlink(missing_ok=True)


def _apply(session: Session, tree: Path, work: Path, request: Request, env: Mapping[str, str], log: Path) -> None:
    """Put the requests on the base with the tree's own script, without olddefconfig."""
    if not request.asked:
        return
    tool = session.path(tree / "scripts" / "config")
    # The script starts five programs for each symbol, so it gets only those that the base has otherwise.
    there = survival.values(work.read_text())
    words = [word for one in request.asked if there.get(one.symbol) != one.value for word in script_words(one)]
    if words:
        done = session.run(
            ["bash", tool, "--file", session.path(work), "--keep-case", *words], env=env, log=log, timeout=60
        )
        process.require(done, "scripts/config", log, _telling(done))
    # The script drops backslashes and ampersands, so such strings are written by us, in a line that it removed before.
    own = [one.config_line for one in request.asked if _is_delicate(one)]
    if own:
        with work.open("a") as out:
            out.write("\n".join(own) + "\n")


def _is_delicate(one: Asked) -> bool:
    text = unquote(one.value)
    return text is not None and _NOT_FOR_SED.search(text) is not None


def script_words(one: Asked) -> list[str]:
    """The arguments of `scripts/config` for a request."""
    flags = {"y": "--enable", "m": "--module", "n": "--disable"}
    if one.value in flags:
        return [flags[one.value], one.symbol]
    text = unquote(one.value)
    if text is None:
        return ["--set-val", one.symbol, one.value]
    return ["--undefine", one.symbol] if _is_delicate(one) else ["--set-str", one.symbol, text]


def _worth_saying(warnings: Sequence[str], request: Request) -> tuple[str, ...]:
    """Warnings without those about symbols that our own fragments ask to be off: in a tree without them they are off.

    A name that a user asks to be off may be a slip of the pen, so it is said.
    """
    ours = f"{SHOWN}/"
    off = {one.symbol for one in request.asked if one.value == "n" and one.file.startswith(ours)}
    kept = dict.fromkeys(w for w in warnings if not ((found := _UNKNOWN.search(w)) and found[1] in off))
    return tuple(kept)


def _telling(done: Finished) -> list[str]:
    """The line of the output that says most: Kconfig's own error, else make's first, else the last, if there is any."""
    ours = [line for line in done.tail if _KCONFIG_ERROR.search(line) and "warning:" not in line]
    stars = [line for line in done.tail if "***" in line and "] Error " not in line]
    other = [line for line in done.tail if line.strip() and "] Error " not in line and "Leaving directory" not in line]
    return (ours or stars)[:1] or other[-1:]
