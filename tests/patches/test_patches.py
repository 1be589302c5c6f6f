"""Series, refusals and trees: a small source, patches of every bad kind, and git's own answer."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UnderTest, UserError
from core.store import Product
from patches import apply, hostile, series
from patches.parse import parse
from patches.series import PatchFile, Series
from tests.mails import digest

GOOD = """\
From: Somebody <somebody@example.org>
Subject: [PATCH] change two lines

Text with --- and +++ in it, and a table:
--- a line that is no header
+++ nor is this one

---
 dir/one.c | 2 +-
 new.c | 1 +

diff --git a/dir/one.c b/dir/one.c
index 1111111..2222222 100644
--- a/dir/one.c
+++ b/dir/one.c
@@ -4,3 +4,3 @@ int x;
 line 4
-line 5
+line five
 line 6
@@ -20,3 +20,4 @@
 line 20
 line 21
+line 21a
 line 22
diff --git a/new.c b/new.c
new file mode 100644
index 0000000..3333333
--- /dev/null
+++ b/new.c
@@ -0,0 +1 @@
+new
--\x20
2.39.5
"""
MINIMAL = "--- a/dir/one.c\n+++ b/dir/one.c\n@@ -4,3 +4,3 @@\n line 4\n-line 5\n+line five\n line 6\n"


def git_diff(path: str, body: str = "", head: str = "") -> str:
    body = body or "@@ -1 +1 @@\n-a\n+b\n"
    return f"diff --git a/{path} b/{path}\n{head}--- a/{path}\n+++ b/{path}\n{body}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "home" / "store" / "source" / ("0" * 64) / "src"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir/one.c").write_text("".join(f"line {i}\n" for i in range(1, 31)))
    (tree / "tool.sh").write_text("#!/bin/sh\n")
    (tree / "tool.sh").chmod(0o755)
    (tree / "link").symlink_to("dir")
    (tree / "out").symlink_to(tmp_path)
    (tree / "dir/file-link").symlink_to("one.c")
    return tree


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def series_of(folder: Path, *texts: str | bytes) -> Series:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, 1):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"{number:04}-p.patch").write_bytes(data)
    return Series("test", "s", "a", "here", None, None, (), series.read_directory(folder))


def product_of(source: Path) -> Product:
    return Product("source", "0" * 64, source.parent, {"version": "7.1.8"})


# --- reading


def test_parse_reads_what_git_reads() -> None:
    changes = parse(GOOD, "p")
    assert [(c.path, c.kind, len(c.hunks)) for c in changes] == [("dir/one.c", "change", 2), ("new.c", "create", 1)]
    first = changes[0].hunks[0]
    assert (first.old_start, first.added, first.removed) == (4, 1, 1)
    assert GOOD.split("\n")[first.at - 1].startswith("@@ -4,3")
    assert GOOD.split("\n")[first.end - 1].startswith("@@ -20,3")


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "nul": (MINIMAL.replace("five", "fi\0ve"), ":6: a NUL byte"),
    "no diff": ("Subject: hello\n\njust text\n", "contains no diff"),
    "absolute": (git_diff("x").replace("a/x", "/etc/passwd").replace("b/x", "/etc/passwd"), "is an absolute path"),
    "double slash": (git_diff("/etc/passwd"), "is an absolute path"),
    "dots": (git_diff("../../etc/passwd"), "leaves the tree through .."),
    "dots inside": (git_diff("dir/../../x"), "leaves the tree through .."),
    "plain dots": ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "leaves the tree through .."),
    "create outside": ("--- /dev/null\n+++ b/../x\n@@ -0,0 +1 @@\n+b\n", "leaves the tree through .."),
    "delete outside": ("--- a/../x\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n", "leaves the tree through .."),
    "rename outside": (
        "diff --git a/dir/one.c b/x\nsimilarity index 100%\nrename from dir/one.c\nrename to ../x\n",
        "leaves the tree through ..",
    ),
    "copy from outside": (
        "diff --git a/dir/one.c b/x\nsimilarity index 100%\ncopy from ../../secret\ncopy to x\n",
        "leaves the tree through ..",
    ),
    "dot": (git_diff("./x"), "has an empty part or a dot between"),
    "git hook": (git_diff(".git/hooks/post-commit"), "reaches into a git directory"),
    "git hook in capitals": (git_diff("dir/.GIT/config"), "reaches into a git directory"),
    "git by its short name": (git_diff("git~1/config"), "reaches into a git directory"),
    "windows": (git_diff("C:/x"), "is an absolute path"),
    "backslash": (git_diff("dir\\x"), "contains a backslash"),
    "control character": (git_diff("di\x01r"), "a control character"),
    "quoted": (
        'diff --git "a/d\\303" "b/d\\303"\n--- "a/d\\303"\n+++ "b/d\\303"\n@@ -1 +1 @@\n-a\n+b\n',
        "a path in quotes",
    ),
    "quoted dots": ('--- "a/\\056\\056/x"\n+++ "b/\\056\\056/x"\n@@ -1 +1 @@\n-a\n+b\n', "a path in quotes"),
    "through a link": (git_diff("link/one.c"), "goes through the symbolic link link of the tree"),
    "through a link that leaves": (git_diff("out/x"), "goes through the symbolic link out of the tree"),
    "a link itself": (git_diff("dir/file-link"), "goes through the symbolic link dir/file-link of the tree"),
    "create through a link": (
        "--- /dev/null\n+++ b/out/x\n@@ -0,0 +1 @@\n+b\n",
        "goes through the symbolic link out of the tree",
    ),
    "new link": (
        "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n",
        "is a symbolic link (mode 120000)",
    ),
    "submodule": (
        "diff --git a/s b/s\nnew file mode 160000\n--- /dev/null\n+++ b/s\n@@ -0,0 +1 @@\n+Subproject commit 1\n",
        "is a submodule (mode 160000)",
    ),
    "setuid": (
        "diff --git a/s b/s\nnew file mode 104755\n--- /dev/null\n+++ b/s\n@@ -0,0 +1 @@\n+x\n",
        "has the mode '104755'",
    ),
    "file becomes link": ("diff --git a/tool.sh b/tool.sh\nold mode 100755\nnew mode 120000\n", "is a symbolic link"),
    "link by index line": (git_diff("dir/one.c", head="index 1111111..2222222 120000\n"), "is a symbolic link"),
    "binary": (
        "diff --git a/x b/x\nindex 1111111..2222222 100644\nGIT binary patch\nliteral 1\nIc$@<O00001\n\n",
        "is a binary change",
    ),
    "binary differ": ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "is a binary change"),
    "ed script": ("2,3c\nnew\n.\n", "is a command of an ed script"),
    "ed script behind a diff": (MINIMAL + "1d\n", "is a command of an ed script"),
    "ed script with names": ("--- a/x\n+++ b/x\n3a\n!touch /tmp/x\n.\n", "is a command of an ed script"),
    "context diff": ("*** a/x\n--- b/x\n***************\n*** 1,2 ****\n! a\n--- 1,2 ----\n! b\n", "a context diff"),
    "cut in a hunk": (MINIMAL.rsplit("\n", 2)[0] + "\n", "the hunk is cut short: 1 old and 1 new lines are missing"),
    "cut before the hunk": ("diff --git a/dir/one.c b/dir/one.c\n--- a/dir/one.c\n+++ b/dir/one.c\n", "has no hunk"),
    "rubbish in a hunk": (MINIMAL.replace("-line 5", "*line 5"), "inside the hunk of line 3"),
    "too many lines": (MINIMAL.replace("@@ -4,3 +4,3 @@", "@@ -4,1 +4,2 @@"), "has more lines than its header gives"),
    "hunk without a file": ("@@ -1 +1 @@\n-a\n+b\n", "a hunk without a file"),
    "bad header": (MINIMAL.replace("@@ -4,3 +4,3 @@", "@@ -4,x +4 @@"), "is not a hunk header"),
    "no first component": ("--- one.c\n+++ one.c\n@@ -1 +1 @@\n-a\n+b\n", "is malformed: git says"),
    "index without hunks": ("diff --git a/x b/x\nindex 1111111..2222222 100644\n", "x has no hunk"),
    "mode without meaning": (
        "diff --git a/x b/x\nnew file mode 10064\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+b\n",
        "has the mode '10064'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_its_own_sentence(kind: str, source: Path, tmp_path: Path) -> None:
    text, sentence = REFUSED[kind]
    before = digest(tmp_path / "home")
    with pytest.raises(UserError) as error:
        apply.check(source, series_of(tmp_path / "s", MINIMAL, text))
    assert error.value.exit_code == 2
    assert sentence in error.value.message
    assert "0002-p.patch" in error.value.message
    with pytest.raises(UserError):
        apply.tree(product_of(source), series_of(tmp_path / "s", MINIMAL, text))
    for path in (tmp_path / "home/locks", tmp_path / "home/store/tree"):
        if path.is_dir():
            for entry in path.iterdir():
                entry.unlink()
            path.rmdir()
    assert digest(tmp_path / "home") == before


def test_too_large(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match="too large for a patch"):
        apply.check(source, series_of(tmp_path / "s", MINIMAL + "x" * hostile.MAX_BYTES))
    with pytest.raises(UserError, match="is not a regular file"):
        hostile.read(tmp_path)
    (tmp_path / "l.patch").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="is not a regular file"):
        hostile.read(tmp_path / "l.patch")


PIECES = [
    "",
    "\n",
    "-",
    "+",
    " ",
    "a/../",
    "@@ -1 +1 @@\n",
    "diff --git a/q b/q\n",
    "\0",
    "\r",
    "--- a/z\n+++ b/z\n",
    '"',
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=3
    )
)
def test_no_mangled_patch_gets_through_or_crashes(
    edits: list[tuple[int, int, str]], source: Path, tmp_path: Path
) -> None:
    text = GOOD
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    before = digest(source)
    try:
        reports = apply.check(source, series_of(tmp_path / "s", text))
    except UserError:
        pass
    else:
        assert not [f.path for report in reports for f in report.files if ".." in f.path]
    assert digest(source) == before


# --- applying


def test_applied_and_moved(source: Path, tmp_path: Path) -> None:
    moved = MINIMAL.replace("@@ -4,3 +4,3 @@", "@@ -9,3 +9,3 @@")
    assert [r.status for r in apply.check(source, series_of(tmp_path / "s", GOOD))] == ["applied"]
    (report,) = apply.check(source, series_of(tmp_path / "s", moved))
    assert report.status == "applied with offset"
    assert report.files[0].hunks[0].offset == -5
    assert report.as_row() == {
        "patch": "0001-p.patch",
        "status": "applied with offset",
        "files": 1,
        "hunks": "1 (1 moved)",
        "reason": "",
    }
    assert report.as_json()["files"][0]["hunks"][0]["line"] == 9


def test_each_patch_stands_on_the_ones_before(source: Path, tmp_path: Path) -> None:
    second = MINIMAL.replace("line five", "LINE").replace("-line 5", "-line five")
    third = "diff --git a/new.c b/dir/moved.c\nsimilarity index 100%\nrename from new.c\nrename to dir/moved.c\n"
    fourth = "diff --git a/tool.sh b/tool.sh\nold mode 100755\nnew mode 100644\n"
    fifth = "--- a/dir/moved.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-new\n"
    reports = apply.check(source, series_of(tmp_path / "s", GOOD, second, third, fourth, fifth))
    assert [r.status for r in reports] == ["applied"] * 5
    assert [r.files[0].kind for r in reports] == ["change", "change", "rename", "change", "delete"]


def test_a_conflict_names_patch_file_hunk_and_reason(source: Path, tmp_path: Path) -> None:
    bad = GOOD.replace(" line 21\n+line 21a", " line 21 changed\n+line 21a")
    after = MINIMAL.replace("dir/one.c", "new.c").replace(
        "@@ -4,3 +4,3 @@\n line 4\n-line 5\n+line five\n line 6\n", "@@ -1 +1 @@\n-new\n+newer\n"
    )
    reports = apply.check(source, series_of(tmp_path / "s", bad, after))
    assert [r.status for r in reports] == ["conflicts", "applied"]
    hunks = reports[0].files[0].hunks
    assert [h.applied for h in hunks] == [True, False]
    assert hunks[1].missing == ("line 21 changed",)
    assert reports[0].reason == (
        "dir/one.c: hunk at line 20 (@@ -20,3 +20,4 @@): git: patch failed: dir/one.c:20; "
        "the file has no line 'line 21 changed'"
    )
    with pytest.raises(UnderTest) as error:
        apply.require(reports, "Linux 7.1.8")
    assert error.value.message.startswith(
        "a patch does not apply to Linux 7.1.8:\n  0001-p.patch: dir/one.c: hunk at line 20"
    )
    (source / "Makefile").write_text("# x\nVERSION = 7\nPATCHLEVEL = 1\nSUBLEVEL = 8\nEXTRAVERSION =\n")
    with pytest.raises(UnderTest, match=r"does not apply to Linux 7\.1\.8:"):
        apply.tree(product_of(source), series_of(tmp_path / "s", bad))
    assert not list((tmp_path / "home/store/tree").iterdir())


def test_no_fuzz(source: Path, tmp_path: Path) -> None:
    outer = MINIMAL.replace(" line 6", " line six")
    (report,) = apply.check(source, series_of(tmp_path / "s", outer))
    assert report.status == "conflicts"


def test_files_that_are_not_there_or_already_there(source: Path, tmp_path: Path) -> None:
    (report,) = apply.check(source, series_of(tmp_path / "s", MINIMAL.replace("one.c", "two.c")))
    assert report.reason == ("dir/two.c: hunk at line 4 (@@ -4,3 +4,3 @@): git: dir/two.c: No such file or directory")
    reports = apply.check(
        source, series_of(tmp_path / "s", "--- /dev/null\n+++ b/tool.sh\n@@ -0,0 +1 @@\n+x\n", MINIMAL, MINIMAL)
    )
    assert [r.status for r in reports] == ["conflicts", "applied", "already there"]
    assert "already exists in working directory" in reports[0].reason
    with pytest.raises(UnderTest) as error:
        apply.require(reports[1:], "Linux 7.1.8")
    assert error.value.hint == "use --series none: the tree is patched already"


def test_the_tree_is_a_read_only_copy(source: Path, tmp_path: Path) -> None:
    before = digest(source)
    patched = series_of(tmp_path / "s", GOOD)
    made = apply.tree(product_of(source), patched)
    linux = made.path / "linux"
    assert made.kind == "tree"
    assert "line five" in (linux / "dir/one.c").read_text()
    assert (linux / "new.c").read_text() == "new\n"
    assert (linux / "link").is_symlink()
    assert (linux / "tool.sh").stat().st_mode & 0o777 == 0o555
    assert (linux / "tool.sh").stat().st_nlink == 2, "a source of the store is linked, not copied"
    assert (linux / "dir/one.c").stat().st_nlink == 1
    assert digest(source) == before
    assert made.metadata["patches"][0]["status"] == "applied"
    assert apply.tree(product_of(source), patched).key == made.key
    assert apply.tree(product_of(source), series_of(tmp_path / "t")).key != made.key


def test_a_source_outside_the_store_is_copied_and_not_touched(source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "src").mkdir(parents=True)
    for name in ("dir", "tool.sh"):
        (source / name).rename(mine / "src" / name)
    subprocess.run(["git", "init", "-q", str(mine / "src")], check=True)
    before, mode = digest(mine), (mine / "src/tool.sh").stat().st_mode
    made = apply.tree(Product("source", "1" * 64, mine, {}), series_of(tmp_path / "s", GOOD))
    assert digest(mine) == before
    assert (mine / "src/tool.sh").stat().st_mode == mode
    assert (mine / "src/tool.sh").stat().st_nlink == 1
    assert not (made.path / "linux/.git").exists()
    assert "line five" in (made.path / "linux/dir/one.c").read_text()


def test_an_enclosing_repository_has_no_say(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "config", "apply.whitespace", "error"], check=True)
    (tmp_path / ".gitignore").write_text("*\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trailing = MINIMAL.replace("+line five", "+line five  ")
    assert [r.status for r in apply.check(source, series_of(tmp_path / "s", trailing))] == ["applied"]
    made = apply.tree(product_of(source), series_of(tmp_path / "s", trailing))
    assert "line five  \n" in (made.path / "linux/dir/one.c").read_text()


# --- series


def test_series_by_name() -> None:
    assert series.load("none").patches == ()
    assert series.load("none").generation is None
    kit = series.load("kit")
    assert (kit.generation, kit.layout) == ("L0", "kit-1")
    assert [p.name[:4] for p in kit.patches] == [f"{i:04}" for i in range(1, len(kit.patches) + 1)]
    with pytest.raises(UserError, match=r"there is no series kitt \(did you mean kit\?\)"):
        series.load("kitt")
    assert {"kit", "kit-l3", "kit-g1", "none", "rfc-v1", "rfc-v2"} == set(series.load_all())


def test_our_own_patches_are_welcome() -> None:
    for patch in series.load("kit").patches:
        assert hostile.check(hostile.read(patch.path), patch.name)


def test_pinned_hashes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0001-a.patch").write_text(MINIMAL)
    pin = hashlib.sha256(MINIMAL.encode()).hexdigest()
    text = (
        "series:\n  s: {subject: s, author: a, source: x, generation: null, layout: null, bases: [], directory: d,\n"
        "    sha256: {NAME: PIN}}\n"
    )
    file = tmp_path / "series.yaml"
    file.write_text(text.replace("NAME", "0001-a.patch").replace("PIN", f'"{pin}"'))
    assert series.load("s", file).patches == (PatchFile("0001-a.patch", tmp_path / "d/0001-a.patch", pin),)
    (tmp_path / "d/0001-a.patch").write_text(MINIMAL + "\n")
    with pytest.raises(UserError, match="is not the patch that"):
        series.load("s", file)
    file.write_text(text.replace("NAME", "0002-a.patch").replace("PIN", f'"{pin}"'))
    with pytest.raises(UserError, match=r"there is no patch 0002-a.patch \(did you mean 0001-a.patch\?\)"):
        series.load("s", file)
