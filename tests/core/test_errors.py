"""The three kinds of failure and what a user sees of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InfraError, KitError, UnderTest, UserError, describe, nearest, printable


@pytest.mark.parametrize(("kind", "code"), [(UnderTest, 1), (UserError, 2), (InfraError, 3)])
def test_each_kind_has_its_code(kind: type[KitError], code: int) -> None:
    assert kind("x").exit_code == code


def test_what_a_user_sees() -> None:
    assert describe(UserError("it is wrong")).splitlines()[0] == "error: it is wrong"
    assert describe(InfraError("a", "b", Path("c"))) == "error: a\n  do: b\n  log: c"


def test_nothing_foreign_reaches_the_terminal_raw() -> None:
    assert printable("a line,\n\tanother: \u00e9") == "a line,\n\tanother: \u00e9"
    assert printable("\x1b[2J\x00\x85\u202e\udcff\r") == "?[2J?????"
    assert describe(UserError("bad \x1b[2J", "see \u202e")) == "error: bad ?[2J\n  do: see ?"


def test_nearest_names() -> None:
    assert nearest("kasn", ["kasan", "kcov"]) == " (did you mean kasan?)"
    assert nearest("zzzz", ["b", "a"]) == " (known: a, b)"
    assert nearest("x", []) == ""
