"""A corpus of mails and patches that are refused, through the program with its exit codes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import program
from patches import hostile, mbox
from tests import mails
from tests.mails import ATTACHED, TEXT, good, parts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return mails.make_tree(tmp_path / "linux")


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
    "no mail": (lambda: mails.DIFFS[0].encode(), 2, "contains no mail"),
    "a web page": (lambda: b"<!doctype html>\n<html><title>no</title></html>\n", 2, "contains no mail"),
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
    "a number beyond the total": (lambda: changed(b"PATCH 3/3", b"PATCH 4/3"), 2, "has a number above its own total"),
    "totals differ": (lambda: changed(b"PATCH 3/3", b"PATCH 3/4"), 2, "2 postings that could be meant"),
    "two revisions": (
        lambda: mails.mbox([*mails.series(), *mails.series(version=2, thread="u")]),
        2,
        "2 revisions, and you chose none: <t-0@example.org> (v1, 3 of 3 patches",
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
        "is not quoted-printable",
    ),
    "base64 with a footer": (
        lambda: mails.with_patch(1, lambda t: mails.in_base64(t) + b"___\na list!\n", mails.plain(encoding="base64")),
        2,
        "is not base64",
    ),
    "base64 cut": (
        lambda: mails.with_patch(
            1, lambda t: mails.in_base64(t).replace(b"\n", b"")[:-7], mails.plain(encoding="base64")
        ),
        2,
        "is not base64",
    ),
    "unknown transfer encoding": (
        lambda: mails.with_patch(1, lambda t: t, mails.plain(encoding="x-uuencode")),
        2,
        "transfer encoding 'x-uuencode' is not known",
    ),
    "a charset that is none": (
        lambda: mails.with_patch(1, lambda t: t, mails.plain("rot13")),
        2,
        "its charset 'rot13' is not a charset of mail",
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
        "parts that are not text: a part (image/png)",
    ),
    "two attachments": (
        lambda: parts(1, (TEXT, "See below."), (ATTACHED, mails.DIFFS[0]), (ATTACHED, mails.DIFFS[1])),
        2,
        "it has 2 parts with a diff",
    ),
    "a mail in a mail": (
        lambda: parts(1, (TEXT, "See below."), ("Content-Type: message/rfc822\n", mails.mail(1).decode())),
        2,
        "it has another mail as an attachment",
    ),
    "a patch file attached": (
        lambda: parts(1, (TEXT, "See below."), (ATTACHED, mails.mail(1).decode())),
        2,
        "its attachment is a whole mail",
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
        "its Subject contains a control character",
    ),
    "escapes for the terminal": (
        lambda: changed(b"[PATCH 2/3] Add", b"[PATCH 2/3] =?utf-8?q?=1B=5B2J?= Add"),
        2,
        "its Subject contains a control character",
    ),
    "no author": (lambda: changed(b"From: Ada Author <ada@example.org>\n", b"From: Ada\n"), 2, "is not an author"),
    "no date": (lambda: changed(b"Date: Wed, 3 Jun 2026 19:43:29 +0200", b"Date: soon"), 2, "'soon' is not a date"),
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
    "no diff": (lambda: diff_mail("nothing here\n"), 2, "contains no diff"),
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
    "setuid": (lambda: diff_mail(create("s", "104755")), 2, "has the mode '104755'"),
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
        "is ambiguous: git and this toolkit find different files in it: dir/one.c, dir/one.c.mine",
    ),
    "escapes in a path": (lambda: diff_mail(create("/etc/\x1b[2Jx")), 2, "control character"),
    "escapes in a mode": (lambda: diff_mail(create("x", "1\x1b[2J")), 2, "has the mode"),
    "escapes in a file that does not apply": (
        lambda: changed(b"\n line 4\n", b"\n line\x1b[2J\n").replace(b"@@ line 1\n", b"@@ line\x1b[2J\n"),
        1,
        "a patch does not apply",
    ),
    "a hunk with a line too many": (
        lambda: changed(b"@@ -19,6 +19,7 @@", b"@@ -19,5 +19,6 @@"),
        2,
        "the hunk of line 11 has more lines than its header gives",
    ),
    "a hunk with an added line too many": (
        lambda: changed(b"\n+new\n+\ttab", b"\n+new\n+\ttab\n+one more"),
        2,
        "has more lines than its header gives",
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
    out, told = capsys.readouterr()
    assert (got, mails.digest(tree)) == (code, before[0]), told
    assert said in told
    assert "Traceback" not in told
    assert not [c for c in told + out if not c.isprintable() and c != "\n"], (
        "nothing of a mail reaches the terminal raw"
    )
    assert told.startswith("error: ")


def digest_of(tree: Path, tmp_path: Path) -> tuple[str, str]:
    folder = tmp_path / "kdf-home/series"
    return mails.digest(tree), mails.digest(folder) if folder.is_dir() else ""


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60
    assert len({said for _make, _code, said in CORPUS.values()}) > 45
