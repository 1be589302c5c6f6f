"""Try what helps a lost symbol: run compiler tests again, and pass settings to the tree's own olddefconfig.

Takes a configured build directory. Gives a failed test with its message, or settings that help. Never changes
`.config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.runtime import Session
from kconfig import survival, symbols
from kconfig.fragment import Asked
from kconfig.symbols import Graph

TRIES = 2  # configurations made per lost symbol; each takes as long as an olddefconfig
_TRY = ".config.kdf-try"
_PROBE = re.compile(r"\{ (.*); \} >/dev/null 2>&1 &&", re.DOTALL)  # if-success of scripts/Kconfig.include


@dataclass(frozen=True)
class Compiler:
    """A compiler test that failed: the command as Kconfig ran it, and its message when it ran again."""

    command: str
    message: str


def compiler_test(
    session: Session, build_dir: Path, graph: Graph, name: str, log: Path, env: Mapping[str, str]
) -> Compiler | None:
    """Run the compiler tests of a symbol again; return the first that fails, or None."""
    for probe in graph.probes_of(graph.symbols[name]):
        inner = _PROBE.search(probe.command)
        command = inner[1] if inner else probe.command
        done = session.run(["sh", "-c", command], cwd=build_dir, env={**env, "LC_ALL": "C"}, log=log, timeout=60)
        if not done.ok:
            return Compiler(command, "\n".join(done.tail) or f"exit code {done.code} without a message")
    return None


def got(values: Mapping[str, str], asked: Asked) -> str:
    """Return the value of a requested symbol in a configuration."""
    return values.get(asked.symbol, survival.ABSENT)


def settings(
    session: Session,
    build_dir: Path,
    make_argv: Sequence[str],
    wanted: Sequence[Asked],
    wished: Sequence[tuple[str, str]],
    log: Path,
    env: Mapping[str, str],
) -> tuple[str, ...]:
    """Return the wished settings if all wanted symbols survive with them, else an empty tuple.

    olddefconfig runs at most TRIES times, each time on the result of the last one.

    Args:
        build_dir: as a path of the host; the settings are added to a copy of its `.config`.
        wanted: the lost symbol, then those that survived. Settings with which one of them is lost do not help.
        wished: symbol and value of each setting.
    """
    text = (build_dir / ".config").read_text()
    work = build_dir / _TRY
    # A later line of a .config replaces an earlier one, so the settings are only added.
    added = {name: value for name, value in wished if name != wanted[0].symbol}
    if not added:
        return ()
    lines = [f"# CONFIG_{n} is not set" if v == "n" else f"CONFIG_{n}={v}" for n, v in added.items()]
    lines.append(wanted[0].config_line)
    try:
        for _ in range(TRIES):
            work.write_text("\n".join([text.rstrip("\n"), *lines, ""]))
            done = session.run(
                [*make_argv, f"KCONFIG_CONFIG={_TRY}", "olddefconfig"],
                env={**env, "LC_ALL": "C"},
                log=log,
                timeout=symbols.TIMEOUT,
            )
            if not done.ok:
                return ()
            text = work.read_text()
            values = survival.values(text)
            if all(survival.granted(asked.value, got(values, asked)) for asked in wanted):
                return tuple(f"{n}={v}" for n, v in added.items())
    finally:
        for file in build_dir.glob(f"{_TRY}*"):
            file.unlink(missing_ok=True)
    return ()
