"""Selftests: what a target's own Makefile lacks is the target's matter, what a kernel needs is the machine's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import InfraError, KitError, UnderTest
from core.process import Finished
from kernel import selftests


@pytest.mark.parametrize(
    ("own", "tail", "kind"),
    [
        (True, ("/bin/sh: 1: pkg-config: not found", "make: *** Error 1"), UnderTest),
        (False, ("/bin/sh: 1: bc: not found", "make: *** Error 1"), InfraError),
        (True, ("/bin/sh: 1: pkg-config: not found", "write: No space left on device"), InfraError),
        (True, ("x.c: error: no header",), UnderTest),
    ],
)
def test_a_step_that_failed(tmp_path: Path, own: bool, tail: tuple[str, ...], kind: type[KitError]) -> None:
    done = Finished(("make",), 2, tail, 1.0)
    place: Any = SimpleNamespace(env={}, session=SimpleNamespace(run=lambda *_args, **_named: done))
    with pytest.raises(KitError) as raised:
        selftests._step(place, tmp_path / "log", ["make"], "compiling the selftests alsa", own=own)
    assert type(raised.value) in (kind, *kind.__subclasses__())
