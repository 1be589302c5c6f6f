"""List the borders: the functions that read what others wrote.

Each takes bytes and may raise one kind of error, KitError. The examples to start from are in tests/golden and in the
project's own files.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import KitError, UserError, nearest

ROOT = Path(__file__).parent.parent
# An example is cut at this size, so that a mutation reaches all of it.
_EXAMPLE_BYTES = 64 << 10


@dataclass(frozen=True)
class Border:
    """One border.

    Attributes:
        read: reads bytes; returns nothing that is looked at.
        examples: patterns of files below the project's folder.
        words: texts that its format gives a meaning to.
    """

    name: str
    read: Callable[[bytes], object]
    examples: tuple[str, ...]
    words: tuple[bytes, ...] = ()

    def corpus(self) -> list[bytes]:
        """Return the examples, in the order of their names; never empty."""
        files = sorted({path for pattern in self.examples for path in ROOT.glob(pattern) if path.is_file()})
        return [path.read_bytes()[:_EXAMPLE_BYTES] for path in files] or [b""]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _console(data: bytes) -> object:
    from guest import splats

    return splats.scan(data)


def _build_log(data: bytes) -> object:
    from core import diagnostics

    return diagnostics.read(_text(data).split("\n")).cause


def _ktap(data: bytes) -> object:
    from guest import ktap

    return ktap.parse(_text(data).split("\n"))


def _channel(data: bytes) -> object:
    from cells import suites
    from guest import channel

    sent = channel.parse(data)
    return [suites.of_program(ran.name, ran) for ran in sent.ran]


def _fragment(data: bytes) -> object:
    from kconfig import fragment

    return fragment.parse_fragment(_text(data), "fragment")


def _yaml(data: bytes) -> object:
    from core import data as data_files

    return data_files.parse_yaml(_text(data), Path("file.yaml"))


def _mail(data: bytes) -> object:
    from patches import mail, mbox

    return [mail.body(message) for message in mbox.split(data, "mail") if not message.problem]


def _patch(data: bytes) -> object:
    from patches import hostile

    return hostile.check(hostile.decode(data, "patch"), "patch")


def _tar(data: bytes) -> object:
    from sources import tar

    reader = tar.Reader(io.BytesIO(data), 1 << 24)
    try:
        return [sum(map(len, reader.content())) for _member in reader.members()]
    except tar.Refused:
        return None


def _in_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    """Return a reader of bytes for a function that takes a file of this name."""

    def border(data: bytes) -> object:
        with tempfile.TemporaryDirectory(prefix="kdf-fuzz-") as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return border


def _archive(path: Path) -> object:
    from sources import unpack

    unpack.unpack(path, path.with_name("out"))
    return None


def _product(path: Path) -> object:
    from sources import archive

    return archive.read_index(path)


def _result(path: Path) -> object:
    from report import history

    run = history.read(path.parent)
    return run.outcomes(), run.key(), run.whole()


def _rules(path: Path) -> object:
    from guest import allow

    return allow.read([], str(path))


def _records(data: bytes) -> object:
    import numpy as np

    from dataflow import decoding

    return decoding.decode(np.frombuffer(data[: len(data) // 8 * 8], dtype="<u8"), "kit-1", whole=False)


_FIELD = "tests/golden/field"
BORDERS: Mapping[str, Border] = {
    border.name: border
    for border in (
        Border(
            "console", _console, ("tests/golden/console/*.log", f"{_FIELD}/console/*"),
            (b"BUG: KASAN: ", b"Call Trace:\n", b" foo+0x1/0x2\n", b"[    1.0] ", b"---[ end trace", b"WARNING: "),
        ),
        Border("build-log", _build_log, (f"{_FIELD}/builds/*",), (b": error: ", b"make: *** ", b" --> a.rs:1:2\n")),
        Border(
            "ktap", _ktap, (f"{_FIELD}/ktap/*", "tests/golden/kunit/*"),
            (b"ok 1 ", b"not ok 2 ", b"1..3\n", b"# Subtest: ", b"TAP version 13\n", b"    ", b"# "),
        ),
        Border("channel", _channel, (f"{_FIELD}/channel/*",), (b"KDFFRAME", b"capacity=", b"\0" * 8, b"\x08\0\0\0")),
        Border(
            "fragment", _fragment, ("kconfig/fragments/*.config",),
            (b"CONFIG_", b"=y\n", b"# ", b" is not set\n", b"["),
        ),
        Border("yaml", _yaml, ("ci/*.yaml", "patches/series.yaml"), (b"&a ", b"*a", b"<<: ", b"!!python/", b"{", b"[")),
        Border(
            "mail", _mail, (f"{_FIELD}/mail/*", "patches/linux/*.patch"),
            (b"From ", b"Subject: ", b"=?utf-8?q?", b"Content-Type: multipart/mixed; boundary=x\n", b"--x\n", b"\n\n"),
        ),
        Border(
            "patch", _patch, ("patches/*/*.patch",),
            (b"@@ -1,2 +1,2 @@\n", b"--- a/", b"+++ b/", b"diff --git ", b"rename to "),
        ),
        Border("tar", _tar, (f"{_FIELD}/archive/*.tar",), (b"ustar\x0000", b"ustar  \0", b"\0" * 512, b"7777777")),
        Border("archive", _in_file(_archive, "a.tar.gz"), (f"{_FIELD}/archive/*",), (b"\x1f\x8b\x08", b"!<arch>\n")),
        Border("product", _in_file(_product, "a.tar.zst"), (), (b"\x28\xb5\x2f\xfd",)),
        Border(
            "result", _in_file(_result, "result.json"), ("docs/result.schema.json",),
            (b'{"format": 3, "status": "passed"}', b'"checks": []', b"[" * 50, b"1e999", b"null"),
        ),
        Border("rules", _in_file(_rules, "rules"), (), (b"warning: x # y\n", b"(a", b"[", b"{9}", b" # ")),
        Border("records", _records, (f"{_FIELD}/channel/*",), (b"\0\0\0\0\x03\0\0\xe0", b"\x10" + b"\0" * 7)),
    )
}  # fmt: skip


def choose(names: list[str]) -> Iterator[Border]:
    """Yield the borders of some names; all if there is none.

    Raises:
        UserError: there is no such border.
    """
    for name in names or list(BORDERS):
        if name not in BORDERS:
            raise UserError(f"there is no border {name}{nearest(name, BORDERS)}")
        yield BORDERS[name]


def fails(border: Border, data: bytes) -> BaseException | None:
    """Return the error by which a border breaks its promise on some input; None if it keeps it."""
    try:
        border.read(data)
    except KitError:
        return None
    except Exception as error:
        return error
    return None
