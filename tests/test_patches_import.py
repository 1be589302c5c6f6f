"""Series from outside: what is read right, and a corpus of what is refused, through the program with its exit codes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import process, program
from core.errors import InfraError, UserError
from dataflow import records
from patches import attest, hostile, incoming, mbox, posting
from patches import series as names
from tests import mails
from toolchain import probe


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return mails.make_tree(tmp_path / "linux")


def good() -> bytes:
    return mails.mbox(mails.series())


def expected(tmp_path: Path) -> list[str]:
    """The hashes of the good series."""
    return [patch.sha256 for patch in read(tmp_path, good()).patches]


def read(tmp_path: Path, data: bytes, **options: object) -> incoming.Incoming:
    file = tmp_path / "in.mbox"
    file.write_bytes(data)
    return incoming.read(str(file), **options)  # type: ignore[arg-type]


# --- what is read right: the same three patches, however they travelled


HTML = ("Content-Type: text/html; charset=UTF-8\n", "<pre>hello</pre>")
SIGNATURE = ('Content-Type: application/pgp-signature; name="s.asc"\n', "-----BEGIN PGP SIGNATURE-----")
TEXT = "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
ATTACHED = 'Content-Type: text/x-patch; name="a.patch"\nContent-Disposition: attachment; filename="a.patch"\n'


def parts(number: int, *pieces: tuple[str, str], kind: str = "mixed") -> bytes:
    headers, text = mails.multipart(pieces, kind)
    return mails.with_patch(number, lambda _: text, headers)


def halves(number: int) -> tuple[str, str]:
    text = mails.body(number)
    at = text.index("diff --git")
    return text[:at], text[at:]


# name: what makes the mbox
READ_RIGHT: dict[str, Callable[[], bytes]] = {
    "8bit": good,
    "out of order": lambda: mails.mbox(list(reversed(mails.series()))),
    "quoted-printable": lambda: mails.with_patch(1, mails.quoted, mails.plain(encoding="quoted-printable")),
    "base64": lambda: mails.with_patch(1, mails.in_base64, mails.plain(encoding="base64")),
    "base64 with CRLF inside": lambda: mails.with_patch(
        1, lambda t: mails.in_base64(t.replace("\n", "\r\n")), mails.plain(encoding="base64")
    ),
    "latin-1": lambda: mails.with_patch(1, lambda t: t.encode("latin-1"), mails.plain("iso-8859-1")),
    "no charset": lambda: mails.with_patch(1, lambda t: t, "X-Nothing: here\n"),
    "all CRLF": lambda: good().replace(b"\n", b"\r\n"),
    "format=flowed": lambda: mails.with_patch(3, mails.flowed, mails.plain(extra="; format=flowed")),
    "format=flowed with delsp": lambda: mails.with_patch(
        3,
        lambda t: mails.flowed(t, " "),
        mails.plain(extra="; format=flowed; delsp=yes"),
    ),
    "plain beside HTML": lambda: parts(1, (TEXT, mails.body(1)), HTML, kind="alternative"),
    "signed": lambda: parts(1, (TEXT, mails.body(1)), SIGNATURE, kind="signed"),
    "diff attached": lambda: parts(1, (TEXT, halves(1)[0].removesuffix("\n")), (ATTACHED, halves(1)[1])),
    "footer of a list as a part": lambda: parts(1, (TEXT, mails.body(1)), (TEXT, "___\nlist@example.org")),
    "footer of a list": lambda: good().replace(b"2.39.5\n\n", b"2.39.5\n\n____\nlist mailing list\nhttp://x\n"),
    "replies": lambda: mails.mbox(
        [
            *mails.series(),
            mails.mail(2, subject="Re: [PATCH 2/3] Add new.c", message_id="r1@x", text=f"> {mails.DIFFS[0]}\nHm."),
            mails.mail(2, subject="[PATCH 2/3]", message_id="r2@x").replace(b"[PATCH 2/3]", b"AW: [PATCH 2/3] x"),
            mails.mail(2, subject="a question", message_id="r3@x", headers=mails.plain("klingon"), text="?"),
        ]
    ),
    "twice through two lists": lambda: mails.mbox(
        [*mails.series(), *(one + b"____\nanother list\n" for one in mails.series())]
    ),
    "sent by another": lambda: mails.with_patch(1, lambda t: f"From: {mails.AUTHOR}\n\n{t}", mails.plain()).replace(
        f"From: {mails.AUTHOR}\nDate: Wed, 3 Jun 2026 19:43:28".encode(),
        b"From: M <m@x.org>\nDate: Wed, 3 Jun 2026 19:43:28",
    ),
    "gzipped": lambda: gzip.compress(good()),
    "folded and encoded subject": lambda: good().replace(
        b"Subject: [PATCH 2/3] Add new.c", b"Subject: =?UTF-8?q?=5BPATCH_2/3=5D?=\n =?UTF-8?b?QWRk?= new.c"
    ),
    "other words in the brackets": lambda: good().replace(b"[PATCH ", b"[RFC PATCH net-next "),
    "no cover letter": lambda: mails.mbox(mails.series()[1:]),
    "no cover letter, later ones answer the first": lambda: mails.mbox(
        [mails.mail(1, answers=None), *(mails.mail(n, answers="t-1@example.org") for n in (2, 3))]
    ),
    "no thread": lambda: mails.mbox([mails.mail(n, answers=None) for n in range(4)]),
    "deep thread": lambda: mails.mbox(
        [mails.mail(0), *(mails.mail(n, answers=f"t-{n - 1}@example.org") for n in (3, 1, 2))]
    ),
    "no Message-IDs": lambda: mails.mbox([mails.mail(n, answers=None, message_id=None) for n in (2, 3, 1)]),
}


@pytest.mark.parametrize("kind", READ_RIGHT)
def test_read_right(kind: str, tmp_path: Path) -> None:
    found = read(tmp_path, READ_RIGHT[kind]())
    assert [patch.name for patch in found.patches] == [
        "0001-dir-say-five.patch",
        "0002-Add-new.c.patch",
        "0003-dir-one-more-line.patch",
    ]
    for number, patch in enumerate(found.patches, 1):
        assert patch.text.endswith(f"\n{mails.DIFFS[number - 1]}"), number
        assert f"\n\nWhy the change {number} is good.\n\nSigned-off-by: {mails.AUTHOR}\n---\n" in patch.text
        assert patch.text.startswith(
            f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: {mails.AUTHOR}\nDate: Wed, 3 Jun"
        )
    assert [patch.sha256 for patch in found.patches] == expected(tmp_path)


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    data = good().replace("\u00e9".encode(), b"\xe9")
    assert b"+line five = \xe9\n" in read(tmp_path, data).patches[0].data


def test_a_patch_of_a_file_with_crlf_keeps_them(tmp_path: Path) -> None:
    diff = mails.DIFFS[1].replace("+new\n", "+new\r\n")
    mine = [mails.mail(0), mails.mail(1), mails.mail(2, text=mails.body(2, diff)), mails.mail(3)]
    assert "\n+new\r\n" in read(tmp_path, mails.mbox(mine)).patches[1].text


# --- what is refused


def diff_mail(diff: str) -> bytes:
    """A series whose second patch has this diff."""
    mine = mails.series()
    mine[2] = mails.mail(2, text=mails.body(2, diff))
    return mails.mbox(mine)


def create(path: str, mode: str = "100644", line: str = "x") -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..1111111\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{line}\n"
    )


def git_change(path: str) -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,1 +1,1 @@\n-line 1\n+x\n"


def without(*numbers: int) -> bytes:
    return mails.mbox([one for number, one in enumerate(mails.series()) if number not in numbers])


def changed(old: bytes, new: bytes) -> bytes:
    data = good()
    assert old in data
    return data.replace(old, new)


# name: (the mbox, exit code, what is said)
CORPUS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    # the series
    "empty": (lambda: b"", 2, "is empty"),
    "blank": (lambda: b"\n \n", 2, "is empty"),
    "no mail": (lambda: mails.DIFFS[0].encode(), 2, "holds no mail"),
    "a web page": (lambda: b"<!doctype html>\n<html><title>no</title></html>\n", 2, "holds no mail"),
    "replies only": (lambda: changed(b"Subject: [", b"Subject: Re: ["), 2, "no mail of 4 is a patch"),
    "pull request": (lambda: changed(b"[PATCH ", b"[GIT PULL "), 2, "no mail of 4 is a patch"),
    "one missing": (lambda: without(2), 2, "of 3 patches 1 are missing: 2"),
    "first and last missing": (lambda: without(1, 3), 2, "of 3 patches 2 are missing: 1, 3"),
    "cover only": (lambda: mails.mbox(mails.series()[:1]), 2, "are missing: 1, 2, 3"),
    "one doubled": (
        lambda: mails.mbox([*mails.series(), mails.mail(2, message_id="again@x")]),
        2,
        "patch 2/3 is there 2 times: <t-2@example.org> and <again@x>",
    ),
    "one Message-ID for two patches": (
        lambda: mails.mbox([*mails.series(), mails.mail(2, text=mails.body(1))]),
        2,
        "two different mails have the Message-ID <t-2@example.org>",
    ),
    "a number beyond the total": (lambda: changed(b"PATCH 3/3", b"PATCH 4/3"), 2, "counts beyond its own total"),
    "totals differ": (lambda: changed(b"PATCH 3/3", b"PATCH 3/4"), 2, "2 postings that could be meant"),
    "two revisions": (
        lambda: mails.mbox([*mails.series(), *mails.series(version=2, thread="u")]),
        2,
        "2 revisions, and none was chosen: <t-0@example.org> (v1, 3 of 3 patches",
    ),
    "one title, one version, two postings": (
        lambda: mails.mbox([*mails.series(), *mails.series(thread="u")]),
        2,
        "could be meant: <t-0@example.org> (v1, 3 of 3 patches, 'a cover letter'); <u-0@example.org>",
    ),
    "revision that is not there": (lambda: good(), 2, "there is no revision 7: there is 1"),
    "cover that is not there": (lambda: good(), 2, "has the Message-ID <nobody@x>"),
    "another content": (lambda: good(), 2, "the series is not the pinned one"),
    # the mails
    "quoted-printable decoded before": (
        lambda: mails.with_patch(1, lambda t: t, mails.plain(encoding="quoted-printable")),
        2,
        "is no quoted-printable",
    ),
    "base64 with a footer": (
        lambda: mails.with_patch(1, lambda t: mails.in_base64(t) + b"___\na list!\n", mails.plain(encoding="base64")),
        2,
        "is no base64",
    ),
    "base64 cut": (
        lambda: mails.with_patch(
            1, lambda t: mails.in_base64(t).replace(b"\n", b"")[:-7], mails.plain(encoding="base64")
        ),
        2,
        "is no base64",
    ),
    "unknown transfer encoding": (
        lambda: mails.with_patch(1, lambda t: t, mails.plain(encoding="x-uuencode")),
        2,
        "transfer encoding 'x-uuencode' is not known",
    ),
    "a charset that is none": (
        lambda: mails.with_patch(1, lambda t: t, mails.plain("rot13")),
        2,
        "its charset 'rot13' is none of mail",
    ),
    "not in its charset": (
        lambda: mails.with_patch(1, lambda t: t.encode() + b"\xff\xff", mails.plain("euc-jp")),
        2,
        "is not in its charset euc-jp",
    ),
    "CRLF in half of it": (
        lambda: changed(b"Why the change 2 is good.\n", b"Why the change 2 is good.\r\n"),
        2,
        "ends in CR LF, others do not",
    ),
    "flowed, and no stuffing": (
        lambda: mails.with_patch(
            3, lambda t: t.replace("+a line", "+a line \nthat"), mails.plain(extra="; format=flowed")
        ),
        2,
        "inside the hunk",
    ),
    "lines broken": (lambda: changed(b" would break it at", b"\nwould break it at"), 2, "inside the hunk of line"),
    "leading spaces lost": (lambda: changed(b"\n line 4\n", b"\nline 4\n"), 2, "inside the hunk of line"),
    "no-break spaces": (lambda: changed(b"\n line 4\n", b"\n\xc2\xa0line 4\n"), 2, "inside the hunk of line"),
    "cut short": (lambda: mails.mbox(mails.series())[:-90], 2, "the hunk is cut short"),
    "HTML only": (
        lambda: mails.with_patch(1, lambda t: f"<pre>{t}</pre>", "Content-Type: text/html\n"),
        2,
        "it is HTML, in which a diff does not survive",
    ),
    "an image": (
        lambda: parts(1, (TEXT, mails.body(1)), ("Content-Type: image/png\n", "x")),
        2,
        "what is no text: a part (image/png)",
    ),
    "two attachments": (
        lambda: parts(1, (TEXT, "See below."), (ATTACHED, mails.DIFFS[0]), (ATTACHED, mails.DIFFS[1])),
        2,
        "it holds 2 parts with a diff",
    ),
    "a mail in a mail": (
        lambda: parts(1, (TEXT, "See below."), ("Content-Type: message/rfc822\n", mails.mail(1).decode())),
        2,
        "it holds another mail as an attachment",
    ),
    "a patch file attached": (
        lambda: parts(1, (TEXT, "See below."), (ATTACHED, mails.mail(1).decode())),
        2,
        "its attachment is a mail of its own",
    ),
    "encrypted": (lambda: parts(1, (TEXT, mails.body(1)), kind="encrypted"), 2, "it is encrypted"),
    "boundary lost": (
        lambda: parts(1, (TEXT, mails.body(1))).replace(b"--B--\n", b""),
        2,
        "its MIME structure is damaged",
    ),
    "parts without end": (
        lambda: parts(1, *[(TEXT, "x")] * 120, (TEXT, mails.body(1))),
        2,
        "more than 100 MIME parts",
    ),
    "nested without end": (
        lambda: mails.with_patch(
            1,
            lambda _: "".join(f'--b{n}\nContent-Type: multipart/mixed; boundary="b{n + 1}"\n\n' for n in range(1500)),
            'Content-Type: multipart/mixed; boundary="b0"\n',
        ),
        2,
        "",
    ),
    "two subjects": (
        lambda: changed(b"Subject: [PATCH 2/3]", b"Subject: [PATCH 2/3] y\nSubject: [PATCH 2/3]"),
        2,
        "it has 2 headers Subject",
    ),
    "a header in a header": (
        lambda: changed(b"[PATCH 2/3] Add", b"[PATCH 2/3] =?utf-8?q?x=0AFrom:_Eve_=3Ceve=40x=3E?= Add"),
        2,
        "its Subject holds a control character",
    ),
    "escapes for the terminal": (
        lambda: changed(b"[PATCH 2/3] Add", b"[PATCH 2/3] =?utf-8?q?=1B=5B2J?= Add"),
        2,
        "its Subject holds a control character",
    ),
    "no author": (lambda: changed(b"From: Ada Author <ada@example.org>\n", b"From: Ada\n"), 2, "is no author"),
    "no date": (lambda: changed(b"Date: Wed, 3 Jun 2026 19:43:29 +0200", b"Date: soon"), 2, "'soon' is no date"),
    "a second mail in the text": (
        lambda: mails.with_patch(
            1,
            lambda t: mails.in_base64(
                t.replace(
                    "---\n a file", "From 0123456789 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] evil\n\n---\n a file"
                )
            ),
            mails.plain(encoding="base64"),
        ),
        2,
        "looks like the start of another mail",
    ),
    "NUL": (lambda: changed(b"+new\n", b"+n\0w\n"), 2, "a NUL byte"),
    "gzip cut": (lambda: gzip.compress(good())[:-20], 2, "its gzip stream does not end"),
    "gzip bomb": (lambda: gzip.compress(b"From x\n" + b"\n" * (mbox.MAX_BYTES + 1)), 2, "it unpacks to more than"),
    # the patches
    "no diff": (lambda: diff_mail("nothing here\n"), 2, "holds no diff"),
    "too large": (
        lambda: diff_mail(create("big.c", line="x" * hostile.MAX_BYTES)),
        2,
        "is too large for a patch",
    ),
    "binary": (
        lambda: diff_mail(
            "diff --git a/x b/x\nindex 1111111..2222222 100644\nGIT binary patch\nliteral 1\nIc$@<O00001\n\n"
        ),
        2,
        "is a binary change",
    ),
    "out of the tree": (lambda: diff_mail(create("dir/../../x")), 2, "leaves the tree through .."),
    "absolute": (lambda: diff_mail(create("/etc/x")), 2, "is an absolute path"),
    "a hook": (lambda: diff_mail(create(".git/hooks/post-commit", "100755")), 2, "reaches into a git directory"),
    "a new link": (lambda: diff_mail(create("l", "120000", "/etc")), 2, "is a symbolic link (mode 120000)"),
    "a submodule": (lambda: diff_mail(create("s", "160000", "Subproject commit 1")), 2, "is a submodule (mode 160000)"),
    "setuid": (lambda: diff_mail(create("s", "104755")), 2, "has the mode 104755"),
    "a file becomes a link": (
        lambda: diff_mail("diff --git a/dir/one.c b/dir/one.c\nold mode 100644\nnew mode 120000\n"),
        2,
        "is a symbolic link",
    ),
    "rename out of the tree": (
        lambda: diff_mail("diff --git a/dir/one.c b/x\nsimilarity index 100%\nrename from dir/one.c\nrename to ../x\n"),
        2,
        "leaves the tree through ..",
    ),
    "through a link of the tree": (
        lambda: diff_mail(create("link/x.c")),
        2,
        "goes through the symbolic link link of the tree",
    ),
    "a link itself": (
        lambda: diff_mail(git_change("dir/file-link")),
        2,
        "goes through the symbolic link dir/file-link",
    ),
    "ed script": (lambda: diff_mail("--- a/dir/one.c\n+++ b/dir/one.c\n3a\n!touch /tmp/x\n.\n"), 2, "of an ed script"),
    "context diff": (
        lambda: diff_mail("*** a/x\n--- b/x\n***************\n*** 1,2 ****\n! a\n--- 1,2 ----\n! b\n"),
        2,
        "a context diff",
    ),
    "path in quotes": (
        lambda: diff_mail('--- "a/\\056\\056/x"\n+++ "b/\\056\\056/x"\n@@ -1 +1 @@\n-a\n+b\n'),
        2,
        "a path in quotes",
    ),
    "git cannot read it": (lambda: diff_mail("--- x.c\n+++ x.c\n@@ -1 +1 @@\n-a\n+b\n"), 2, "is malformed: git says"),
    "git reads another file": (
        lambda: diff_mail("--- a/dir/one.c\n+++ b/dir/one.c.mine\n@@ -1,1 +1,1 @@\n-line 1\n+x\n"),
        2,
        "is ambiguous: git and this toolkit read different files in it: dir/one.c, dir/one.c.mine",
    ),
    # it is well formed, but not for this tree
    "does not apply": (lambda: changed(b"\n line 4\n", b"\n line four\n"), 1, "a patch does not apply"),
}
OPTIONS = {
    "revision that is not there": ["--revision", "7"],
    "cover that is not there": ["--cover", "<nobody@x>"],
    "another content": ["--content", "0" * 64],
}


@pytest.mark.parametrize("kind", CORPUS)
def test_corpus(kind: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, code, said = CORPUS[kind]
    file = tmp_path / "bad.mbox"
    file.write_bytes(make())
    before = digest_of(tree, tmp_path)
    got = program.main(["patches.import", "bad", "--from", str(file), *OPTIONS.get(kind, [])])
    if got == 0:
        got = program.main(["patches.check", "bad", "--linux", f"path:{tree}"])
    else:
        assert digest_of(tree, tmp_path) == before
        assert not (tmp_path / "kdf-home/series/bad").exists()
    told = capsys.readouterr().err
    assert (got, mails.digest(tree)) == (code, before[0]), told
    assert said in told
    assert "Traceback" not in told
    assert told.startswith("error: ")


def digest_of(tree: Path, tmp_path: Path) -> tuple[str, str]:
    folder = tmp_path / "kdf-home/series"
    return mails.digest(tree), mails.digest(folder) if folder.is_dir() else ""


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60
    assert len({said for _make, _code, said in CORPUS.values()}) > 45


# --- which posting, and from where


def two_postings() -> bytes:
    return mails.mbox([*mails.series(), *mails.series(thread="u"), *mails.series(version=2, thread="w")])


def test_a_posting_is_picked_by_revision_or_message_id(tmp_path: Path) -> None:
    ids = [one.message_id for one in read(tmp_path, two_postings(), revision=2).posting.patches]
    assert ids == ["w-1@example.org", "w-2@example.org", "w-3@example.org"]
    for pick in ("u-0@example.org", "<u-2@example.org>"):
        found = read(tmp_path, two_postings(), cover=pick)
        assert found.posting.message_id == "u-0@example.org"
        assert [reason for _where, reason in found.posting.left_out] == ["is of another posting"] * 8
    with pytest.raises(UserError, match="2 postings that could be meant") as error:
        read(tmp_path, two_postings(), revision=1)
    assert error.value.hint == "say --cover MESSAGE-ID"
    with pytest.raises(UserError, match="no revision 2: there is 1"):
        read(tmp_path, two_postings(), cover="u-0@example.org", revision=2)


def test_a_single_new_revision_of_one_patch_is_no_series(tmp_path: Path) -> None:
    again = mails.mail(2, version=2, message_id="new@x", answers="t-2@example.org")
    with pytest.raises(UserError, match=r"<new@x> \(v2, 1 of 3 patches, 'Add new.c'\)"):
        read(tmp_path, mails.mbox([*mails.series(), again]))
    assert len(read(tmp_path, mails.mbox([*mails.series(), again]), revision=1).patches) == 3


def test_an_answer_with_a_patch_of_its_own_is_not_the_next_patch(tmp_path: Path) -> None:
    one = mails.mail(1, subject="[PATCH] dir: say five", message_id="a@x", answers=None)
    other = mails.mail(2, subject="[PATCH] Add new.c", message_id="b@x", answers="a@x")
    with pytest.raises(UserError, match=r"2 postings that could be meant: <a@x> .* <b@x>"):
        read(tmp_path, mails.mbox([one, other]))
    assert len(read(tmp_path, mails.mbox([one, other]), cover="b@x").patches) == 1


def test_several_senders_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = mails.series()
    mine[2] = mine[2].replace(b"From: Ada Author <ada@", b"From: Eve Author <eve@")
    (tmp_path / "in.mbox").write_bytes(mails.mbox(mine))
    assert program.main(["patches.import", "x", "--from", str(tmp_path / "in.mbox")]) == 0
    assert f"sent by several: {mails.AUTHOR}, Eve Author <eve@example.org>" in capsys.readouterr().out


def test_a_patch_that_ends_without_a_hunk(tmp_path: Path) -> None:
    diff = "diff --git a/dir/one.c b/dir/two.c\nsimilarity index 100%\nrename from dir/one.c\nrename to dir/two.c\n"
    (patch,) = read(tmp_path, mails.mbox([mails.mail(1, 1, text=mails.body(1, diff))])).patches
    assert patch.text.endswith(diff)


def test_nothing_to_import(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["patches.import", "x"]) == 2
    assert program.main(["patches.refresh"]) == 2
    assert "say --from FILE" in capsys.readouterr().err


def test_a_thread_that_bites_its_tail(tmp_path: Path) -> None:
    loop = [
        mails.mail(1, answers="t-3@example.org"),
        mails.mail(2, answers="t-1@example.org"),
        mails.mail(3, answers="t-2@example.org"),
    ]
    try:
        assert len(read(tmp_path, mails.mbox(loop)).patches) == 3
    except UserError as error:
        assert "could be meant" in error.message


@pytest.mark.parametrize(
    ("subject", "tag"),
    [
        ("[PATCH] x", posting.Tag(1, None, 1, "x")),
        ("[RFC PATCH v2 03/14] a: b [c]", posting.Tag(2, 3, 14, "a: b [c]")),
        ("[PATCHv3 1/2] x", posting.Tag(3, 1, 2, "x")),
        ("[PATCH][v4][net-next 0/2] x", posting.Tag(4, 0, 2, "x")),
        ("[RFC 1/3] x", posting.Tag(1, 1, 3, "x")),
        ("[PATCH RESEND 6.12.y, v2, 1/1] x", posting.Tag(2, 1, 1, "x")),
        ("Re: [PATCH] x", None),
        ("RE: [PATCH] x", None),
        ("Fwd: [PATCH] x", None),
        ("[GIT PULL] x", None),
        ("[ANNOUNCE 1/2] x", None),
        ("x [PATCH]", None),
        ("", None),
    ],
)
def test_subjects(subject: str, tag: posting.Tag | None) -> None:
    assert posting.tag(subject) == tag


def test_trailers_of_replies_are_kept_apart(tmp_path: Path) -> None:
    trailer = "Reviewed-by: Rita Reader <rita@example.org>"
    answers = [
        mails.mail(
            2,
            subject="Re: [PATCH 2/3] Add new.c",
            message_id="r1@x",
            answers="t-2@example.org",
            text=f"> {trailer}X\n{trailer}\n",
        ),
        mails.mail(
            2,
            subject="Re: [PATCH 0/3] c",
            message_id="r2@x",
            answers="t-0@example.org",
            text="Tested-by: T <t@x.org>\n> Acked-by: N <n@x>\n",
        ),
    ]
    found = read(tmp_path, mails.mbox([*mails.series(), *answers]))
    assert found.posting.trailers == {0: ("Tested-by: T <t@x.org>",), 2: (trailer,)}
    assert all("Rita" not in patch.text for patch in found.patches)
    incoming.write("mine", found)
    entry = yaml.safe_load((names.imported_place("mine") / "series.yaml").read_text())["series"]["mine"]
    assert entry["trailers"] == {"all": ["Tested-by: T <t@x.org>"], "0002-Add-new.c.patch": [trailer]}
    assert (names.imported_place("mine") / "cover.txt").read_text() == "What it is for.\n"


def files(folder: Path, **options: object) -> Path:
    folder.mkdir()
    for number, title in ((3, "0001-z"), (1, "0002-y"), (2, "0003-x")):
        (folder / f"{title}.patch").write_bytes(mails.mail(number, answers=None, message_id=None, **options))  # type: ignore[arg-type]
    return folder


def test_a_directory_is_ordered_by_subjects(tmp_path: Path) -> None:
    folder = files(tmp_path / "d")
    (folder / "README").write_text("no patch")
    found = incoming.read(str(folder))
    assert [patch.sha256 for patch in found.patches] == expected(tmp_path)
    assert found.source == "d"
    (folder / "0004-again.patch").write_bytes(mails.mail(2, answers=None, message_id=None))
    with pytest.raises(UserError, match=r"patch 2/3 is there 2 times: 0003-x.patch and 0004-again.patch"):
        incoming.read(str(folder))
    (folder / "0005-link.patch").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="is no regular file"):
        incoming.read(str(folder))


def test_a_directory_without_numbers_is_ordered_by_names(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for number in (1, 2, 3):
        data = mails.mail(number, subject=f"[PATCH] {mails.TITLES[number - 1]}", answers=None, message_id=None)
        (folder / f"{number}-p.patch").write_bytes(data)
    assert [patch.sha256 for patch in incoming.read(str(folder)).patches] == expected(tmp_path)
    (folder / "1-p.patch").rename(folder / "p.patch")
    with pytest.raises(UserError, match="3 patches without an order"):
        incoming.read(str(folder))
    with pytest.raises(UserError, match="holds no file that ends in"):
        incoming.read(str(tmp_path / "user-home"))


def test_a_maildir(tmp_path: Path) -> None:
    for place in ("cur", "new", "tmp"):
        (tmp_path / "m" / place).mkdir(parents=True)
    for number, one in enumerate(mails.series()):
        (tmp_path / "m" / ("new" if number % 2 else "cur") / f"17{number}.x:2,S").write_bytes(one)
    assert [patch.sha256 for patch in incoming.read(str(tmp_path / "m")).patches] == expected(tmp_path)


def test_from_lines_are_unquoted(tmp_path: Path) -> None:
    text = mails.body(1).replace("Why", "From here on\n>From x\nWhy")
    quoted = text.replace("\nFrom", "\n>From").replace("\n>From x", "\n>>From x")
    mine = mails.series()
    mine[1] = mails.mail(1, text=quoted.replace("From here", ">From here", 1))
    assert "\n\nFrom here on\n>From x\nWhy" in read(tmp_path, mails.mbox(mine)).patches[0].text


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    pages: dict[str, bytes] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}", pages
        made.shutdown()


def test_from_an_address(
    server: tuple[str, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, pages = server
    pages["/t.mbox.gz"] = gzip.compress(good(), mtime=0)
    pin = hashlib.sha256(pages["/t.mbox.gz"]).hexdigest()
    found = incoming.read(f"{base}/t.mbox.gz".replace("http://", "http://me:secret@"))
    assert [patch.sha256 for patch in found.patches] == expected(tmp_path)
    assert "secret" not in found.source
    told = capsys.readouterr().err
    assert f"sha256 {pin}, not pinned" in told
    assert "secret" not in told
    assert incoming.read(f"{base}/t.mbox.gz", sha256=pin).content == found.content
    assert capsys.readouterr().err == ""
    with pytest.raises(InfraError, match="pinned is 0000"):
        incoming.read(f"{base}/t.mbox.gz", sha256="0" * 64)
    with pytest.raises(InfraError, match="answered HTTP 404"):
        incoming.read(f"{base}/nothing")
    monkeypatch.setattr(mbox, "MAX_BYTES", 100)
    with pytest.raises(InfraError, match="sends more than 100 bytes"):
        incoming.read(f"{base}/t.mbox.gz")
    for bad, said in (("ftp://x/y", "is no http address"), ("nowhere", "is no file, no directory")):
        with pytest.raises(UserError, match=said):
            incoming.read(bad)
    with pytest.raises(UserError, match="is not a sha256"):
        incoming.read(f"{base}/t.mbox.gz", sha256="12")
    with pytest.raises(UserError, match="of what an address gives"):
        incoming.read(str(tmp_path), sha256="0" * 64)


def test_a_message_id_goes_to_b4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def b4(argv: list[str], **options: object) -> process.Finished:
        asked.append(argv)
        (Path(argv[argv.index("-o") + 1]) / "thread.mbx").write_bytes(two_postings())
        return process.Finished(tuple(argv), 0, (), 0.1)

    monkeypatch.setattr(process, "run", b4)
    monkeypatch.setattr("patches.attest.attestations", lambda *_, **__: ())
    found = incoming.read("<u-0@example.org>")
    assert asked[0][1:4] == ["-m", "b4.command", "mbox"]
    assert asked[0][-2:] == ["--", "u-0@example.org"]
    assert (found.source, found.posting.message_id) == ("Message-ID u-0@example.org", "u-0@example.org")


def test_no_archive_is_the_machines_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real b4, which is its own process and would reach the network: a proxy that refuses stands for none.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert program.main(["patches.import", "rfc-v1", "--from", names.load_all()["rfc-v1"].fetch]) == 3


# --- keeping it


def test_an_imported_series_is_a_series(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.mbox").write_bytes(good())
    words = ["patches.import", "theirs", "--from", str(tmp_path / "in.mbox")]
    assert program.main(words) == 0
    assert "generation: not given, layout: not given" in capsys.readouterr().out
    mine = names.load("theirs")
    assert (mine.generation, mine.layout, mine.imported, mine.here) == (None, None, True, "imported")
    assert program.main([*words, "--generation", "L1", "--layout", "K2", "--content", mine.content, "--json"]) == 0
    assert f'"content": "{mine.content}"' in capsys.readouterr().out
    mine = names.load("theirs")
    assert (mine.generation, mine.layout, mine.subject) == ("L1", "K2", "a cover letter")
    assert program.main(["patches.list"]) == 0
    assert "theirs  imported  3        L1          K2" in capsys.readouterr().out
    assert program.main(["patches.check", "theirs", "--linux", f"path:{tree}"]) == 0
    assert program.main(["patches.apply", "--series", "theirs", "--linux", f"path:{tree}"]) == 0
    made = Path(capsys.readouterr().out.splitlines()[-1])
    assert (made / "new.c").read_text() == "new\n\ttab and  two spaces\n"
    assert program.main([*words, "--generation", "L7"]) == 2
    assert "there is no generation L7 (did you mean" in capsys.readouterr().err
    assert program.main([*words, "--layout", "K9"]) == 2
    assert program.main([*words, "--revision", "two"]) == 2


def test_names(tmp_path: Path) -> None:
    found = read(tmp_path, good())
    for name, said in (
        ("kit", "is a series of this toolkit"),
        ("../x", "is no name"),
        ("", "is no name"),
        (".x", "is no name"),
    ):
        with pytest.raises(UserError, match=said):
            incoming.write(name, found)
    with pytest.raises(UserError, match=r"rfc-v1 is the posting <2026.*>, and this is <t-0@example.org>"):
        incoming.write("rfc-v1", found)
    incoming.write("mine", found)
    other = read(tmp_path, mails.mbox([mails.mail(1, 1)]))
    with pytest.raises(UserError, match="a series mine already, with other patches"):
        incoming.write("mine", other)
    assert len(names.load("mine").patches) == 3
    with pytest.raises(UserError, match=r"no series mime \(did you mean mine\?\)"):
        names.load("mime")


def test_a_posting_that_is_not_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = names.load_all()["rfc-v1"]
    assert (wanted.here, wanted.patches, wanted.generation, wanted.layout) == ("not here", (), "L0", "K1")
    assert program.main(["patches.check", "rfc-v1"]) == 2
    assert f"./invoke patches.import rfc-v1 --from {wanted.fetch}" in capsys.readouterr().err
    data = good().replace(b"t-0@example.org", wanted.fetch.encode())
    mine = incoming.write("rfc-v1", read(tmp_path, data))
    assert (mine.generation, mine.layout, mine.message_id) == ("L0", "K1", wanted.fetch)
    assert names.load_all()["rfc-v1"].here == "imported"


def test_a_name_that_the_toolkit_took_later(tmp_path: Path) -> None:
    incoming.write("mine", read(tmp_path, good()))
    names.imported_place("mine").rename(names.imported_place("kit"))
    file = names.imported_place("kit") / "series.yaml"
    file.write_text(file.read_text().replace("  mine:", "  kit:"))
    with pytest.raises(UserError, match="has the name of the shipped series kit and is another one"):
        names.load("kit")


def test_an_altered_patch_is_noticed_and_a_killed_import_is_repeated(tmp_path: Path) -> None:
    beside = names.imported_place(".mine.new")
    beside.mkdir(parents=True)
    (beside / "0001-half.patch").write_text("half")
    assert set(names.load_all()) == {"kit", "none", "rfc-v1", "rfc-v2"}
    mine = incoming.write("mine", read(tmp_path, good()))
    assert not beside.exists()
    assert len(mine.patches) == 3
    mine.patches[0].path.write_text("x")
    with pytest.raises(UserError, match=r"is not the patch that series\.yaml pins"):
        names.load("mine")
    mine.patches[0].path.unlink()
    with pytest.raises(UserError, match=r"there is no patch 0001-dir-say-five\.patch"):
        names.load("mine")


def test_the_words_of_a_series_are_those_of_compilers() -> None:
    assert set(names.GENERATIONS) == set(probe.GENERATIONS)
    assert set(records.LAYOUTS) <= set(names.LAYOUTS)


# --- attestation


KEY = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="  # RFC 8463, appendix A: a key that everybody knows


def signed(number: int) -> bytes:
    import dkim

    raw = mails.mail(number)
    names = [b"from", b"subject", b"date", b"message-id"]
    return (
        bytes(dkim.sign(raw, b"s", b"example.org", KEY, include_headers=names, signature_algorithm=b"ed25519-sha256"))
        + raw
    )


def test_dkim_is_reported(tmp_path: Path) -> None:
    mine = [mails.mail(0), signed(1), signed(2).replace(b"Why the change", b"What the change"), signed(3)]
    mine[3] = mine[3].replace(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=1; v=2;", 1)
    rows = incoming.rows(read(tmp_path, mails.mbox(mine)))
    assert rows[0]["attestation"] == "DKIM example.org: present, not checked: no DNS; the text is the signed one"
    assert rows[1]["attestation"] == "DKIM example.org: FAILED: the text is not the signed one"
    assert rows[2]["attestation"] == "DKIM ?: cannot be read: DuplicateTag"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "valid"),
        (
            b"v=DKIM1; k=ed25519; p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "FAILED: the signature does not fit the key",
        ),
        (OSError("no network"), "present, not checked: no DNS; the text is the signed one"),
    ],
)
def test_dkim_with_a_network(answer: bytes | OSError, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_txt(name: bytes, timeout: int) -> bytes:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("dkim.dnsplug.get_txt", get_txt)
    (found,) = attest.attestations(signed(1), network=True)
    assert (found.kind, found.who, found.status) == ("DKIM", "example.org", status)


def test_patatt_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import patatt
    from nacl.signing import SigningKey

    key = SigningKey(base64.b64decode(KEY))
    message = patatt.PatattMessage(mails.mail(1))
    message.sign("ed25519", base64.b64encode(bytes(key)), "ada@example.org", "default")
    raw = message.as_bytes()
    (found,) = attest.attestations(raw, network=False)
    assert (found.kind, found.who) == ("patatt", "ada@example.org")
    assert found.status.startswith("present, not checked: no key in ")
    place = tmp_path / "user-home/.local/share/patatt/public/ed25519/example.org/ada"
    place.mkdir(parents=True)
    (place / "default").write_bytes(base64.b64encode(bytes(key.verify_key)))
    assert str(attest.attestations(raw, network=False)[0]) == "patatt ada@example.org: valid"
    (found,) = attest.attestations(raw.replace(b"Why the change", b"What the change"), network=False)
    assert found.status.startswith("FAILED")
    (found,) = attest.attestations(b"X-Developer-Signature: rubbish\n\nx\n", network=False)
    assert (found.who, found.status) == ("?", "present, not checked: ?")


# --- what nobody thought of


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 4000),
            st.integers(0, 40),
            st.sampled_from(
                [
                    b"",
                    b"\n",
                    b"\r\n",
                    b"=",
                    b"\xff",
                    b"--B\n",
                    b"From x 1:11 2001\nA: b\n",
                    b"=?utf-8?b?",
                    b"[PATCH",
                    b"\0",
                ]
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(["8bit", "quoted-printable", "base64", "signed", "format=flowed", "replies"]),
)
def test_no_mangled_mbox_crashes(edits: list[tuple[int, int, bytes]], kind: str, tmp_path: Path) -> None:
    data = READ_RIGHT[kind]()
    for at, length, new in edits:
        data = data[: at % len(data)] + new + data[at % len(data) + length :]
    try:
        found = read(tmp_path, data)
    except UserError:
        return
    for patch in found.patches:
        assert not [c.path for c in hostile.check(patch.text, patch.name) if ".." in c.path.split("/")]


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=400),
    head=st.sampled_from([b"", b"From x 1:11 2001\n", b"Subject: [PATCH] x\n", b"\x1f\x8b\x08"]),
)
def test_no_bytes_crash(data: bytes, head: bytes) -> None:
    try:
        posting.choose(mbox.split(head + data, "x"))
    except UserError as error:
        assert error.message


# git converts no diff from its charset, knows no gzip, stops at a charset that is none; the rest it reads as we do.
@pytest.mark.parametrize("kind", [kind for kind in READ_RIGHT if kind not in ("latin-1", "gzipped", "replies")])
def test_git_reads_the_same(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in.mbox").write_bytes(READ_RIGHT[kind]())
    out = tmp_path / "split"
    out.mkdir()
    subprocess.run(["git", "mailsplit", f"-o{out}", "in.mbox"], cwd=tmp_path, check=True, capture_output=True)
    theirs = {}
    for one in sorted(out.iterdir()):
        done = subprocess.run(
            ["git", "mailinfo", "msg", "patch"], cwd=tmp_path, input=one.read_bytes(), check=True, capture_output=True
        )
        head = dict(line.split(": ", 1) for line in done.stdout.decode().splitlines() if ": " in line)
        text = (tmp_path / "patch").read_text()
        if text.strip() and head["Subject"] in mails.TITLES:
            theirs[head["Subject"]] = (f"{head['Author']} <{head['Email']}>", head["Date"], text)
    for patch, title in zip(incoming.read(str(tmp_path / "in.mbox")).patches, mails.TITLES, strict=True):
        author, date, text = theirs[title]
        assert f"\nFrom: {author}\nDate: {date}\nSubject: [PATCH] {title}\n" in patch.text
        ours = patch.text[patch.text.index("diff --git") :]
        assert ours in text
        assert text.count("@@ -") == ours.count("@@ -")
