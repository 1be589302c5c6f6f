"""YAML as data: doubles and tags refused, every error with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.data import Node, choice, load, load_yaml, parse_yaml
from core.errors import UserError

FILE = Path("some.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", r"some.yaml: .*the key a is there twice.*line 3"),
        ("x: {y: {a: 1, a: 1}}", "the key a is there twice"),
        ("{a: b}: 1", "a key must be a plain word"),
        ("a: [1", "some.yaml: not valid YAML"),
        ("a: \x01", "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "the tag .*os.system is refused"),
        ("a: !!bool maybe", "the tag .*bool is refused"),
        ("a: !mine 1", "the tag !mine is refused"),
        ("! a: 1", "the tag ! is refused"),
        ("a: 2026-99-99", "not valid YAML"),
        ("a: &a {b: *a}", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=f"(?s){said}"):
        parse_yaml(text, FILE)


@given(st.text(alphabet=st.sampled_from("ab:-[]{}!&*#|>'\"%@`,? \n\t0123.~=<")))
def test_any_text_is_a_value_or_a_user_error(text: str) -> None:
    try:
        parse_yaml(text, FILE)
    except UserError as error:
        assert str(error).startswith("some.yaml: not valid YAML: ")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_what_was_written_is_read(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value), FILE).value == value


def test_typed_access() -> None:
    node = parse_yaml("s: text\nl: [a, b]\nn: 3\nf: true\nm: {k: {x: 1}}", FILE)
    assert node.string("s") == "text"
    assert node.strings("l") == ["a", "b"]
    assert node.strings("absent") == []
    assert node.mapping("m")["k"].get("x").value == 1
    node.only("s", "l", "n", "f", "m")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda n: n.get("m").only("profile"), r"some.yaml: m.profil: unknown key \(did you mean profile\?\)"),
        (lambda n: n.string("n"), "some.yaml: n: expected text, got 3; put it in quotes"),
        (lambda n: n.string("absent"), "some.yaml: the file: the key absent is missing"),
        (lambda n: n.strings("l"), r"some.yaml: l\[1\]: expected text, got 2"),
        (lambda n: n.strings("n"), "some.yaml: n: expected a list"),
        (lambda n: n.mapping("n"), "some.yaml: n: expected a mapping"),
        (lambda n: n.mapping("odd"), "some.yaml: odd: the key 7 must be a word"),
        (lambda n: n.elements("absent", required=True), "the key absent is missing"),
    ],
)
def test_errors_name_their_place(ask: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ask(parse_yaml("m: {profil: 1}\nn: 3\nl: [a, 2]\nf: true\nodd: {7: x}", FILE))


def test_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "latin").write_bytes(b"a: \xff")
    with pytest.raises(UserError, match="cannot be read"):
        load_yaml(tmp_path / "latin")
    (tmp_path / "good").write_text("a: 1")
    assert isinstance(load_yaml(tmp_path / "good"), Node)


@dataclass(frozen=True)
class _Part:
    fragment: str
    when: str


@dataclass(frozen=True)
class _Entry:
    about: str
    cost: Annotated[str, choice("plain", "sanitized")] = "plain"
    parts: tuple[str | _Part, ...] = ()
    minutes: Annotated[int, msgspec.Meta(ge=1)] = 1
    ratio: float = 1
    note: str | None = None
    settings: Mapping[str, bool | int | str | tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    entries: Mapping[str, _Entry]


@dataclass(frozen=True)
class _Named:
    name: str
    minutes: int


def test_a_type_is_filled(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "entries:\n  one: {about: x, parts: [a, {fragment: b, when: c}], ratio: 2, note: null}\n"
        "  two: {about: y, settings: {a: yes, b: 1, c: d, e: [f]}}"
    )
    assert load(tmp_path / "a", _File) == _File(
        {
            "one": _Entry("x", parts=("a", _Part("b", "c")), ratio=2.0),
            "two": _Entry("y", settings={"a": True, "b": 1, "c": "d", "e": ("f",)}),
        }
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("about: x, cost: plan", "cost: expected one of plain, sanitized, got 'plan' (did you mean plain?)"),
        ("about: x, cost: 1", "cost: expected one of plain, sanitized, got 1"),
        ("about: x, cots: plain", "cots: unknown key (did you mean cost?)"),
        ("cost: plain", "the key about is missing"),
        ("about: 1.05", "about: expected text, got 1.05; put it in quotes"),
        ("about: {a: b}", "about: expected text"),
        ("about: x, parts: a", "parts: expected a list, got 'a'"),
        ("about: x, parts: [a, 1]", "parts[1]: expected text or a mapping, got 1"),
        ("about: x, parts: [a, [b]]", "parts[1]: expected text or a mapping"),
        ("about: x, parts: [a, {fragment: b}]", "parts[1]: the key when is missing"),
        ("about: x, parts: [a, {fragment: b, when: 1}]", "parts[1].when: expected text, got 1; put it in quotes"),
        ("about: x, parts: [a, {fragment: b, wen: c}]", "parts[1].wen: unknown key (did you mean when?)"),
        ("about: x, minutes: true", "minutes: expected a whole number, got True"),
        ("about: x, minutes: 0", "minutes: expected a whole number >= 1, got 0"),
        ("about: x, ratio: y", "ratio: expected a number, got 'y'"),
        ("about: x, note: 3", "note: expected text or nothing, got 3"),
        ("about: x, settings: {a: [b, 1]}", "settings.a[1]: expected text, got 1; put it in quotes"),
        ("about: x, settings: {a: 1.5}", "settings.a: expected true or false, a whole number, text or a list, got 1.5"),
        ("about: x, settings: {7: a}", "settings: the key 7 must be a word; put it in quotes"),
    ],
)
def test_what_does_not_fit_a_type_is_named_with_its_place(text: str, words: str) -> None:
    root = parse_yaml(f"entries: {{good: {{about: x}}, bad: {{{text}}}}}", FILE)
    with pytest.raises(UserError) as error:
        root.convert(_File)
    joint = "." if re.match(r"[\w\[\].]+: ", words) else ": "
    assert str(error.value) == f"some.yaml: entries.bad{joint}{words}"


def test_the_whole_file_may_have_the_wrong_form() -> None:
    with pytest.raises(UserError, match=r"some\.yaml: the file: expected a mapping"):
        parse_yaml("[1]", FILE).convert(_File)
    with pytest.raises(UserError, match=r"some\.yaml: entries: expected a mapping"):
        parse_yaml("entries: [1]", FILE).convert(_File)


def test_a_name_that_is_given_is_not_a_key() -> None:
    assert parse_yaml("minutes: 3", FILE).convert(_Named, name="a") == _Named("a", 3)
    with pytest.raises(UserError, match=r"some\.yaml: name: unknown key"):
        parse_yaml("{name: b, minutes: 3}", FILE).convert(_Named, name="a")
    with pytest.raises(UserError, match=r"some\.yaml: minutes: expected a whole number"):
        parse_yaml("minutes: x", FILE).convert(_Named, name="a")
    with pytest.raises(UserError, match=r"some\.yaml: the file: expected a mapping"):
        parse_yaml("[]", FILE).convert(_Named, name="a")


@given(st.dictionaries(st.sampled_from(["about", "cost", "parts", "minutes", "ratio", "settings"]), _VALUES))
def test_any_value_fits_or_is_a_user_error(value: Any) -> None:
    try:
        Node({"entries": {"a": value}}, FILE).convert(_File)
    except UserError as error:
        assert str(error).startswith("some.yaml: entries.a")


@pytest.mark.parametrize(
    "entry",
    [
        {"about": "\ud800"},
        {"about": "x", "cost": "\ud800"},
        {"about": "x", "ratio": 10**400},
        {"about": "x", "minutes": 10**400},
    ],
)
def test_text_and_numbers_that_no_type_holds(entry: Any) -> None:
    try:
        Node({"entries": {"a": entry}}, FILE).convert(_File)
    except UserError as error:
        assert str(error).startswith("some.yaml: entries.a.")
