"""Rust in a kernel: whether the tree accepts the compiler, the generator of bindings and the source that are here.

What comes in is a session with the make command of a cell; what goes out is nothing, or the tree's own words. Rust that
was asked for and is not available is a failure: Kconfig alone would drop it in silence, or blame a symbol for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import InfraError
from core.runtime import Session
from kconfig.profiles import Request

_SPEAKS = "***"
# The tree points to its documentation at the end of whatever it says.
_ADVICE = ("Please see Documentation/", "on how to set up")


def require(
    session: Session, command: Sequence[str], request: Request, log: Path, env: Mapping[str, str] | None = None
) -> None:
    """Ask the tree, if Rust is asked for (scripts/rust_is_available.sh).

    Args:
        command: make with all variables of the cell.

    Raises:
        InfraError: Rust is not available; the message is the tree's reason.
    """
    wanted = next((one for one in request.asked if one.symbol == "RUST" and one.value == "y"), None)
    if wanted is None:
        return
    said: list[str] = []

    def listen(line: str) -> None:
        if line.startswith(_SPEAKS):
            said.append(line.strip("* "))

    done = session.run([*command, "rustavailable"], env=env, log=log, on_line=listen)
    if done.ok:
        return
    raise InfraError(
        f"CONFIG_RUST is asked for ({wanted.origin}), and the tree says that Rust is not available: "
        f"{reason(said) or (done.tail or ('no reason',))[-1]}",
        "take another runtime or toolchain (--runtime docker, --toolchain plugin-19), or a profile without Rust",
        log,
    )


def reason(lines: Sequence[str]) -> str:
    """The tree's words as one sentence: its lines without frame, and without where to read on."""
    told = [line for line in lines if line and not any(word in line for word in _ADVICE)]
    return " ".join(" ".join(told).split())
