"""The compiler cache of a build: how ccache is told who the compiler is, and what it then found.

The compiler is identified by the toolchain's key, because the front program that ccache sees says nothing of the pass
behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_HITS = {"direct_cache_hit", "preprocessed_cache_hit"}
_MISSES = {"cache_miss"}


@dataclass(frozen=True)
class CacheUse:
    """What one build got from the cache.

    Attributes:
        hits: results taken from it.
        misses: results compiled and put into it.
    """

    hits: int
    misses: int

    @property
    def rate(self) -> float | None:
        """Share of hits, 0 to 1; None if nothing was compiled."""
        total = self.hits + self.misses
        return self.hits / total if total else None


def environment(folder: str, statistics: str, base: str, identity: str) -> dict[str, str]:
    """The variables that ccache reads (ccache manual, "Configuration options").

    Args:
        folder: the cache, as the session sees it.
        statistics: file that gets a line for each result.
        base: directory below which absolute paths do not count, or empty.
        identity: the toolchain's key.
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
    return found


def read(statistics: Path) -> CacheUse:
    """Count the results in a statistics log; a build that called no compiler has none."""
    if not statistics.exists():
        return CacheUse(0, 0)
    lines = [line.strip() for line in statistics.read_text(errors="replace").splitlines()]
    return CacheUse(sum(line in _HITS for line in lines), sum(line in _MISSES for line in lines))
