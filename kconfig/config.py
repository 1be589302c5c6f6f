"""Make a `.config` from the base, the requests and the tree's own olddefconfig.

Takes a session, a build directory and a request. Kconfig probes the compiler, so the configuration is made in the
session of the build and with its make variables. Never replaces `.config` if its content does not change, so that make
does not build everything again.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import step, store
from core.errors import UnderTest
from core.process import Finished
from core.runtime import Session
from core.store import disk_errors
from kconfig import survival
from kconfig.fragment import SHOWN, Asked, unquote
from kconfig.profiles import Request

WORK_NAME = ".config.kdf"  # relative to the build directory, so that it means the same file in every session
TIMEOUT = 900.0  # seconds for one make target: conf only starts some hundred compilers
_WARNING = re.compile(r"^(?:\S+:\d+:)?\s*warning: ", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_]+")
_UNKNOWN = re.compile(r"unknown symbol: (?:CONFIG_)?(\w+)")
_KCONFIG_ERROR = re.compile(r"Kconfig[\w.]*:\d+: ")
# Characters that scripts/config changes, because it passes values to sed.
_NOT_FOR_SED = re.compile(r'[\\&"\x01]')


@dataclass(frozen=True)
class Configured:
    """A finished configuration.

    Attributes:
        config: the final `.config`.
        warnings: Kconfig's warnings about the requests, for example about unknown symbols.
        changed: whether `.config` was replaced.
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
        tree: the patched source, as a path of the host; only read.
        build_dir: as a path of the host; its `.config` is replaced if it differs.
        make_argv: the build's make command with directory and variables, without a target.
        log: file for all output.
        env: environment variables for make.
        base_inputs: all inputs that decide the result of the base's target, if they are known. The result is then kept
            in the store, which saves a run of the parser and of all its compiler tests.

    Raises:
        UnderTest: the tree's Kconfig cannot make a configuration.
        InfraError: a program is missing, the disk is full, or a step was killed or took too long.
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
        step.require(done, f"make {target}", log, _error_line(done))

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
            raise UnderTest(f"make olddefconfig succeeded, but {WORK_NAME} is missing", "read the log", log)
        final = build_dir / ".config"
        changed = not final.is_file() or final.read_bytes() != work.read_bytes()
        if changed:
            work.replace(final)
        _tidy(build_dir)
    return Configured(final, _relevant(warnings, request), changed, time.monotonic() - started)


def _tidy(build_dir: Path) -> None:
    """Remove temporary files that this run or a killed run left in the build directory."""
    for path in build_dir.glob(f"{WORK_NAME}*"):
        path.unlink(missing_ok=True)


def _apply(session: Session, tree: Path, work: Path, request: Request, env: Mapping[str, str], log: Path) -> None:
    """Add the requests to the base with the tree's own script, without olddefconfig."""
    if not request.asked:
        return
    tool = session.path(tree / "scripts" / "config")
    # The script starts five programs for each symbol, so it only gets symbols whose value in the base differs.
    base = survival.values(work.read_text())
    words = [word for asked in request.asked if base.get(asked.symbol) != asked.value for word in script_words(asked)]
    if words:
        done = session.run(
            ["bash", tool, "--file", session.path(work), "--keep-case", *words], env=env, log=log, timeout=60
        )
        step.require(done, "scripts/config", log, _error_line(done))
    # The script drops backslashes and ampersands. It only removes the old line of such strings; we write the new one.
    own = [asked.config_line for asked in request.asked if _is_delicate(asked)]
    if own:
        with work.open("a") as out:
            out.write("\n".join(own) + "\n")


def _is_delicate(asked: Asked) -> bool:
    text = unquote(asked.value)
    return text is not None and _NOT_FOR_SED.search(text) is not None


def script_words(one: Asked) -> list[str]:
    """Return the arguments of `scripts/config` for a request."""
    flags = {"y": "--enable", "m": "--module", "n": "--disable"}
    if one.value in flags:
        return [flags[one.value], one.symbol]
    text = unquote(one.value)
    if text is None:
        return ["--set-val", one.symbol, one.value]
    return ["--undefine", one.symbol] if _is_delicate(one) else ["--set-str", one.symbol, text]


def _relevant(warnings: Sequence[str], request: Request) -> tuple[str, ...]:
    """Return the warnings except those about unknown symbols that our own fragments turn off.

    A tree without these symbols has them off. If a user turns an unknown symbol off, its name may be misspelled, so
    that warning stays.
    """
    ours = f"{SHOWN}/"
    off = {asked.symbol for asked in request.asked if asked.value == "n" and asked.file.startswith(ours)}
    kept = dict.fromkeys(w for w in warnings if not ((match := _UNKNOWN.search(w)) and match[1] in off))
    # A base may bring a hundred warnings of its own: a mistake in the request comes first.
    symbols = {asked.symbol for asked in request.asked}
    return tuple(sorted(kept, key=lambda warning: not symbols.intersection(_WORD.findall(warning))))


def _error_line(done: Finished) -> list[str]:
    """Return the most useful line of the output, if any: Kconfig's error, else make's first error, else the last."""
    ours = [line for line in done.tail if _KCONFIG_ERROR.search(line) and "warning:" not in line]
    stars = [line for line in done.tail if "***" in line and "] Error " not in line]
    other = [line for line in done.tail if line.strip() and "] Error " not in line and "Leaving directory" not in line]
    return (ours or stars)[:1] or other[-1:]
