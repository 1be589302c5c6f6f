"""The compiler cache of a build: how ccache is told who the compiler is, and what it then found.

The compiler is identified by the toolchain's key, because the front program that ccache sees says nothing of the pass
behind it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from sources.origins import without_user

# Where machines share results besides their own cache: a directory, or on a host without containers an address that
# ccache knows (http://..., redis://...). Containers have no network on purpose, so theirs is a directory.
VARIABLE = "KDF_CCACHE_REMOTE"
INSIDE = "/kdf/ccache-shared"
_HITS = {"direct_cache_hit", "preprocessed_cache_hit"}
_MISSES = {"cache_miss"}
_REMOTE = {"remote_storage_hit", "secondary_storage_hit"}  # since ccache 4.7, and before


@dataclass(frozen=True)
class CacheUse:
    """What one build got from the cache.

    Attributes:
        hits: results taken from it.
        misses: results compiled and put into it.
        remote: how many of the hits came out of what machines share.
    """

    hits: int
    misses: int
    remote: int = 0

    @property
    def rate(self) -> float | None:
        """Share of hits, 0 to 1; None if nothing was compiled."""
        total = self.hits + self.misses
        return self.hits / total if total else None


def shared(runtime: str) -> tuple[str, Path | None]:
    """What machines share besides their own cache, by `$KDF_CCACHE_REMOTE`.

    Args:
        runtime: the name of it, `docker` or `host`.

    Returns:
        What `environment` is told of it, empty without one; and the directory that a container must see, or None.

    Raises:
        UserError: it is none that this runtime reaches.
    """
    named = os.environ.get(VARIABLE, "")
    if not named:
        return "", None
    if re.match(r"(https?|redis(\+unix)?)://", named):
        if runtime == "docker":
            raise UserError(
                f"{VARIABLE} names a server, and containers that compile have no network",
                "name a directory that the machines share, or say --runtime host",
            )
        if "@" in named:
            raise UserError(f"{VARIABLE} holds a name or a password, and logs show it", "let the server ask for none")
        return named, None
    folder = Path(named.removeprefix("file:"))
    # A space or a bar would end the address (ccache manual, "remote_storage").
    if not folder.is_absolute() or not folder.is_dir() or re.search(r"[\s|]", named):
        raise UserError(
            f"{VARIABLE}={without_user(named)} is no directory by its whole path, without spaces",
            "make it, or name another",
        )
    return f"file:{INSIDE if runtime == 'docker' else folder}", folder


def environment(folder: str, statistics: str, base: str, identity: str, remote: str = "") -> dict[str, str]:
    """The variables that ccache reads (ccache manual, "Configuration options").

    Args:
        folder: the cache, as the session sees it.
        statistics: file that gets a line for each result.
        base: directory below which absolute paths do not count, or empty.
        identity: the toolchain's key.
        remote: what machines share, as `shared` said it.
    """
    found = {
        "CCACHE_DIR": folder,
        "CCACHE_STATSLOG": statistics,
        "CCACHE_COMPILERCHECK": f"string:{identity}",
        "CCACHE_COMPILERTYPE": "clang",
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": "10G",
    }
    if base:
        found["CCACHE_BASEDIR"] = base
    if remote:
        # A machine whose own cache is warm fills what machines share, too.
        found |= {"CCACHE_REMOTE_STORAGE": remote, "CCACHE_RESHARE": "1"}
    return found


def beside(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables for what is compiled beside a kernel, in directories of its own.

    A kernel's objects are always compiled in one directory, so the directory need not count. But an object that all
    external modules have (scripts/module-common.c) would come out of the cache with the directory of another one in it.
    """
    return {name: value for name, value in variables.items() if name != "CCACHE_NOHASHDIR"}


def read(statistics: Path) -> CacheUse:
    """Count the results in a statistics log; a build that called no compiler has none."""
    if not statistics.exists():
        return CacheUse(0, 0)
    lines = [line.strip() for line in statistics.read_text(errors="replace").splitlines()]
    hits, misses, remote = (sum(line in words for line in lines) for words in (_HITS, _MISSES, _REMOTE))
    return CacheUse(hits, misses, remote)
