"""Write patches in one form: that of `git format-patch --zero-commit --no-numbered --no-signature`.

Takes author, date, subject and text of a mail, and gives the text of a patch file. The same patch from an mbox, a
directory or a branch gives the same bytes, so its hash identifies it. Never keeps text after the last hunk.
"""

from __future__ import annotations

import re
from email.header import Header

from core.errors import UserError
from patches import hostile, mail, mbox
from patches.mail import Mail

ENVELOPE = "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
_WIDTH = 78  # git's own limit for a line of the subject
_NAME = 57  # git's own limit for the name of a patch file, without .patch
_IN_BODY = re.compile(r"(From|Date|Subject): (.+)")
_MIME = (
    "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"  # as git writes it
)


def file_name(number: int, title: str) -> str:
    """Return the file name that git format-patch gives a patch."""
    words = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9._]+", "-", title)).lstrip("-").rstrip(".-")
    return f"{number:04}-{words}"[:_NAME] + ".patch"


def normal(message: Mail, title: str) -> tuple[str, str]:
    """Return title and file text of a patch that came as a mail.

    Args:
        title: subject of the mail, without brackets.

    Raises:
        UserError: the body cannot be read, has no diff or a malformed one, or could be taken for two mails.
    """
    text = mail.body(message).lstrip("\n")
    inner, text = _headers_in_text(text)
    author, date = inner.get("From", message.author), inner.get("Date", message.date)
    title = inner.get("Subject", title).removeprefix("[PATCH] ")
    if not mail.is_author(author):
        raise UserError(f"{message.where}: it has no author: expected From: Name <address>, got {author[:60]!a}")
    if not date:
        raise UserError(f"{message.where}: it has no Date")
    if not title:
        raise UserError(f"{message.where}: it has no subject after its brackets")
    for line in (author, date, title):
        if not line.isprintable():
            raise UserError(f"{message.where}: a header in its text contains a control character: {line[:60]!a}")
    for number, raw in enumerate(text.encode("utf-8", "surrogateescape").split(b"\n"), 1):
        if mbox.ENVELOPE.fullmatch(raw.rstrip(b"\r")):
            raise UserError(f"{message.where}: line {number} of its text looks like the start of another mail")
    return title, render(author, date, title, _trimmed(text, message.where))


def _headers_in_text(text: str) -> tuple[dict[str, str], str]:
    """Split the headers at the start of the text from the rest; they name the author if somebody else sent the mail."""
    lines = text.split("\n")
    headers: dict[str, str] = {}
    for number, line in enumerate(lines):
        if not line and headers:
            return headers, "\n".join(lines[number:]).lstrip("\n")
        header = _IN_BODY.fullmatch(line)
        if header is None or header[1] in headers:
            break
        headers[header[1]] = header[2].strip()
    return {}, text


def _trimmed(text: str, where: str) -> str:
    """Return the text up to its last hunk, without signatures and footers of lists.

    Raises:
        UserError: the diff is malformed or hostile, or its line ends are mixed.
    """
    changes = hostile.check(text, where)
    lines = text.split("\n")[: changes[-1].end - 1]
    inside = {number for change in changes for hunk in change.hunks for number in range(hunk.at + 1, hunk.end)}
    for number, line in enumerate(lines, 1):
        # Inside a hunk a CR may belong to the file; outside it is a sign of damage.
        if line.endswith("\r") and number not in inside:
            raise UserError(f"{where}: line {number} of its text ends in CR LF, others do not", mail.RESEND)
    return "\n".join(lines) + "\n"


def render(author: str, date: str, title: str, text: str, prefix: str = "PATCH") -> str:
    """Return the text of a patch file.

    Args:
        author: `Name <address>`.
        text: message and diff.
        prefix: text in brackets before the title.
    """
    mime = "" if text.isascii() else _MIME
    return f"{ENVELOPE}From: {_author(author)}\nDate: {date}\n{_subject(prefix, title)}{mime}\n{text}"


def _author(author: str) -> str:
    if author.isascii():
        return author
    name, _, address = author.rpartition(" <")
    return f"{Header(name.strip(), 'utf-8', maxlinelen=10_000).encode()} <{address}"


def _subject(prefix: str, title: str) -> str:
    """Return the subject line, folded where git folds it."""
    head = f"Subject: [{prefix}]"
    if not title.isascii():
        return f"{head} {Header(title, 'utf-8', maxlinelen=_WIDTH, header_name=head).encode()}\n"
    lines = [head]
    for word in title.split(" "):
        if len(lines[-1]) + 1 + len(word) > _WIDTH and lines[-1] != head:
            lines.append("")
        lines[-1] += f" {word}"
    return "\n".join(lines) + "\n"
