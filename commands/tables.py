"""Print results: JSON, tables and sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import one_line


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, sort_keys=True, default=str)
    print()


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print rows as a plain table with the given columns; cut nothing, so that programs can read it too."""
    texts = [[one_line(str(row.get(column, ""))) for column in columns] for row in rows]
    widths = [max([len(column), *(len(line[i]) for line in texts)]) for i, column in enumerate(columns)]
    for line in [list(columns), *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def human_size(count: int) -> str:
    """Return a number of bytes as a person reads it, such as `1.5 MB`."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
