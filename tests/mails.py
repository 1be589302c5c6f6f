"""Mails for tests: a small source tree, a good series of three patches on it, and the ways in which it may travel."""

from __future__ import annotations

import base64
import difflib
import gzip
import hashlib
import os
import quopri
from collections.abc import Callable, Sequence
from pathlib import Path

from patches import incoming

AUTHOR = "Ada Author <ada@example.org>"
DIFFS = (
    "diff --git a/dir/one.c b/dir/one.c\nindex 1111111..2222222 100644\n--- a/dir/one.c\n+++ b/dir/one.c\n"
    "@@ -2,7 +2,7 @@ line 1\n line 2\n line 3\n line 4\n-line 5\n+line five = \u00e9\n"
    " line 6\n line 7\n line 8\n",
    "diff --git a/new.c b/new.c\nnew file mode 100644\nindex 0000000..3333333\n--- /dev/null\n+++ b/new.c\n"
    "@@ -0,0 +1,2 @@\n+new\n+\ttab and  two spaces\n",
    "diff --git a/dir/one.c b/dir/one.c\nindex 2222222..4444444 100644\n--- a/dir/one.c\n+++ b/dir/one.c\n"
    "@@ -19,6 +19,7 @@ line 18\n line 19\n line 20\n line 21\n+a line that is so long that a mailer"
    " without mercy would break it at column 72 or soon behind it\n line 22\n line 23\n line 24\n",
)
TITLES = ("dir: say five", "Add new.c", "dir: one more line")


def make_tree(place: Path) -> Path:
    """A source that `path:DIR` takes for Linux."""
    (place / "dir").mkdir(parents=True)
    (place / "dir/one.c").write_text("".join(f"line {i}\n" for i in range(1, 31)))
    (place / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 1\nSUBLEVEL = 8\nEXTRAVERSION =\n")
    (place / "Kconfig").write_text("")
    (place / "link").symlink_to("dir")
    (place / "dir/file-link").symlink_to("one.c")
    return place


def digest(tree: Path) -> str:
    """A hash of everything below a directory: names, kinds, modes, bytes."""
    found = hashlib.sha256()
    for folder, dirs, files in sorted(os.walk(tree)):
        for name in sorted([*dirs, *files]):
            path = Path(folder, name)
            content = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_bytes().hex()
            found.update(f"{path.relative_to(tree)} {path.lstat().st_mode & 0o111:o} {content}\n".encode())
    return found.hexdigest()


def body(number: int, diff: str | None = None) -> str:
    """The text of a patch mail."""
    diff = DIFFS[number - 1] if diff is None else diff
    return f"Why the change {number} is good.\n\nSigned-off-by: {AUTHOR}\n---\n a file | 2 +-\n\n{diff}-- \n2.39.5\n\n"


def mail(
    number: int,
    total: int = 3,
    *,
    tag: str = "PATCH",
    version: int = 1,
    text: str | bytes | None = None,
    thread: str = "t",
    subject: str | None = None,
    answers: str | None = "",
    headers: str = "",
    title: str | None = None,
    message_id: str | None = "",
) -> bytes:
    """One mail of a series as git send-email sends it.

    Args:
        number: 0 for the cover letter.
        answers: Message-ID; the cover letter's by default, None for no In-Reply-To.
        message_id: made from thread and number by default, None for none.
    """
    tag = f"{tag} v{version}" if version > 1 else tag
    title = title or ("a cover letter" if number == 0 else TITLES[number - 1])
    subject = f"[{tag} {number}/{total}] {title}" if subject is None else subject
    message_id = f"{thread}-{number}@example.org" if message_id == "" else message_id
    answers = f"{thread}-0@example.org" if answers == "" and number else answers
    head = f"From: {AUTHOR}\nDate: Wed, 3 Jun 2026 19:43:{27 + number} +0200\nSubject: {subject}\n"
    head += f"Message-ID: <{message_id}>\n" if message_id else ""
    head += f"In-Reply-To: <{answers}>\nReferences: <{answers}>\n" if answers else ""
    if not headers:
        headers = "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
    text = (("What it is for.\n" if number == 0 else body(number)) if text is None else text) or b""
    return (head + headers).encode() + b"\n" + (text if isinstance(text, bytes) else text.encode())


def series(count: int = 3, **options: object) -> list[bytes]:
    """Cover letter and patches."""
    return [mail(number, count, **options) for number in range(count + 1)]  # type: ignore[arg-type]


def mbox(mails: Sequence[bytes]) -> bytes:
    """An mbox as an archive writes it."""
    return b"".join(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + one.rstrip(b"\n") + b"\n\n" for one in mails)


def with_patch(number: int, make: Callable[[str], bytes | str], headers: str) -> bytes:
    """The series, one patch in another encoding."""
    mails = series()
    mails[number] = mail(number, text=make(body(number)), headers=headers)
    return mbox(mails)


def plain(charset: str = "UTF-8", encoding: str = "8bit", extra: str = "") -> str:
    return f"Content-Type: text/plain; charset={charset}{extra}\nContent-Transfer-Encoding: {encoding}\n"


def quoted(text: str) -> bytes:
    return quopri.encodestring(text.encode())


def in_base64(text: str) -> bytes:
    return base64.encodebytes(text.encode())


def flowed(text: str, delsp: str = "") -> str:
    """format=flowed as RFC 3676 asks for it: long lines broken softly, leading spaces doubled.

    Args:
        delsp: a space if the break itself adds one that the reader deletes.
    """
    found = []
    for line in text.split("\n"):
        line = f" {line}" if line.startswith((" ", ">", "From ")) else line
        while len(line) > 72 and " " in line[1:72]:
            at = line.rindex(" ", 1, 72) + 1
            found.append(line[:at] + delsp)
            line = line[at:]
            line = f" {line}" if line.startswith((" ", ">", "From ")) else line
        found.append(line)
    return "\n".join(found)


def multipart(parts: Sequence[tuple[str, str]], kind: str = "mixed") -> tuple[str, str]:
    """Headers and text of a mail with parts: (headers of the part, its text)."""
    text = "".join(f"--B\n{head}\n{content}\n" for head, content in parts) + "--B--\n"
    return f'MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary="B"\n', text


def good() -> bytes:
    return mbox(series())


def expected(tmp_path: Path) -> list[str]:
    """The hashes of the good series."""
    return [patch.sha256 for patch in read(tmp_path, good()).patches]


def read(tmp_path: Path, data: bytes, **options: object) -> incoming.Incoming:
    file = tmp_path / "in.mbox"
    file.write_bytes(data)
    return incoming.read(str(file), **options)  # type: ignore[arg-type]


HTML = ("Content-Type: text/html; charset=UTF-8\n", "<pre>hello</pre>")
SIGNATURE = ('Content-Type: application/pgp-signature; name="s.asc"\n', "-----BEGIN PGP SIGNATURE-----")
TEXT = "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
ATTACHED = 'Content-Type: text/x-patch; name="a.patch"\nContent-Disposition: attachment; filename="a.patch"\n'


def parts(number: int, *pieces: tuple[str, str], kind: str = "mixed") -> bytes:
    headers, text = multipart(pieces, kind)
    return with_patch(number, lambda _: text, headers)


def halves(number: int) -> tuple[str, str]:
    text = body(number)
    at = text.index("diff --git")
    return text[:at], text[at:]


# name: what makes the mbox
READ_RIGHT: dict[str, Callable[[], bytes]] = {
    "8bit": good,
    "out of order": lambda: mbox(list(reversed(series()))),
    "quoted-printable": lambda: with_patch(1, quoted, plain(encoding="quoted-printable")),
    "base64": lambda: with_patch(1, in_base64, plain(encoding="base64")),
    "base64 with CRLF inside": lambda: with_patch(
        1, lambda t: in_base64(t.replace("\n", "\r\n")), plain(encoding="base64")
    ),
    "latin-1": lambda: with_patch(1, lambda t: t.encode("latin-1"), plain("iso-8859-1")),
    "no charset": lambda: with_patch(1, lambda t: t, "X-Nothing: here\n"),
    "all CRLF": lambda: good().replace(b"\n", b"\r\n"),
    "format=flowed": lambda: with_patch(3, flowed, plain(extra="; format=flowed")),
    "format=flowed with delsp": lambda: with_patch(
        3,
        lambda t: flowed(t, " "),
        plain(extra="; format=flowed; delsp=yes"),
    ),
    "plain beside HTML": lambda: parts(1, (TEXT, body(1)), HTML, kind="alternative"),
    "signed": lambda: parts(1, (TEXT, body(1)), SIGNATURE, kind="signed"),
    "diff attached": lambda: parts(1, (TEXT, halves(1)[0].removesuffix("\n")), (ATTACHED, halves(1)[1])),
    "footer of a list as a part": lambda: parts(1, (TEXT, body(1)), (TEXT, "___\nlist@example.org")),
    "footer of a list": lambda: good().replace(b"2.39.5\n\n", b"2.39.5\n\n____\nlist mailing list\nhttp://x\n"),
    "replies": lambda: mbox(
        [
            *series(),
            mail(2, subject="Re: [PATCH 2/3] Add new.c", message_id="r1@x", text=f"> {DIFFS[0]}\nHm."),
            mail(2, subject="[PATCH 2/3]", message_id="r2@x").replace(b"[PATCH 2/3]", b"AW: [PATCH 2/3] x"),
            mail(2, subject="a question", message_id="r3@x", headers=plain("klingon"), text="?"),
        ]
    ),
    "twice through two lists": lambda: mbox([*series(), *(one + b"____\nanother list\n" for one in series())]),
    "sent by another": lambda: with_patch(1, lambda t: f"From: {AUTHOR}\n\n{t}", plain()).replace(
        f"From: {AUTHOR}\nDate: Wed, 3 Jun 2026 19:43:28".encode(),
        b"From: M <m@x.org>\nDate: Wed, 3 Jun 2026 19:43:28",
    ),
    "gzipped": lambda: gzip.compress(good()),
    "folded and encoded subject": lambda: good().replace(
        b"Subject: [PATCH 2/3] Add new.c", b"Subject: =?UTF-8?q?=5BPATCH_2/3=5D?=\n =?UTF-8?b?QWRk?= new.c"
    ),
    "other words in the brackets": lambda: good().replace(b"[PATCH ", b"[RFC PATCH net-next "),
    "no cover letter": lambda: mbox(series()[1:]),
    "no cover letter, later ones answer the first": lambda: mbox(
        [mail(1, answers=None), *(mail(n, answers="t-1@example.org") for n in (2, 3))]
    ),
    "no thread": lambda: mbox([mail(n, answers=None) for n in range(4)]),
    "deep thread": lambda: mbox([mail(0), *(mail(n, answers=f"t-{n - 1}@example.org") for n in (3, 1, 2))]),
    "no Message-IDs": lambda: mbox([mail(n, answers=None, message_id=None) for n in (2, 3, 1)]),
}


def patch_to(tree: Path, path: str, text: str, title: str) -> str:
    """A patch that gives a file another text, and that text's file."""
    before = (tree / path).read_text()
    diff = difflib.unified_diff(before.splitlines(True), text.splitlines(True), f"a/{path}", f"b/{path}")
    head = "From: Kit <kit@example.invalid>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n"
    head += f"Subject: [PATCH] {title}\n\n{title}.\n---\n"
    (tree / path).write_text(text)
    return head + f"diff --git a/{path} b/{path}\n" + "".join(diff)
