"""Shell: a person at work with a toolchain, where it runs and with its programs first in PATH.

What comes in is the name of a built toolchain and, for use without a terminal, a command line; what goes out is an exit
status. The directory that the user stands in is seen, writable; of the store nothing can be written.
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
    """A shell with a toolchain, or one command in it.

    Args:
        command: a line for sh; without one there must be a terminal.

    Returns:
        The exit status of the command, or of the shell.

    Raises:
        UserError: there is no such toolchain, or it is not built.
        InfraError: there is no terminal, or no engine.
    """
    product = share.built(name, runtime)
    here = Path.cwd()
    if not command and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InfraError("a shell needs a terminal", "give a command with -c, or after --")
    made, _packages = surroundings.of_toolchain(specs.spec(name), runtime)
    mounts = [Mount(product.path, toolchains.INSIDE), Mount(here, WORK, writable=True)]
    with runtime.open_session(image=made, mounts=mounts) as session:
        env = environment(session, product.path, name)
        if not command:
            return foreground(session, ["bash", "--norc"], env, WORK)
        ended = session.run(["sh", "-c", command], cwd=here, env=env, on_line=lambda line: print(line, flush=True))
    return ended.code if ended.code >= 0 else 128 - ended.code


def environment(session: Session, root: Path, name: str) -> dict[str, str]:
    """What a shell needs to find the toolchain: PATH, and LLVM=1 for a kernel's make."""
    usual = os.environ.get("PATH", _PATH) if session.name == "host" else _PATH
    return {"PATH": f"{session.path(root / 'bin')}:{usual}", "LLVM": "1", "PS1": f"({name}) \\w $ "}
