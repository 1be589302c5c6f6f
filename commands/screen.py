"""Let nothing that others wrote act on a terminal or on a CI system.

Takes all text that goes to standard output. A guest, a mail or a file name may have put escapes into it, or a line
that a CI system takes for a command. Values are put on one line where they enter a text (`core.errors.one_line`); this
is the last net behind that.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

from core.errors import printable

# Lines that GitHub, Azure and GitLab read as commands; white space before them does not help.
_COMMAND = re.compile(r"^(\s*)(?=::|##\[|##vso\[|section_(?:start|end):)")


class Screen:
    """A text stream that makes what is written harmless, and passes everything else on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begins = True

    def write(self, text: str) -> int:
        """Write a text without characters that control a terminal, and no line as a command of a CI system."""
        for line in printable(text).splitlines(keepends=True):
            self._stream.write(_COMMAND.sub(r"\1| ", line) if self._begins else line)
            self._begins = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """Put the net behind standard output; do nothing if it is there, or if there is no output."""
    if sys.stdout is not None and not isinstance(sys.stdout, Screen):
        sys.stdout = Screen(sys.stdout)
