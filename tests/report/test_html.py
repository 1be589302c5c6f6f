"""The page: whatever runs say, it is text on it, and nothing of it can act."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invoke.exceptions import Exit

from cells.result import Splat
from commands import report
from core.errors import UnderTest
from kconfig.fragment import Asked
from kconfig.survival import Lost, require_none
from report import charts, history, html
from report.html import Kernels, Tree
from tests import runs

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    "</title></style></pre><img src=x onerror=\"document.title='owned'\">",
    "\" onmouseover=\"document.title='owned'",
    "' autofocus onfocus='document.title=1",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:document.title='owned'",
    "--><svg onload=alert(1)>",
    "\x00\x1b]0;owned\x07‮\ud800",
    "&lt;b&gt;",
]
# What the template itself has; anything else came from a run.
ELEMENTS = """html head meta link title style body header h1 h2 h3 p div b nav a table tr th td span svg line text
polyline circle rect g details summary i ul li code pre"""
ATTRIBUTES = """lang charset http-equiv content name rel href class id title viewbox role x y x1 x2 y1 y2 text-anchor
points cx cy r width height"""


class Reader(HTMLParser):
    """What a page consists of, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.policy = ""
        self.style = ""
        self.said: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        self.links += [values[name] or "" for name in ("href", "src", "action") if name in values]
        self.said += [values["title"] or ""] if "title" in values else []
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.said.append(data)


def parsed(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.elements <= set(ELEMENTS.split())
    assert reader.attributes <= set(ATTRIBUTES.split())
    assert all(link.startswith(("#", "./")) or link == "data:," for link in reader.links)
    digest = base64.b64encode(hashlib.sha256(reader.style.encode()).digest()).decode()
    assert reader.policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    text.encode()
    return reader


def hostile_folder(root: Path, text: str) -> None:
    """A run that says a text wherever it can say anything."""
    name = re.sub(r"[/\x00]", "-", text).encode("utf-8", "replace").decode()[:80] or "-"
    made = runs.save(
        root / f"20261123-100000-{name}",
        status="failed",
        checks={text: False},
        reasons=[text, f"CONFIG_X: asked y ({text}), got n: {text}"],
        splats=[Splat(text, text, 1, text, [text])],
        profile=text,
        toolchain=text,
        sets=(text,),
    )
    bad = runs.save(root / f"20261123-110000-test-{name}", tests={text: "failed", f"{text}2": "lost"}, profile=text)
    for one in (made, bad):
        (one.folder / "console.log").write_bytes(f"{text}\n".encode("utf-8", "surrogatepass"))
    broken = root / f"20261123-120000-broken-{name}"
    broken.mkdir()
    (broken / "result.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    (root / f"20261123-130000-other-{name}").mkdir()
    (root / f"20261123-130000-other-{name}" / "plan.json").write_text("")


def rendered(root: Path, text: str = "") -> str:
    tree = Tree("t", charts.flame([(0, text, text), (1, text, text), (7, "f" * 99, text)]), [text])
    kernels = Kernels({}, {}, {f"/{text}": text})
    return html.render(history.load(root), kernels, tree, root / "report.html")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_runs_are_text(tmp_path: Path, text: str) -> None:
    hostile_folder(tmp_path, text)
    reader = parsed(rendered(tmp_path, text))
    shown = "".join(char if char.isprintable() else "?" for char in text)
    assert sum(shown in said for said in reader.said) > 10
    assert "1337" not in reader.said


@settings(max_examples=30, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("<>&\"'/=-!{}%# abcONerror\\\x00\x1b\u202e\ud800\n"), max_size=40))
def test_any_text_is_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("runs")
    hostile_folder(root, text)
    parsed(rendered(root, text))


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """The reader above tells a page that has what it must not have."""
    good = rendered(tmp_path)
    for bad in ("<script>1</script>", '<p onclick="1">', '<a href="javascript:1">x</a>', "<style>p {}</style>"):
        with pytest.raises(AssertionError):
            parsed(good.replace("</header>", f"{bad}</header>"))


def test_broken_and_unfinished_runs_are_shown(tmp_path: Path) -> None:
    runs.save(tmp_path / "20261123-100000-all-tiny-x86_64", status="running")
    (tmp_path / "20261123-110000-all-tiny-x86_64").mkdir()
    (tmp_path / "20261123-110000-all-tiny-x86_64" / "result.json").write_text('{"format": 1, "cell"')
    said = " ".join(parsed(rendered(tmp_path)).said)
    assert "It is still running, or was killed." in said
    assert "Expecting ':' delimiter" in said


def test_a_page_of_no_runs(tmp_path: Path) -> None:
    said = " ".join(parsed(rendered(tmp_path)).said)
    assert "There are no runs here." in said


def test_a_test_that_answers_twice_on_one_kernel_is_flaky(tmp_path: Path) -> None:
    from dataclasses import replace

    for number, (status, kernel) in enumerate([("passed", "/k1"), ("failed", "/k2"), ("passed", "/k2")]):
        made = runs.save(tmp_path / f"20261123-10000{number}-test", tests={"a": status, "b": "passed"})
        replace(made, facts={"kernel": kernel}).save()
    said = parsed(rendered(tmp_path)).said
    assert said.count("flaky") == 1
    (tmp_path / "20261123-100002-test" / "result.json").unlink()
    assert "flaky" not in parsed(rendered(tmp_path)).said


def test_boot_times_are_drawn_where_the_console_has_them(tmp_path: Path) -> None:
    for number, seconds in enumerate((1.0, 2.5, 0.0)):
        runs.save(tmp_path / f"20261123-10000{number}-all", boot_seconds=seconds)
    said = [one for one in parsed(rendered(tmp_path)).said if one.endswith(" ms")]
    assert [one.rpartition(": ")[2] for one in said] == ["1000 ms", "2500 ms"]


def test_a_call_tree_is_as_wide_as_its_calls() -> None:
    made = charts.flame([(0, "open", ""), (1, "lookup", ""), (1, "lookup", ""), (0, "close", "")])
    assert made.calls == 4
    widths = dict(re.findall(r"<title>(\w+):.*?width=\"([\d.]+)\"", str(made.picture)))
    assert float(widths["open"]) == pytest.approx(3 * 240, abs=1)
    assert float(widths["lookup"]) == pytest.approx(2 * 240, abs=1)
    assert "lookup: 2 times" in made.picture


def test_what_is_not_drawn_is_counted() -> None:
    calls = [(0, f"f{n}", "") for n in range(5000)] + [(depth, "deep", "") for depth in range(70)]
    made = charts.flame(calls)
    assert made.calls == 5070
    drawn = str(made.picture).count("<rect")
    assert made.hidden > 0
    assert drawn < 5000


def test_kernels_outside_the_store_are_not_read(tmp_path: Path) -> None:
    from dataclasses import replace

    made = runs.save(tmp_path / "runs" / "20261123-100000-all")
    replace(made, facts={"kernel": "/etc"}).save()
    found = html.measure_kernels(history.load(tmp_path / "runs").runs)
    assert found.sizes == {}
    assert found.problems == {"/etc": "it is no longer in the store"}


def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.save(history.home() / "20261123-100000-all-tiny-x86_64")
    report.html.body(None, str(tmp_path / "out.html"))
    assert "1 runs, 0 of them cannot be read" in capsys.readouterr().out
    links = parsed((tmp_path / "out.html").read_text()).links
    (link,) = [one for one in links if one.endswith("result.json")]
    assert (tmp_path / link).is_file()
    with pytest.raises(Exit, match="is a directory"):
        report.html.body(None, str(tmp_path))


@pytest.mark.parametrize("facts", ["", "[]", "{}", '{"kernel": {}}', '{"kernel": "00"}', "[" * 100_000])
def test_a_capture_that_cannot_be_shown_is_told(tmp_path: Path, facts: str) -> None:
    made = runs.save(tmp_path / "20261123-100000-all")
    (made.folder / "captures").mkdir()
    (made.folder / "captures" / "getpid.words").write_bytes(b"x")
    (made.folder / "captures" / "getpid.json").write_text(facts)
    tree = html.capture_tree(history.load(tmp_path).runs)
    assert tree.flame is None
    assert "20261123-100000-all" in tree.why


def test_a_pipe_for_a_capture_is_not_waited_for(tmp_path: Path) -> None:
    made = runs.save(tmp_path / "20261123-100000-all")
    (made.folder / "captures").mkdir()
    os.mkfifo(made.folder / "captures" / "getpid.words")
    (made.folder / "captures" / "getpid.json").write_text("{}")
    assert html.capture_tree(history.load(tmp_path).runs).why == "no run has captures"


def test_symbols_that_ended_a_build_are_told(tmp_path: Path) -> None:
    """As kconfig.survival words them."""
    lost = [
        Lost(Asked("KASAN", "y", "a.config", 3), "absent", "KASAN needs SLUB (here n)"),
        Lost(Asked("CMDLINE", '"a b"', "--set", 0), '"c d"'),
    ]
    with pytest.raises(UnderTest) as raised:
        require_none(lost)
    runs.save(tmp_path / "20261123-100000-all", status="failed", reasons=[str(raised.value)])
    said = parsed(rendered(tmp_path)).said
    row = said[said.index("KASAN") :]
    assert [one for one in row if one.strip()][:6] == [
        "KASAN", "y", "absent", "all tiny x86_64 7.1.8 kit plugin-19", "a.config:3", "KASAN needs SLUB (here n)",
    ]  # fmt: skip
    assert "CMDLINE" in said
