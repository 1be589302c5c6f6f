"""Read captures from disk: NAME.words with the words, and NAME.json with their metadata.

Takes the files that `guest.guests.write_captures` wrote, and gives a Capture. Checks the type of each key, and names
the file and the key that are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.arch import ARCHES
from core.errors import UnderTest, UserError
from dataflow import decoding
from dataflow.layouts import layout
from dataflow.records import Code, Records

# KCOV_DF_FLAG_*: the kinds of records that a kernel can write (include/uapi/linux/kcov_dataflow.h of series kit).
FLAG_ARGS, FLAG_RET = 1, 2


@dataclass(frozen=True)
class Capture:
    """One buffer and its metadata.

    Attributes:
        name: workload, and part if there are several.
        layout: of the records; empty if it is not known (`dataflow.identification` finds it).
        capacity: words of the buffer in the guest, word 0 included.
        dropped: number of records that did not fit, from KCOV_DF_INFO; None if the device does not have this call.
        version, flags: the other fields of KCOV_DF_INFO; None likewise.
        plan: the values that were drawn for the workload; facts: what the workload observed.
        stext: run-time address of `_stext`, or None.
        modules: module -> section -> run-time address.
        arch: a name of `core.arch`.
        words: the used part of the buffer, u64.
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
    version: int | None = None
    flags: int | None = None

    def records(self, *, whole: bool = True, code: Code | None = None) -> Records:
        """Return the records in it.

        Args:
            whole: also raise if the sequence has a gap.
            code: what the kernel's code passes; layouts that leak need it (`decoding.decode`).

        Raises:
            UserError: the layout is not known, or needs the code.
            UnderTest: the layout does not allow the words, or the device names another layout.
        """
        form = layout(self.layout)
        if self.version is not None and form.info_version is not None and self.version != form.info_version:
            raise UnderTest(
                f"capture {self.name}: the device has layout version {self.version}, "
                f"but the series has {self.layout}, which is version {form.info_version}",
                "build the kernel again: it was not built from the series that its product names",
            )
        if len(self.words) > self.capacity:
            raise UnderTest(f"capture {self.name}: {len(self.words)} words from a buffer of {self.capacity}")
        try:
            return decoding.decode(self.words, self.layout, whole=whole, code=code)
        except UnderTest as error:
            raise UnderTest(f"capture {self.name}: {error.message}", error.hint) from error


def load(path: Path) -> Capture:
    """Read a capture by the path of its NAME.json or NAME.words.

    Raises:
        UserError: the file does not exist, or its JSON does not describe a capture.
        UnderTest: the size of the words file is not a multiple of 8 bytes, or 0.
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
    if not isinstance(value, dict):
        raise UserError(f"{described} does not describe a capture: it is not a JSON object")
    if len(data) % 8 or not data:
        raise UnderTest(f"{raw} has {len(data)} bytes, which is not a positive multiple of 8")
    read = _Reader(described, value)
    info = read("info", dict, none=True)
    inside = _Reader(described, info or {}, "info.")
    stext = read("stext", str, none=True)
    return Capture(
        name=path.stem,
        layout=read("layout", str, none=True) or "",
        capacity=read("capacity", int),
        dropped=None if info is None else inside("dropped", int),
        version=None if info is None else inside("version", int),
        flags=None if info is None else inside("flags", int),
        plan=_texts(read("plan", dict)),
        facts=_texts(read("facts", dict)),
        stext=read.checked("stext", lambda: int(stext, 16)) if stext else None,
        modules=read.checked("modules", lambda: _modules(read("modules", dict))),
        arch=read.one_of("arch", ARCHES),
        words=np.frombuffer(data, dtype="<u8"),
    )


class _Reader:
    """Typed access to a JSON object; errors name the file and the key."""

    def __init__(self, path: Path, value: Mapping[str, Any], prefix: str = "") -> None:
        self.path, self.value, self.prefix = path, value, prefix

    def _wrong(self, key: str, what: str) -> UserError:
        return UserError(f"{self.path} does not describe a capture: {self.prefix}{key} {what}")

    def __call__(self, key: str, kind: type, *, none: bool = False) -> Any:
        if key not in self.value:
            raise self._wrong(key, "is missing")
        value = self.value[key]
        if value is None and none:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._wrong(key, f"is {json.dumps(value)[:40]}, not {kind.__name__}")
        if isinstance(value, int) and value < 0:
            raise self._wrong(key, f"is {value}")
        return value

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self(key, str)
        if value not in known:
            raise self._wrong(key, f"is {value or 'empty'}, not one of {', '.join(known)}")
        return value

    def checked(self, key: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (ValueError, TypeError, AttributeError) as error:
            raise self._wrong(key, f"cannot be read: {error}") from None


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def _modules(modules: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {name: {s: int(a, 16) for s, a in sections.items()} for name, sections in modules.items()}


def load_all(folder: Path) -> dict[str, Capture]:
    """Return all captures of a run, by name.

    Raises:
        UserError: the folder has no capture.
        UnderTest: the words of a capture are damaged.
    """
    captures = {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
    if not captures:
        raise UserError(f"there is no capture in {folder}")
    return captures
