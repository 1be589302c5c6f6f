"""Check whether a tree can be built with Rust.

Takes a session and the make command of a cell. Raises with the tree's own reason if the tree does not accept the rustc,
the bindgen or the library source of the session. Without this check, Kconfig would drop CONFIG_RUST without a message,
or name another symbol as the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import InfraError
from core.runtime import Session
from kconfig.profiles import Request

_MARK = "***"
# The end of each message of the tree points to its documentation.
_ADVICE = ("Please see Documentation/", "on how to set up")


def require(
    session: Session, command: Sequence[str], request: Request, log: Path, env: Mapping[str, str] | None = None
) -> None:
    """Raise if Rust is requested and the tree does not accept it (scripts/rust_is_available.sh).

    Args:
        command: make, with all variables of the cell.

    Raises:
        InfraError: Rust is not available; the message is the tree's reason.
    """
    rust = next((asked for asked in request.asked if asked.symbol == "RUST" and asked.value == "y"), None)
    if rust is None:
        return
    lines: list[str] = []

    def listen(line: str) -> None:
        if line.startswith(_MARK):
            lines.append(line.strip("* "))

    done = session.run([*command, "rustavailable"], env=env, log=log, on_line=listen)
    if done.ok:
        return
    raise InfraError(
        f"CONFIG_RUST is requested ({rust.origin}), but according to the tree Rust is not available: "
        f"{reason(lines) or (done.tail or ('no reason',))[-1]}",
        "use another runtime or toolchain (--runtime docker, --toolchain plugin-19), or a profile without Rust",
        log,
    )


def reason(lines: Sequence[str]) -> str:
    """Return the tree's message as one sentence, without the link to its documentation."""
    kept = [line for line in lines if line and not any(word in line for word in _ADVICE)]
    return " ".join(" ".join(kept).split())
