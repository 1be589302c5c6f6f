"""Series that leave: round trips through mbox, git am and a developer's branch, with real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commands import program
from core.errors import UserError
from core.store import Product
from patches import apply, incoming, mbox, outgoing, series
from tests import mails


def git(place: Path, *words: str) -> str:
    config = ["-c", "user.name=Ada Author", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *config, *words], cwd=place, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def kit() -> series.Series:
    return series.load("kit")


@pytest.fixture
def theirs(tmp_path: Path) -> series.Series:
    (tmp_path / "in.mbox").write_bytes(mails.mbox(mails.series()))
    return incoming.write("theirs", incoming.read(str(tmp_path / "in.mbox")))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A branch: base, then the three patches."""
    place = mails.make_tree(tmp_path / "repository")
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-qm", "base")
    git(place, "tag", "base")
    return place


def test_our_series_round_trips_through_an_mbox(kit: series.Series, tmp_path: Path) -> None:
    outgoing.export_mbox(kit, tmp_path / "kit.mbox")
    found = incoming.read(str(tmp_path / "kit.mbox"))
    assert [(p.name, p.sha256) for p in found.patches] == [(p.name, p.sha256) for p in kit.patches]
    # The same as a list would deliver it: a cover letter, a thread, footers, other encodings.
    total = len(kit.patches)
    thread = [mails.mail(0, total)]
    for number, patch in enumerate(kit.patches, 1):
        head, _, text = patch.path.read_text().partition("\n\n")
        title = " ".join(head.split("Subject: [PATCH] ")[1].split())
        make = (str.encode, mails.quoted, mails.in_base64)[number % 3]
        encoding = ("8bit", "quoted-printable", "base64")[number % 3]
        one = mails.mail(
            number, total, title=title, text=make(text + "-- \n2.50.1\n"), headers=mails.plain(encoding=encoding)
        )
        facts = head.split("\n")
        one = one.replace(f"From: {mails.AUTHOR}".encode(), facts[1].encode())
        thread.append(one.replace(one.split(b"\n")[1], facts[2].encode()))
    (tmp_path / "thread.mbox").write_bytes(mails.mbox(thread[::-1]))
    listed = incoming.read(str(tmp_path / "thread.mbox"))
    assert [(p.name, p.sha256) for p in listed.patches] == [(p.name, p.sha256) for p in kit.patches]
    assert listed.content == found.content


def test_the_tree_of_an_imported_series_is_the_tree_of_the_series(
    theirs: series.Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Product("source", "0" * 64, tmp_path / "s", {})
    mails.make_tree(tmp_path / "s/src")
    one = apply.tree(source, theirs)
    before = mails.digest(one.path / "linux")
    outgoing.export_mbox(theirs, tmp_path / "out.mbox")
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "another home"))  # so that the tree is made and not found
    again = incoming.write("again", incoming.read(str(tmp_path / "out.mbox")))
    other = apply.tree(source, again)
    assert again.content == theirs.content
    assert (other.key, other.path == one.path) == (one.key, False)
    assert mails.digest(other.path / "linux") == before


def test_git_am_takes_what_is_exported(theirs: series.Series, repository: Path, tmp_path: Path) -> None:
    files = outgoing.export(theirs, tmp_path / "out")
    assert [file.name for file in files] == [patch.name for patch in theirs.patches]
    git(repository, "am", "-q", *map(str, files))
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    assert git(repository, "log", "--format=%an <%ae> %s", "base..").split("\n")[-1] == f"{mails.AUTHOR} dir: say five"
    git(repository, "reset", "-q", "--hard", "base")
    outgoing.export_mbox(theirs, tmp_path / "out.mbox")
    git(repository, "am", "-q", str(tmp_path / "out.mbox"))
    assert git(repository, "rev-parse", "HEAD^{tree}") == tree
    # What git format-patch itself writes of it comes back as the same series.
    (tmp_path / "theirs.mbox").write_text(
        git(repository, "format-patch", "--stdout", "--cover-letter", "--thread", "base..") + "\n"
    )
    back = incoming.read(str(tmp_path / "theirs.mbox"))
    assert back.content == theirs.content
    assert back.posting.cover is not None
    git(repository, "format-patch", "-q", "-o", str(tmp_path / "files"), "base..")
    assert incoming.read(str(tmp_path / "files")).content == theirs.content
    git(repository, "format-patch", "-q", "--attach", "-o", str(tmp_path / "attached"), "base..")
    assert incoming.read(str(tmp_path / "attached")).content == theirs.content


def test_export_does_not_mix(theirs: series.Series, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert program.main(["patches.export", "theirs", "-o", str(out), "--mbox", str(tmp_path / "m")]) == 0
    assert capsys.readouterr().out.split("\n")[:1] == [str(out / "0001-dir-say-five.patch")]
    assert (tmp_path / "m").read_bytes().count(b"\nSubject: [PATCH ") == 3
    outgoing.export(theirs, out)
    (out / "0004-x.patch").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        outgoing.export(theirs, out)
    with pytest.raises(UserError, match="is a directory"):
        outgoing.export_mbox(theirs, out)
    assert program.main(["patches.export", "theirs"]) == 2
    assert program.main(["patches.export", "none", "--mbox", str(tmp_path / "n")]) == 2
    assert not (tmp_path / "n").exists()


def test_lines_that_begin_with_from_survive(repository: Path, tmp_path: Path) -> None:
    (repository / "new.c").write_text("x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Add new.c\n\nFrom here on\n>From there\nit is \u00e9.")
    mine = incoming.write("mine", outgoing.from_branch(repository, "base..main"))
    assert "\nFrom here on\n>From there\nit is \u00e9.\n" in mine.patches[0].path.read_text()
    outgoing.export_mbox(mine, tmp_path / "m")
    assert [p.sha256 for p in incoming.read(str(tmp_path / "m")).patches] == [p.sha256 for p in mine.patches]


def our_own(tmp_path: Path, kit: series.Series) -> Path:
    """A copy of series.yaml and our patches."""
    place = tmp_path / "patches"
    outgoing.export(kit, place / "linux")
    (place / "series.yaml").write_text(series.FILE.read_text())
    return place / "series.yaml"


def test_refresh(kit: series.Series, theirs: series.Series, repository: Path, tmp_path: Path) -> None:
    file = our_own(tmp_path, kit)
    git(repository, "am", "-q", *map(str, outgoing.export(theirs, tmp_path / "out")))
    git(repository, "config", "format.attach", "true")
    git(repository, "config", "format.signoff", "true")
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "diff.external", "/bin/false")
    git(repository, "config", "diff.context", "1")
    before = mails.digest(repository)
    changed = outgoing.refresh(outgoing.from_branch(repository, "base..main"), file)
    assert mails.digest(repository) == before
    assert changed[0] == "0001-dir-say-five.patch is new"
    assert changed[-1].endswith(".patch is gone")
    now = series.load("kit", file)
    assert [p.name for p in now.patches] == [p.name for p in theirs.patches]
    assert (now.generation, now.bases) == (kit.generation, kit.bases)
    assert file.read_text().count("\n") == series.FILE.read_text().count("\n") - 3
    for mine, other in zip(now.patches, theirs.patches, strict=True):
        text = mine.path.read_text()
        assert "Signed-off-by: Ada" in text
        assert text.count("Signed-off-by") == 1
        assert text.split("@@", 1)[1] == other.path.read_text().split("@@", 1)[1]
    assert outgoing.refresh(outgoing.from_branch(repository, "base..main"), file) == []
    # A run that was killed between its two renames left no directory; the next one needs none.
    (file.parent / "linux").rename(file.parent / ".linux.old")
    outgoing.refresh(outgoing.from_branch(repository, "base..main"), file)
    assert series.load("kit", file).patches == now.patches
    assert sorted(p.name for p in file.parent.iterdir()) == ["linux", "series.yaml"]


def test_refresh_refuses(kit: series.Series, repository: Path, tmp_path: Path) -> None:
    for span, said in (
        ("base..main", "it is empty"),
        ("base", "is not a range of commits"),
        ("base...main", "is not a range of commits"),
        ("..", "is not a range of commits"),
        ("base..nothing", "has no commit nothing"),
        ("--output=/tmp/x..main", "has no commit --output"),
    ):
        with pytest.raises(UserError, match=said):
            outgoing.from_branch(repository, span)
    with pytest.raises(UserError, match="has no commit"):
        outgoing.from_branch(tmp_path / "user-home", "base..main")
    with pytest.raises(UserError, match="is not a directory"):
        outgoing.from_branch(tmp_path / "nowhere", "base..main")
    git(repository, "commit", "-q", "--allow-empty", "-m", "nothing")
    with pytest.raises(UserError, match=r"0001-nothing\.patch is empty"):
        outgoing.from_branch(repository, "base..main")
    git(repository, "checkout", "-q", "-b", "side", "base")
    (repository / "l").symlink_to("/etc")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "a link")
    with pytest.raises(UserError, match="is a symbolic link"):
        outgoing.from_branch(repository, "base..side")
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--no-ff", "-m", "both", "side")
    with pytest.raises(UserError, match="contains merges"):
        outgoing.from_branch(repository, "base..main")
    file = our_own(tmp_path, kit)
    file.write_text("series: {}\n")
    git(repository, "checkout", "-q", "-B", "main", "base")
    (repository / "n.c").write_text("x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "n")
    before = mails.digest(file.parent)
    with pytest.raises(UserError, match="no key sha256 to write to"):
        outgoing.refresh(outgoing.from_branch(repository, "base..main"), file)
    assert mails.digest(file.parent) == before


@pytest.mark.parametrize("name", ["kit", "kit-l3"])
def test_our_own_patches_are_in_their_normal_form(name: str, tmp_path: Path) -> None:
    wanted = series.load(name)
    found = incoming.read(str(outgoing.export(wanted, tmp_path / "out")[0].parent))
    assert [(p.name, p.sha256) for p in found.patches] == [(p.name, p.sha256) for p in wanted.patches]
    assert len(mbox.load(wanted.patches[0].path)) == 1
