"""Usage: what the commands of a build took, over all the calls that it was interrupted in.

What comes in is a file that GNU time appends a line to after each command; what goes out are sums. A call that was
killed leaves no line: what it took is not known, and not guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.runtime import Session


def command(session: Session, file: Path) -> list[str]:
    """What to put before a command line, so that what it takes is written down (time(1))."""
    return ["time", "-q", "-a", "-f", "%e %U %S %M", "-o", session.path(file)]


def read(file: Path) -> dict[str, Any]:
    """What was written down.

    Returns:
        `runs` that came to their end, what they took (`wall_seconds`, `cpu_seconds`), the same of the last one alone
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
