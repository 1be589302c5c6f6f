"""The three kinds of failure and what a user sees of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InfraError, KitError, UnderTest, UserError, describe, nearest


@pytest.mark.parametrize(("kind", "code"), [(UnderTest, 1), (UserError, 2), (InfraError, 3)])
def test_each_kind_has_its_code(kind: type[KitError], code: int) -> None:
    assert kind("x").exit_code == code


def test_what_a_user_sees() -> None:
    assert describe(UserError("it is wrong")) == "error: it is wrong"
    assert describe(InfraError("a", "b", Path("c"))) == "error: a\n  do: b\n  log: c"


def test_nearest_names() -> None:
    assert nearest("kasn", ["kasan", "kcov"]) == " (did you mean kasan?)"
    assert nearest("zzzz", ["b", "a"]) == " (known: a, b)"
    assert nearest("x", []) == ""
