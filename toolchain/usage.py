"""Add up the time and memory of a build's commands, over all its calls.

Takes a file to which GNU time appends a line after each command. Gives sums. A call that was killed does not write a
line, so its time is not included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.runtime import Session


def command(session: Session, file: Path) -> list[str]:
    """Return the words to put before a command line, to write its time and memory to a file (time(1))."""
    return ["time", "-q", "-a", "-f", "%e %U %S %M", "-o", session.path(file)]


def read(file: Path) -> dict[str, Any]:
    """Read the file of a build and add up its lines.

    Returns:
        `runs` that ended by themselves, their time (`wall_seconds`, `cpu_seconds`), the time of the last run alone
        (`last_...`), and `largest_process` in bytes.
    """
    spent = [[float(word) for word in line.split()] for line in file.read_text().splitlines() if line[:1].isdigit()]
    return {
        "runs": len(spent),
        "wall_seconds": round(sum(row[0] for row in spent), 1),
        "cpu_seconds": round(sum(row[1] + row[2] for row in spent), 1),
        "last_cpu_seconds": round(spent[-1][1] + spent[-1][2], 1) if spent else 0.0,
        "last_wall_seconds": round(spent[-1][0], 1) if spent else 0.0,
        "largest_process": int(max((row[3] for row in spent), default=0)) * 1024,
    }
