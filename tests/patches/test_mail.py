"""How mails are read: every way of travelling gives the same bytes, git reads the same, nothing crashes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from patches import hostile, incoming, mbox, posting
from tests import mails
from tests.mails import READ_RIGHT, expected, good, read


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
