"""QMP against a QEMU that answers, refuses, talks nonsense, is silent, or is not there."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from guest import qmp

GREETING = {"QMP": {"version": {}, "capabilities": []}}


class FakeQemu:
    """What QEMU does on its side of the socket.

    Attributes:
        asked: the commands that came.
    """

    def __init__(self, folder: Path, *, memory: bytes | None = b"makedumpfile", says: bytes = b"") -> None:
        self.folder, self.memory, self.says = folder, memory, says
        self.asked: list[str] = []
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        self.server.bind(str(self.folder / qmp.SOCKET))
        self.server.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self.server.accept()
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rwb") as stream:
            stream.write(self.says or json.dumps(GREETING).encode() + b"\n")
            stream.flush()
            for line in stream:
                told = json.loads(line)
                self.asked.append(told["execute"])
                answer: dict[str, object] = {"return": {}}
                if told["execute"] == "dump-guest-memory":
                    assert told["arguments"]["protocol"] == f"file:/inside/{qmp.DUMP}"
                    if self.memory is None:
                        answer = {"error": {"class": "GenericError", "desc": "this QEMU knows no zlib"}}
                    else:
                        (self.folder / qmp.DUMP).write_bytes(self.memory)
                stream.write(b'{"event": "STOP"}\n' + json.dumps(answer).encode() + b"\n")
                stream.flush()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "run"
    place.mkdir()
    yield place


def watch(folder: Path, qemu: FakeQemu | None) -> qmp.Ending:
    with qmp.watching(folder, 0.05, "/inside", 1) as ending:
        if qemu:
            qemu.start()
        ending.out_of_time.wait(10)
        time.sleep(0.05)
    return ending


def test_memory_is_kept_and_qemu_told_to_quit(folder: Path) -> None:
    qemu = FakeQemu(folder)
    ending = watch(folder, qemu)
    assert qemu.asked == ["qmp_capabilities", "dump-guest-memory", "quit"]
    assert ending.dump == folder / qmp.DUMP and ending.note == ""
    assert not (folder / qmp.SOCKET).exists()


def test_what_is_too_large_goes_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "limits", lambda: qmp.Limits(5, 0, 0))
    ending = watch(folder, FakeQemu(folder))
    assert ending.dump is None and not (folder / qmp.DUMP).exists()
    assert "more than 0 MB" in ending.note


def test_without_room_none_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "limits", lambda: qmp.Limits(5, 500, 1 << 40))
    qemu = FakeQemu(folder)
    ending = watch(folder, qemu)
    assert qemu.asked == ["qmp_capabilities", "quit"]
    assert ending.dump is None and "no room" in ending.note


def test_a_refusal_is_told_and_qemu_still_ends(folder: Path) -> None:
    qemu = FakeQemu(folder, memory=None)
    ending = watch(folder, qemu)
    assert qemu.asked[-1] == "quit"
    assert ending.dump is None and "this QEMU knows no zlib" in ending.note


@pytest.mark.parametrize("says", [b"no json\n", b"[]\n", b'{"QMP2": 1}\n', b"\xff\xfe\n", b"x" * (1 << 12) + b"xx\n"])
def test_nonsense_is_told(folder: Path, says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "_LINE_BYTES", 1 << 12)
    (folder / "other").write_bytes(b"")
    ending = watch(folder, FakeQemu(folder, says=says))
    assert ending.dump is None and ending.note.startswith("QEMU kept no memory of the guest")


def test_one_that_is_not_there_is_told(folder: Path) -> None:
    ending = watch(folder, None)
    assert ending.dump is None and "No such file" in ending.note
    qmp.end(folder)


def test_one_that_ends_in_time_is_left_alone(folder: Path) -> None:
    (folder / qmp.DUMP).write_bytes(b"of an earlier run")
    with qmp.watching(folder, 600, "/inside", 1) as ending:
        pass
    assert not ending.out_of_time.is_set() and ending.dump is None and ending.note == ""


def test_limits_are_data(tmp_path: Path) -> None:
    assert qmp.limits().largest_mb > 0
    wrong = tmp_path / "dump.yaml"
    wrong.write_text("seconds: 1\nlargest_mb: 2\nfree: 3\n")
    with pytest.raises(UserError, match="free"):
        qmp.limits(wrong)


def test_a_path_that_no_socket_has_is_none() -> None:
    assert qmp.fits("/kdf/run/qmp.sock") and not qmp.fits("/" + "x" * 120)
