"""Frames that the agent in a guest sends, as bytes."""

from __future__ import annotations

import struct


def frame(kind: int, workload: int, payload: bytes) -> bytes:
    """Pack one frame, with the head that guest.channel reads."""
    return struct.pack("<8sIIQ", b"KDFFRAME", kind, workload, len(payload)) + payload
