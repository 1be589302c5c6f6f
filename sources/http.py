"""Ask servers over http and https: the only place that opens a connection for content.

Takes an address and limits. Gives the status, the headers and the bytes of the answer, in pieces. A server is not
trusted: it must begin to answer in time, keep a least rate, send no more than allowed, and not send us elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 10.0
STALL_SECONDS = 60.0
# The headers must be there after this time, whatever trickles in.
_HEADER_SECONDS = 120.0
# After a first while, a server must send so many bytes a second on average, else it would hold a lock for ever.
_PATIENCE_SECONDS = 60.0
_LEAST_RATE = 1024
_MOST_REDIRECTS = 5
_PIECE = 1 << 20
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "kcov-dataflow-kit"}


@dataclass(frozen=True)
class Answer:
    """The beginning of an answer; `pieces` yields its content.

    Attributes:
        length: bytes that the server announces; 0 if it announces none.
    """

    status: int
    headers: Mapping[str, str]
    length: int
    _raw: Any
    _url: str

    def pieces(self, most: int) -> Iterator[bytes]:
        """Yield the content.

        Args:
            most: bytes that the content may have.

        Raises:
            TooMuch: the server sends more.
            urllib3.exceptions.HTTPError: the connection broke, or the server is too slow.
        """
        import urllib3

        started, total = time.monotonic(), 0
        while piece := self._raw.read1(_PIECE, decode_content=False):
            total += len(piece)
            if total > most:
                raise TooMuch(most)
            yield piece
            spent = time.monotonic() - started
            if spent > _PATIENCE_SECONDS and total < _LEAST_RATE * spent:
                raise urllib3.exceptions.ReadTimeoutError(self._raw, self._url, "TooSlow")


class TooMuch(Exception):  # noqa: N818  (it names what happened)
    """A server sends more than it may; the argument is the limit in bytes."""


@contextlib.contextmanager
def get(url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
    """Ask for an address.

    Raises:
        requests.RequestException: it cannot be reached, does not answer in time, or sends us elsewhere too often.
    """
    import requests

    session = requests.Session()
    session.max_redirects = _MOST_REDIRECTS
    box: list[Any] = []

    def ask() -> None:
        try:
            times = (CONNECT_SECONDS, STALL_SECONDS)
            box.append(session.get(url, headers={**HEADERS, **(headers or {})}, stream=True, timeout=times))
        except Exception as error:
            box.append(error)

    # A server may send its headers a byte at a time, which no timeout of a socket ends.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_HEADER_SECONDS)
    if not box:
        raise requests.ReadTimeout(f"no headers within {_HEADER_SECONDS:g} s")
    if isinstance(box[0], BaseException):
        raise box[0]
    with box[0] as answer, session:
        length = answer.headers.get("Content-Length", "")
        known = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
        yield Answer(answer.status_code, answer.headers, known, answer.raw, url)


def put(url: str, body: Any) -> int:
    """Write a file to a server and return its status.

    Args:
        body: bytes, or an open file.

    Raises:
        requests.RequestException: the server cannot be reached.
    """
    import requests

    times = (CONNECT_SECONDS, STALL_SECONDS)
    return int(requests.put(url, data=body, timeout=times, allow_redirects=False).status_code)


def read(source: Path | bytes) -> contextlib.AbstractContextManager[Any]:
    """Open what is to be written to a server."""
    return source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source)
