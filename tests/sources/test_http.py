"""Servers that are slow, endless or send us elsewhere."""

from __future__ import annotations

import http.server
import time

import pytest
import requests
import urllib3

from sources import http as client
from sources import origins
from tests.served import serving


class Trickle(http.server.BaseHTTPRequestHandler):
    """Sends a byte now and then, as long as anybody reads."""

    def log_message(self, *_words: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"x" * (100_000 if self.path == "/endless" else 1))
                if self.path == "/slow":
                    time.sleep(0.02)
        except OSError:
            pass


def test_a_server_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE_SECONDS", 0.2)
    slow = pytest.raises(urllib3.exceptions.ReadTimeoutError, match="TooSlow")
    with serving(Trickle) as place, client.get(f"{place}/slow") as answer, slow:
        list(answer.pieces(1 << 20))
    with serving(Trickle) as place, pytest.raises(origins.OriginFailed, match="less than 1 KB a second"):
        origins.fetch_bytes(f"{place}/slow", 1000)


def test_a_server_that_sends_too_much() -> None:
    with serving(Trickle) as place, pytest.raises(origins.OriginFailed, match="sends more than 1000 bytes"):
        origins.fetch_bytes(f"{place}/endless", 1000)


def test_a_server_that_sends_us_elsewhere() -> None:
    with serving(Trickle) as place:
        with pytest.raises(requests.TooManyRedirects), client.get(f"{place}/loop"):
            pass
        with pytest.raises(origins.OriginFailed, match="is not an http address"):
            origins.fetch_bytes(f"{place}/file", 1000)
