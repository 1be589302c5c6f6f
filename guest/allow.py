"""Let known splats pass, each by a rule with a reason.

Takes rules of a user: a regular expression and why it may match. Gives the rule that allows a splat. Looks only at kind
and title. A panic, or a guest that went silent, is never allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import outside
from core.errors import UserError
from guest.splats import Kind, Splat

# Characters of kind and title that are looked at, and of a pattern: what a user's pattern can cost is bounded by both.
_LETTERS = 500
_MOST_RULES = 1000
_NESTED = re.compile(r"\([^()]{0,200}[*+}][^()]{0,200}\)[*+{]")


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        pattern: searched in `KIND: TITLE`, such as `warning: WARNING in foo_bar`.
        reason: why the splat is no failure.
    """

    pattern: str
    reason: str

    def matches(self, splat: Splat) -> bool:
        """Check whether a splat is allowed; a panic never is."""
        if splat.kind is Kind.PANIC:
            return False
        return re.search(self.pattern, f"{splat.kind}: {splat.title}"[:_LETTERS]) is not None


def read(rules: Sequence[str], file: str = "") -> tuple[Rule, ...]:
    """Read the rules of a command line.

    Args:
        rules: each `REGEXP # REASON`.
        file: a file with one in each line; empty lines and lines that begin with # are comments. Empty for none.

    Raises:
        UserError: a rule has no reason, is no regular expression, or matches anything; or the file cannot be read.
    """
    made = [_rule(text, "--allow") for text in rules]
    if file:
        made += _of_file(outside.path(file), file)
    if len(made) > _MOST_RULES:
        raise UserError(f"{len(made)} rules allow splats, at most {_MOST_RULES}", "allow less, or mend the kernel")
    return tuple(made)


def _of_file(path: Path, shown: str) -> Iterable[Rule]:
    try:
        text = path.read_bytes()[: 1 << 20].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(
            f"--allow-file {outside.shortened(shown, 80)} cannot be read: {reason}", "name another file"
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _rule(line.strip(), f"{outside.shortened(shown, 80)}:{number}")


def _rule(text: str, where: str) -> Rule:
    pattern, mark, reason = text.rpartition(" # ")
    pattern, reason = pattern.strip(), reason.strip()
    shown = outside.shortened(text, 60)
    if not mark or not reason or not pattern:
        raise UserError(f"{where}: {shown} has no reason", "write 'REGEXP # REASON'")
    if len(pattern) > _LETTERS or _NESTED.search(pattern):
        raise UserError(
            f"{where}: {shown} would take too long to match", "repeat no group that repeats something itself"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{where}: {shown} is not a regular expression: {error}", "see Python's re") from None
    if compiled.search(""):
        raise UserError(f"{where}: {shown} matches an empty text, so it would allow anything", "name what is allowed")
    return Rule(pattern, reason)


def sort(splats: Iterable[Splat], rules: Sequence[Rule]) -> tuple[tuple[Splat, ...], dict[Rule, list[Splat]]]:
    """Return the splats that no rule allows, and rule -> the splats that it allows, in the order of the rules."""
    left: list[Splat] = []
    allowed: dict[Rule, list[Splat]] = {rule: [] for rule in rules}
    for splat in splats:
        rule = next((rule for rule in rules if rule.matches(splat)), None)
        if rule is None:
            left.append(splat)
        else:
            allowed[rule].append(splat)
    return tuple(left), allowed
