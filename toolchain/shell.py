"""Open a shell with a toolchain, where the toolchain runs and with its programs first in PATH.

Takes the name of a built toolchain and, for use without a terminal, a command line. Gives an exit status. The current
directory is mounted writable. Never mounts the store writable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.errors import InfraError
from core.runtime import Mount, Runtime, Session, foreground
from toolchain import share, specs, surroundings, toolchains

WORK = "/kdf/work"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def enter(name: str, runtime: Runtime, command: str = "") -> int:
    """Open a shell with a toolchain, or run one command in it.

    Args:
        command: a line for sh; if it is empty, there must be a terminal.

    Returns:
        The exit status of the command, or of the shell.

    Raises:
        UserError: the toolchain is not known, or not built.
        InfraError: there is no terminal or no engine.
    """
    product = share.built(name, runtime)
    folder = Path.cwd()
    if not command and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InfraError("a shell needs a terminal", "give a command with -c, or after --")
    made, _packages = surroundings.of_toolchain(specs.spec(name), runtime)
    mounts = [Mount(product.path, toolchains.INSIDE), Mount(folder, WORK, writable=True)]
    with runtime.open_session(image=made, mounts=mounts) as session:
        env = environment(session, product.path, name)
        if not command:
            return foreground(session, ["bash", "--norc"], env, WORK)
        ended = session.run(["sh", "-c", command], cwd=folder, env=env, on_line=lambda line: print(line, flush=True))
    return ended.code if ended.code >= 0 else 128 - ended.code


def environment(session: Session, root: Path, name: str) -> dict[str, str]:
    """Return a shell's variables for the toolchain: PATH, and LLVM=1 for a kernel's make."""
    usual = os.environ.get("PATH", _PATH) if session.name == "host" else _PATH
    return {"PATH": f"{session.path(root / 'bin')}:{usual}", "LLVM": "1", "PS1": f"({name}) \\w $ "}
