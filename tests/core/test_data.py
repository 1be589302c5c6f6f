"""YAML as data: doubles and tags refused, every error with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.data import Node, load_yaml, parse_yaml
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
    assert node.integer("n") == 3
    assert node.integer("absent", 4) == 4
    assert node.flag("f")
    assert not node.flag("absent")
    assert node.mapping("m")["k"].integer("x") == 1
    node.only("s", "l", "n", "f", "m")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda n: n.get("m").only("profile"), r"some.yaml: m.profil: unknown key \(did you mean profile\?\)"),
        (lambda n: n.string("n"), "some.yaml: n: expected text, got 3; put it in quotes"),
        (lambda n: n.string("absent"), "some.yaml: the file: the key absent is missing"),
        (lambda n: n.strings("l"), r"some.yaml: l\[1\]: expected text, got 2"),
        (lambda n: n.strings("n"), "some.yaml: n: expected a list"),
        (lambda n: n.integer("f"), "some.yaml: f: expected a whole number, got True"),
        (lambda n: n.flag("n"), "some.yaml: n: expected true or false, got 3"),
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
