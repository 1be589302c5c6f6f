"""Read conditions of fragments and symbols: the architectures and kernel versions for which they are requested.

A condition is a list of words separated by commas: names of `core.arch` such as `arm64`, and comparisons of the version
such as `>=7.2`. One of the architectures must match, and all of the comparisons must hold.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from core.arch import ARCHES
from core.errors import UserError, nearest

_COMPARISONS: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(r"(>=|<=|==|!=|>|<)\s*(\S+)")
# 7.1.8, 7.2-rc3, 7.2.0-rc3-next-20260603, 6.12.107-0-amd64
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-rc(\d+))?(?![\d.])")
_RELEASED = 1 << 16  # a release is newer than all its candidates


def version_key(version: str) -> tuple[int, ...]:
    """Return a kernel version as a tuple that compares: `7.2-rc3` < `7.2` < `7.2.8`.

    Raises:
        UserError: the text does not begin with a kernel version.
    """
    match = _VERSION.match(version)
    if match is None:
        raise UserError(f"{version} is not a kernel version such as 7.1.8 or 7.2-rc3")
    major, minor, patch, candidate = match.groups()
    return (int(major), int(minor), int(patch or 0), int(candidate) if candidate else _RELEASED)


@dataclass(frozen=True)
class Condition:
    """The architectures and versions for which something is requested.

    Attributes:
        arches: one of these must match; empty for all.
        versions: (comparison, version) pairs that must all hold.
    """

    arches: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()

    def holds(self, arch: str, version: str) -> bool:
        """Return whether it holds for an architecture and a kernel version."""
        if self.arches and arch not in self.arches:
            return False
        return not self.versions or all(
            _COMPARISONS[how](version_key(version), version_key(limit)) for how, limit in self.versions
        )

    def __str__(self) -> str:
        return ", ".join([*self.arches, *(f"{how}{limit}" for how, limit in self.versions)])


ALWAYS = Condition()


def is_condition(text: str) -> bool:
    """Check whether a text in brackets is meant as a condition: `[1]` and `[see README]` are not."""
    words = [word.strip() for word in text.split(",")]
    return any(
        word[:1] in ("<", ">", "=", "!") or word in ARCHES or difflib.get_close_matches(word, ARCHES, 1, 0.6)
        for word in words
    )


def parse(text: str, where: str) -> Condition:
    """Read a condition.

    Args:
        text: words separated by commas, such as `x86_64, >=7.2`.
        where: file and line, for the error.

    Raises:
        UserError: a word is neither an architecture nor a comparison.
    """
    arches: list[str] = []
    versions: list[tuple[str, str]] = []
    for word in (part.strip() for part in text.split(",")):
        match = _COMPARISON.fullmatch(word)
        if match:
            try:
                version_key(match[2])
            except UserError as error:
                raise UserError(f"{where}: {error.message}") from None
            versions.append((match[1], match[2]))
        elif word in ARCHES:
            arches.append(word)
        else:
            raise UserError(
                f"{where}: {word or 'an empty word'} is neither an architecture nor a comparison like >=7.2"
                f"{nearest(word, ARCHES)}"
            )
    return Condition(tuple(arches), tuple(versions))
