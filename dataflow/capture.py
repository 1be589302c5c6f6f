"""Captures on disk: NAME.words, and NAME.json that says what the words are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UnderTest, UserError
from dataflow import records
from dataflow.records import Records


@dataclass(frozen=True)
class Capture:
    """One buffer, and what is known of it.

    Attributes:
        name: workload, and part if there are several.
        layout: of the records.
        capacity: words of the buffer in the guest.
        dropped: records that did not fit, as the device says; None if it does not say.
        plan: what was drawn for the workload; facts: what the workload saw.
        stext: run-time address of `_stext`, or None.
        modules: module -> section -> run-time address.
        arch: `x86_64` or `arm64`.
    """

    name: str
    layout: str
    capacity: int
    dropped: int | None
    plan: Mapping[str, str]
    facts: Mapping[str, str]
    stext: int | None
    modules: Mapping[str, Mapping[str, int]]
    arch: str
    words: Any

    def records(self) -> Records:
        """The records in it.

        Raises:
            UnderTest: the words are not what the layout allows.
        """
        try:
            return records.decode(self.words, self.layout)
        except UnderTest as error:
            raise UnderTest(f"capture {self.name}: {error.message}", error.hint) from error


def load(path: Path) -> Capture:
    """Read a capture by the path of its NAME.json or NAME.words.

    Raises:
        UserError: it is not there, or its JSON is not what we write.
        UnderTest: its words are not whole.
    """
    import numpy as np

    described, raw = path.with_suffix(".json"), path.with_suffix(".words")
    try:
        value = json.loads(described.read_text())
        data = raw.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no capture {error.filename}") from None
    except ValueError as error:
        raise UserError(f"{described} is not JSON: {error}") from None
    if len(data) % 8:
        raise UnderTest(f"{raw} has {len(data)} bytes, which are no whole words")
    try:
        info = value["info"]
        return Capture(
            name=path.stem,
            layout=str(value["layout"]),
            capacity=int(value["capacity"]),
            dropped=None if info is None else int(info["dropped"]),
            plan={str(k): str(v) for k, v in value["plan"].items()},
            facts={str(k): str(v) for k, v in value["facts"].items()},
            stext=int(value["stext"], 16) if value["stext"] else None,
            modules={m: {s: int(a, 16) for s, a in sections.items()} for m, sections in value["modules"].items()},
            arch=str(value["arch"]),
            words=np.frombuffer(data, dtype="<u8"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{described} does not describe a capture: {type(error).__name__} {error}") from None


def load_all(folder: Path) -> dict[str, Capture]:
    """All captures of a run, by name.

    Raises:
        UserError: there is none.
    """
    found = {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise UserError(f"there is no capture in {folder}")
    return found
