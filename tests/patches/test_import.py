"""Which posting is imported, from where, and how it is kept."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from commands import program
from core.errors import InfraError, UserError
from dataflow import layouts
from patches import incoming, mbox, posting, series
from tests import mails
from tests.mails import expected, good, read
from tests.served import serving
from toolchain import probe


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return mails.make_tree(tmp_path / "linux")


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
    assert error.value.hint == "use --cover MESSAGE-ID"
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


def test_what_stands_in_a_mail_is_shown_without_tricks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (
        good().replace(b"t-0@example.org", b"t-\xe2\x80\xae0@example.org").replace(b"a cover", b"a \xe2\x80\xae cover")
    )
    (tmp_path / "in.mbox").write_bytes(data)
    assert program.main(["patches.import", "x", "--from", str(tmp_path / "in.mbox")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("x: a ? cover letter (v1, ")
    assert "Message-ID: t-?0@example.org" in out
    assert "\u202e" not in out


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
    assert "use --from FILE" in capsys.readouterr().err


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
    entry = yaml.safe_load((series.imported_place("mine") / "series.yaml").read_text())["series"]["mine"]
    assert entry["trailers"] == {"all": ["Tested-by: T <t@x.org>"], "0002-Add-new.c.patch": [trailer]}
    assert (series.imported_place("mine") / "cover.txt").read_text() == "What it is for.\n"


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
    with pytest.raises(UserError, match="is not a regular file"):
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
    (folder / "0\x1b[2J.patch").write_text("x")
    with pytest.raises(UserError, match=r"has a control character: '0\\x1b"):
        incoming.read(str(folder))
    with pytest.raises(UserError, match="contains no file that ends in"):
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

        def do_HEAD(self) -> None:  # b4 asks so whether the archive is there at all
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with serving(Pages) as address:
        yield address, pages


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
    for bad, said in (("ftp://x/y", "is not an http address"), ("nowhere", "is not a file, a directory")):
        with pytest.raises(UserError, match=said):
            incoming.read(bad)
    with pytest.raises(UserError, match="is not a sha256"):
        incoming.read(f"{base}/t.mbox.gz", sha256="12")
    with pytest.raises(UserError, match="of what an address gives"):
        incoming.read(str(tmp_path), sha256="0" * 64)


def test_a_message_id_goes_to_b4(
    server: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real b4, asked to look at an archive of this machine, which is all that its user can say to it.
    base, pages = server
    (tmp_path / "user-home/.gitconfig").write_text(f"[b4]\n\tmidmask = {base}/all/%s\n")
    pages["/all/u-0%40example.org/t.mbox.gz"] = gzip.compress(two_postings())
    monkeypatch.setattr("patches.attest.attestations", lambda *_, **__: ())
    found = incoming.read("<u-0@example.org>", log=tmp_path / "log")
    assert (found.source, found.posting.message_id) == ("Message-ID u-0@example.org", "u-0@example.org")
    assert [patch.sha256 for patch in found.patches] == expected(tmp_path)
    with pytest.raises(UserError, match=r"the archive has no mail <nobody@example\.org>"):
        incoming.read("nobody@example.org", log=tmp_path / "log")


def test_no_archive_is_the_machines_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real b4, which is its own process and would reach the network: a proxy that refuses stands for none.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert program.main(["patches.import", "rfc-v1", "--from", series.load_all()["rfc-v1"].fetch]) == 3


# --- keeping it


def test_an_imported_series_is_a_series(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.mbox").write_bytes(good())
    words = ["patches.import", "theirs", "--from", str(tmp_path / "in.mbox")]
    assert program.main(words) == 0
    assert "generation: not given, layout: not given" in capsys.readouterr().out
    mine = series.load("theirs")
    assert (mine.generation, mine.layout, mine.imported, mine.here) == (None, None, True, "imported")
    assert program.main([*words, "--generation", "L1", "--layout", "K2", "--content", mine.content, "--json"]) == 0
    assert f'"content": "{mine.content}"' in capsys.readouterr().out
    mine = series.load("theirs")
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
        ("../x", "is not a name"),
        ("", "is not a name"),
        (".x", "is not a name"),
    ):
        with pytest.raises(UserError, match=said):
            incoming.write(name, found)
    with pytest.raises(UserError, match=r"rfc-v1 is the posting <2026.*>, and this is <t-0@example.org>"):
        incoming.write("rfc-v1", found)
    incoming.write("mine", found)
    other = read(tmp_path, mails.mbox([mails.mail(1, 1)]))
    with pytest.raises(UserError, match="a series mine already, with other patches"):
        incoming.write("mine", other)
    assert len(series.load("mine").patches) == 3
    with pytest.raises(UserError, match=r"no series mime \(did you mean mine\?\)"):
        series.load("mime")


def test_a_directory_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    series.imported_place("mine").mkdir(parents=True)
    with pytest.raises(UserError, match="exists and contains no series"):
        incoming.write("mine", read(tmp_path, good()))


def test_a_posting_that_is_not_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = series.load_all()["rfc-v1"]
    assert (wanted.here, wanted.patches, wanted.generation, wanted.layout) == ("not here", (), "L0", "K1")
    assert program.main(["patches.check", "rfc-v1"]) == 2
    assert f"./invoke patches.import rfc-v1 --from {wanted.fetch}" in capsys.readouterr().err
    data = good().replace(b"t-0@example.org", wanted.fetch.encode())
    mine = incoming.write("rfc-v1", read(tmp_path, data))
    assert (mine.generation, mine.layout, mine.message_id) == ("L0", "K1", wanted.fetch)
    assert series.load_all()["rfc-v1"].here == "imported"


def test_a_name_that_the_toolkit_took_later(tmp_path: Path) -> None:
    incoming.write("mine", read(tmp_path, good()))
    series.imported_place("mine").rename(series.imported_place("kit"))
    file = series.imported_place("kit") / "series.yaml"
    file.write_text(file.read_text().replace("  mine:", "  kit:"))
    with pytest.raises(UserError, match="has the name of the shipped series kit, but is a different one"):
        series.load("kit")


def test_an_altered_patch_is_noticed_and_a_killed_import_is_repeated(tmp_path: Path) -> None:
    beside = series.imported_place(".mine.new")
    beside.mkdir(parents=True)
    (beside / "0001-half.patch").write_text("half")
    assert set(series.load_all()) == {"kit", "kit-l3", "kit-g1", "none", "rfc-v1", "rfc-v2"}
    mine = incoming.write("mine", read(tmp_path, good()))
    assert not beside.exists()
    assert len(mine.patches) == 3
    mine.patches[0].path.write_text("x")
    with pytest.raises(UserError, match=r"is not the patch that series\.yaml pins") as error:
        series.load("mine")
    assert error.value.hint == f"remove {series.imported_place('mine')} and import it again"
    mine.patches[0].path.unlink()
    with pytest.raises(UserError, match=r"there is no patch 0001-dir-say-five\.patch"):
        series.load("mine")


def test_the_words_of_a_series_are_those_of_compilers() -> None:
    assert set(series.GENERATIONS) == set(probe.GENERATIONS)
    assert set(layouts.LAYOUTS) == set(series.LAYOUTS)
