"""Decode one mail: its headers, and its body as the text that its author wrote.

Takes the bytes of a mail, which may be hostile. Gives a `Mail`, and its body on request. Reads transfer encodings,
charsets, CRLF, format=flowed and MIME parts exactly, or refuses them with the reason. Never guesses: one wrong space
breaks a diff.
"""

from __future__ import annotations

import base64
import binascii
import email
import email.header
import email.message
import email.utils
import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import UserError

RESEND = "ask the author for the series as git send-email sends it, or as files of git format-patch"
_MAX_PARTS = 100
# Bytes of all headers of a mail, and letters of one: Python's reader takes a time that grows with their square.
_MAX_HEADERS = 256 << 10
_MAX_HEADER = 16 << 10
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
# More parts than this may contain parts themselves only in a mail that wants to be slow to read.
_MAX_NESTED = 20
_BOUNDARY = re.compile(rb"\bboundary\s{0,8}=", re.IGNORECASE)
_MAX_PARENTS = 50  # the nearest show where a mail belongs; a References header can contain a hundred thousand
# Charsets of mail. Python has many more codecs; some are slow, and some are not charsets.
_CHARSET = re.compile(
    r"(us-ascii|ascii|utf-?8|iso-?8859-\d{1,2}|latin-?1|windows-125\d|cp125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-(jp|kr)"
    r"|iso-2022-jp|shift_jis)"
)
_UTF8 = {"us-ascii", "ascii", "utf-8", "utf8"}
_PATCH_TYPES = {"text/x-patch", "text/x-diff", "application/x-patch"}
_TEXT_TYPES = {"text/plain", *_PATCH_TYPES}
# Parts that are about the other parts, and HTML, which repeats the plain text.
_IGNORED = {"application/pgp-signature", "application/pkcs7-signature", "application/pgp-keys", "text/html"}
_QP_BAD = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)")
_ADDRESS = re.compile(r"[^<>]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+")
_ID = re.compile(r"<([^<>\s]+)>")
_DIFF = re.compile(r"^(diff --git |--- .+\n\+\+\+ .+\n@@ -)", re.MULTILINE)


@dataclass(frozen=True)
class Mail:
    """A mail whose body was not read yet.

    Attributes:
        where: file, and number of the mail in it, for errors.
        raw: its bytes.
        message_id: without angle brackets; empty if it has none.
        parents: Message-IDs of the mails that it answers, nearest first.
        subject: decoded, on one line.
        author: `Name <address>`.
        date: as the mail has it.
        problem: why its headers cannot be trusted; empty if they can.
    """

    where: str
    raw: bytes
    message_id: str
    parents: tuple[str, ...]
    subject: str
    author: str
    date: str
    problem: str = ""


def is_author(text: str) -> bool:
    """Check whether a text is `Name <address>` or an address alone."""
    return _ADDRESS.fullmatch(text) is not None


def read(raw: bytes, where: str) -> Mail:
    """Read the headers of a mail. Faults go to `problem`, because odd headers of a mere reply do not matter."""
    end = _HEADERS_END.search(raw, 0, _MAX_HEADERS)
    if end is None and len(raw) >= _MAX_HEADERS:
        return Mail(where, raw, "", (), "", "", "", f"{where}: its headers have more than {_MAX_HEADERS} bytes")
    try:
        message = email.message_from_bytes(raw[: end.end() if end else len(raw)])
        headers: dict[str, list[str]] = {}
        for name, value in message.raw_items():
            headers.setdefault(name.lower(), []).append(str(value))
    except (RecursionError, ValueError, LookupError) as error:
        return Mail(where, raw, "", (), "", "", "", f"{where}: its headers cannot be read: {type(error).__name__}")
    problems: list[str] = []

    def header(name: str) -> str:
        values = headers.get(name.lower(), [])
        if len(values) > 1:
            problems.append(f"{where}: it has {len(values)} headers {name}")
        try:
            return _decoded(values[0], name, where) if values else ""
        except UserError as error:
            problems.append(error.message)
            return ""

    subject, author, date, answers = header("Subject"), header("From"), header("Date"), header("In-Reply-To")
    ids = _ID.findall(header("Message-ID"))
    references = _ID.findall(header("References"))
    if date and email.utils.parsedate_tz(date) is None:
        problems.append(f"{where}: {date!r} is not a date")
    if author and not is_author(author):
        problems.append(f"{where}: {author!r} is not an author: expected Name <address>")
    parents = tuple(dict.fromkeys([*_ID.findall(answers), *reversed(references)]))[:_MAX_PARENTS]
    return Mail(where, raw, ids[0] if ids else "", parents, subject, author, date, next(iter(problems), ""))


def _decoded(value: str, name: str, where: str) -> str:
    """Return a header on one line, with encoded words decoded (RFC 2047).

    Raises:
        UserError: it cannot be decoded, or contains a control character, which could make two headers of one.
    """
    if len(value) > _MAX_HEADER:
        raise UserError(f"{where}: its {name} has {len(value)} letters, at most {_MAX_HEADER}")
    try:
        flat = re.sub(r"\r?\n(?=[ \t])", "", value.encode("ascii", "surrogateescape").decode())
        pieces = []
        for piece, charset in email.header.decode_header(flat):
            if isinstance(piece, bytes):
                # Raw UTF-8 next to encoded words comes back as the bytes of unicode-escape.
                charset = charset or "raw-unicode-escape"
                if charset != "raw-unicode-escape" and not _CHARSET.fullmatch(charset.lower()):
                    raise UserError(f"{where}: its {name} is in {charset}, which is not a charset of mail")
                pieces.append(piece.decode(charset))
            else:
                pieces.append(piece)
        text = "".join(pieces).strip()
    except (UnicodeError, LookupError, email.errors.HeaderParseError, ValueError):
        raise UserError(f"{where}: its {name} cannot be decoded: {value[:60]!a}") from None
    if any((ord(c) < 32 and c != "\t") or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text):
        raise UserError(f"{where}: its {name} contains a control character: {text[:60]!a}")
    return " ".join(text.split())


def body(mail: Mail) -> str:
    """Return the text of a mail with LF line ends; keep bytes that are not UTF-8 as surrogates.

    Raises:
        UserError: it is not text, has a charset or encoding that cannot be read exactly, or is damaged.
    """
    where = mail.where
    if len(_BOUNDARY.findall(mail.raw)) > _MAX_NESTED:
        raise UserError(f"{where}: it has more than {_MAX_NESTED} MIME parts that contain others", RESEND)
    try:
        message = email.message_from_bytes(mail.raw)
        parts = list(_leaves(message, where))
    except RecursionError:
        raise UserError(f"{where}: its MIME parts are nested too deeply") from None
    if len(parts) == 1 and parts[0] is message:
        kind = message.get_content_type()
        if kind not in _TEXT_TYPES:
            html = (
                "is HTML, in which a diff does not survive" if kind == "text/html" else f"is {kind}, which is not text"
            )
            raise UserError(f"{where}: it {html}", RESEND)
        return _text(message, where)
    texts, patches, odd = [], [], []
    for part in parts:
        kind, file = part.get_content_type(), part.get_filename() or ""
        named = file.lower().endswith((".patch", ".diff"))
        if kind in _PATCH_TYPES or (named and kind in ("text/plain", "application/octet-stream")):
            patches.append(_text(part, where))
        elif kind == "text/plain" and part.get_content_disposition() != "attachment":
            texts.append(_text(part, where))
        elif kind not in _IGNORED:
            odd.append(f"{file or 'a part'} ({kind})")
    if odd:
        raise UserError(f"{where}: it has parts that are not text: {', '.join(odd)[:200]}")
    with_diff = [text for text in [*texts, *patches] if _DIFF.search(text)]
    if len(with_diff) > 1:
        raise UserError(
            f"{where}: it has {len(with_diff)} parts with a diff, and their order is not certain",
            "save the attachments as files of one directory and import that",
        )
    if not texts and not patches:
        raise UserError(f"{where}: it has no plain text", RESEND)
    if patches and patches[0].startswith(("From ", "From: ")):
        raise UserError(f"{where}: its attachment is a whole mail", "save the attachment as a file and import that")
    # `git format-patch --attach` puts the message into the first part and the diff into the second.
    return "\n".join([*texts[:1], *with_diff]) if with_diff and with_diff[0] not in texts[:1] else texts[0]


def _leaves(message: email.message.Message, where: str) -> Iterator[email.message.Message]:
    """Yield the parts of a mail that have no parts themselves.

    Raises:
        UserError: its structure is damaged or hides something.
    """
    for number, part in enumerate(message.walk()):
        if number >= _MAX_PARTS:
            raise UserError(f"{where}: it has more than {_MAX_PARTS} MIME parts")
        if part.defects:
            raise UserError(f"{where}: its MIME structure is damaged: {type(part.defects[0]).__name__}", RESEND)
        kind = part.get_content_type()
        if kind == "multipart/encrypted":
            raise UserError(f"{where}: it is encrypted")
        if kind == "message/rfc822":
            raise UserError(f"{where}: it has another mail as an attachment", "save the inner mail and import that")
        if not part.is_multipart():
            yield part


def _text(part: email.message.Message, where: str) -> str:
    """Decode the transfer encoding and charset of a part, and undo CRLF and format=flowed."""
    encoding = str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()
    # Without that header the library returns the raw bytes. Its own decoders ignore damage, which is an error here.
    del part["Content-Transfer-Encoding"]
    payload = part.get_payload(decode=True)
    data = _transferred(payload if isinstance(payload, bytes) else b"", encoding, where)
    charset = str(part.get_param("charset") or "utf-8").strip().lower()
    if not _CHARSET.fullmatch(charset):
        raise UserError(f"{where}: its charset {charset[:40]!a} is not a charset of mail")
    if b"\0" in data:
        raise UserError(f"{where}: a NUL byte: this is not text")
    if charset in _UTF8:
        # Other bytes than UTF-8 stay: old sources contain them, and a diff must repeat them.
        text = data.decode("utf-8", "surrogateescape")
    else:
        try:
            text = data.decode(charset)
        except UnicodeError:
            raise UserError(f"{where}: its text is not in its charset {charset}", RESEND) from None
    text = _without_cr(text)
    if str(part.get_param("format") or "").lower() == "flowed":
        text = _unflowed(text, delsp=str(part.get_param("delsp") or "").lower() == "yes")
    return text


def _transferred(data: bytes, encoding: str, where: str) -> bytes:
    """Undo the transfer encoding (RFC 2045), strictly."""
    if encoding in ("7bit", "8bit", "binary", ""):
        return data
    if encoding == "quoted-printable":
        if bad := _QP_BAD.search(data):
            line = data[: bad.start()].count(b"\n") + 1
            raise UserError(f"{where}: line {line} of its text is not quoted-printable: it was decoded before", RESEND)
        return binascii.a2b_qp(data)
    if encoding == "base64":
        try:
            return base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            raise UserError(
                f"{where}: its text is not base64: it was cut, or something was added to it", RESEND
            ) from None
    raise UserError(f"{where}: its transfer encoding {encoding[:40]!a} is not known")


def _without_cr(text: str) -> str:
    """Change CRLF to LF if all lines end in CRLF, as mail servers send them; other CRs belong to the patched file."""
    lines = text.removesuffix("\n").split("\n")
    return text.replace("\r\n", "\n") if all(line.endswith("\r") for line in lines) else text


def _unflowed(text: str, *, delsp: bool) -> str:
    """Undo format=flowed (RFC 3676): remove stuffed spaces, and join lines that end in a space."""
    lines: list[str] = []
    open_line = False
    for line in text.split("\n"):
        soft = line.endswith(" ") and line != "-- "
        bare = line.removeprefix(" ") if line != "-- " else line
        bare = bare[:-1] if soft and delsp else bare
        if open_line:
            lines[-1] += bare
        else:
            lines.append(bare)
        open_line = soft
    return "\n".join(lines)
