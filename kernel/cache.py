"""Set up the compiler cache of a build, and count its hits.

Takes the folders of a build and the key of its toolchain. Gives ccache's environment variables, and hits and misses
from its log. The toolchain's key identifies the compiler, because the program that ccache sees is a small wrapper: it
stays the same when the pass that it loads changes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from sources.origins import without_user

# Names a cache that machines share, in addition to their own: a directory or, with the runtime host, an address that
# ccache knows (http://..., redis://...). Containers have no network on purpose, so they need a directory.
VARIABLE = "KDF_CCACHE_REMOTE"
INSIDE = "/kdf/ccache-shared"
_HITS = {"direct_cache_hit", "preprocessed_cache_hit"}
_MISSES = {"cache_miss"}
_REMOTE = {"remote_storage_hit", "secondary_storage_hit"}  # the first since ccache 4.7, the second before


@dataclass(frozen=True)
class CacheUse:
    """What one build got from the cache.

    Attributes:
        hits: number of results taken from the cache.
        misses: number of results compiled and put into the cache.
        remote: how many of the hits came from the shared cache.
    """

    hits: int
    misses: int
    remote: int = 0

    @property
    def rate(self) -> float | None:
        """Return the share of hits, 0 to 1; None if nothing was compiled."""
        total = self.hits + self.misses
        return self.hits / total if total else None


def shared(runtime: str) -> tuple[str, Path | None]:
    """Return the shared cache that `$KDF_CCACHE_REMOTE` names.

    Args:
        runtime: its name, `docker` or `host`.

    Returns:
        The address to give to `environment`, empty if there is no shared cache; and the directory to mount into a
        container, or None.

    Raises:
        UserError: this runtime cannot reach the shared cache.
    """
    address = os.environ.get(VARIABLE, "")
    if not address:
        return "", None
    if re.match(r"(https?|redis(\+unix)?)://", address):
        if runtime == "docker":
            raise UserError(
                f"{VARIABLE} names a server, and containers that compile have no network",
                "name a directory that the machines share, or use --runtime host",
            )
        if "@" in address:
            raise UserError(
                f"{VARIABLE} contains a user name or a password, which logs would show", "use a server without login"
            )
        return address, None
    folder = Path(address.removeprefix("file:"))
    # ccache ends the address at a space or a bar (ccache manual, "remote_storage").
    if not folder.is_absolute() or not folder.is_dir() or re.search(r"[\s|]", address):
        raise UserError(
            f"{VARIABLE}={without_user(address)} is not the absolute path of a directory, without spaces or |",
            "create the directory, or name another",
        )
    return f"file:{INSIDE if runtime == 'docker' else folder}", folder


def environment(folder: str, statistics: str, base: str, identity: str, remote: str = "") -> dict[str, str]:
    """Return the environment variables that ccache reads (ccache manual, "Configuration options").

    Args:
        folder: the cache, as the session sees it.
        statistics: file to which ccache adds a line for each result.
        base: directory below which ccache makes absolute paths relative; empty for none.
        identity: the toolchain's key.
        remote: address of the shared cache, from `shared`; empty for none.
    """
    variables = {
        "CCACHE_DIR": folder,
        "CCACHE_STATSLOG": statistics,
        "CCACHE_COMPILERCHECK": f"string:{identity}",
        "CCACHE_COMPILERTYPE": "clang",
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": "10G",
    }
    if base:
        variables["CCACHE_BASEDIR"] = base
    if remote:
        # With RESHARE, hits of the machine's own cache go into the shared cache, too.
        variables |= {"CCACHE_REMOTE_STORAGE": remote, "CCACHE_RESHARE": "1"}
    return variables


def beside(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for external modules, which are compiled in directories of their own.

    A kernel's objects are always compiled in one directory, so ccache may ignore the directory. All external modules
    compile scripts/module-common.c. If ccache ignored the directory, one module would get the object of another, which
    contains the other's directory.
    """
    return {name: value for name, value in variables.items() if name != "CCACHE_NOHASHDIR"}


def read(statistics: Path) -> CacheUse:
    """Count the results in a statistics log. A build that did not call a compiler has no log."""
    if not statistics.exists():
        return CacheUse(0, 0)
    lines = [line.strip() for line in statistics.read_text(errors="replace").splitlines()]
    hits, misses, remote = (sum(line in words for line in lines) for words in (_HITS, _MISSES, _REMOTE))
    return CacheUse(hits, misses, remote)
