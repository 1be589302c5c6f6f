"""Mails of kinds that lists carry, or that somebody sends on purpose: refused in one sentence, or read harmlessly."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from patches import hostile, mail, mbox, parse

FOLDER = Path(__file__).parent.parent / "golden" / "field" / "mail"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_field(path: Path) -> None:
    try:
        for message in mbox.load(path):
            assert not {"\x1b", "\n", "\r"} & set(message.subject + message.author)
            if not message.problem:
                hostile.check(mail.body(message), path.name) if "diff --git" in mail.body(message) else None
    except UserError as error:
        assert len(error.message) < 400


@pytest.mark.parametrize(
    "header",
    [
        "@@ -1,9999999999999999999 +1 @@", "@@ -" + "9" * 6000 + " +1 @@", "@@ -\u0661 +\u0661 @@", "@@ -1 +1,-3 @@",
    ],
)  # fmt: skip
def test_hunks_with_numbers_that_cannot_be(header: str) -> None:
    text = f"diff --git a/x b/x\n--- a/x\n+++ b/x\n{header}\n-a\n+b\n"
    with pytest.raises(UserError):
        parse.parse(text, "p")


@pytest.mark.parametrize("path", ["n" * 300, "d/" * 200 + "x", "d/" * 3000 + "x", "\u00e9" * 130])
def test_names_that_no_file_system_has(path: str) -> None:
    text = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+b\n"
    with pytest.raises(UserError, match=r"has a name of more than|folders deep|is longer than"):
        hostile.check(text, "p")


HEAD = b"From: a <a@b.c>\nMessage-ID: <a@b>\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Subject: a" + b"\n b" * 5_000_000 + b"\n\nbody",
        HEAD + b"Subject: " + b"=?utf-8?q?a?= " * 1_000_000 + b"\n\nb",
        HEAD + b"Subject: " + b"=?utf-8?q?a?= " * 10_000 + b"\n\nb",
        HEAD + b"References: " + b"<a@b> " * 2_000_000 + b"\n\nb",
        b"X: y\n" * 3_000_000 + HEAD + b"\n\nb",
    ],
    ids=["folded", "encoded", "encoded-short", "references", "many"],
)
def test_headers_that_are_slow_to_read_are_refused(raw: bytes) -> None:
    assert "at most" in mail.read(raw, "m").problem or "more than" in mail.read(raw, "m").problem


def test_parts_within_parts() -> None:
    raw = HEAD + b"Subject: [PATCH] x\n"
    for depth in range(1000):
        raw += b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (depth, depth)
    with pytest.raises(UserError, match="MIME parts that contain others"):
        mail.body(mail.read(raw + b"\nx\n", "m"))
