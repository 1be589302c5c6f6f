"""invoke guest.*: boot kernels."""

from __future__ import annotations

from typing import Any

from core.program import command


@command
def todo(_c: Any) -> None:
    """placeholder"""
