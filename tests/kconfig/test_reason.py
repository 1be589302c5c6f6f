"""Reasons from expressions alone: graphs as the reader would print them, no tree and no compiler."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconfig import reason, symbols
from kconfig.fragment import Asked
from kconfig.survival import Lost


def symbol(name: str, value: str = "n", **more: Any) -> dict[str, Any]:
    """One symbol of the reader's JSON; with `prompt=EXPR` it can be set if EXPR holds."""
    prompts = [{"at": "Kconfig", "line": 2, "value": None, "if": more.pop("prompt")}] if "prompt" in more else []
    base = {
        "name": name,
        "type": "bool",
        "value": value,
        "visible": 2 if prompts and prompts[0]["if"] is None else 0,
        "transitional": False,
        "at": [["Kconfig", 1]],
        "depends": None,
        "selected": None,
        "prompts": prompts,
        "menus": [],
        "defaults": [],
        "ranges": [],
        "choice": None,
    }
    return base | more


def graph(*given_symbols: dict[str, Any], probes: Any = ()) -> symbols.Graph:
    return symbols.parse({"symbols": list(given_symbols), "probes": list(probes)})


def finding(of: symbols.Graph, name: str, want: str = "y", **asked: str) -> reason.Finding:
    lost = Lost(Asked(name, want, "--set", 0), of.symbols[name].value if name in of.symbols else "absent")
    return reason.find(of, lost, asked)


def test_a_dependency_two_levels_deep() -> None:
    of = graph(symbol("A", prompt="B"), symbol("B", prompt="C"), symbol("C", prompt=None))
    found = finding(of, "A")
    assert found.kind == "unmet dependency"
    assert [step.what for step in found.chain] == ["A", "B", "C"]
    assert dict(found.settings) == {"B": "y", "C": "y"}


def test_the_cheaper_branch_of_an_or_is_taken() -> None:
    of = graph(symbol("A", prompt=["or", "HIDDEN", "B"]), symbol("HIDDEN"), symbol("B", prompt=None))
    assert finding(of, "A").settings == (("B", "y"),)


def test_a_renamed_symbol_names_its_heir() -> None:
    heir = [{"at": "Kconfig", "line": 5, "value": "OLD", "if": None}]
    of = graph(symbol("OLD", prompt=None, transitional=True), symbol("NEW", prompt=None, defaults=heir, at=[["K", 9]]))
    assert "ask for NEW (K:9) instead" in finding(of, "OLD").sentence


def test_a_negated_dependency_wants_the_symbol_off() -> None:
    of = graph(symbol("A", prompt=["not", "B"]), symbol("B", "y", prompt=None))
    assert finding(of, "A").settings == (("B", "n"),)
    assert finding(of, "A", B="y").settings == (), "what the same request asks is no suggestion"


def test_a_compiler_test_is_found_on_the_lines_of_the_symbol() -> None:
    hidden = symbol("HAS", at=[["Kconfig", 10]])
    of = graph(
        symbol("A", prompt="HAS"), hidden, symbol("NEXT", at=[["Kconfig", 20]]), probes=[["Kconfig", 11, "false"]]
    )
    found = finding(of, "A")
    assert (found.kind, found.tests_of) == ("compiler test", "HAS")
    assert "compiler test of HAS failed (Kconfig:10)" in found.sentence
    outside = graph(
        symbol("A", prompt="HAS"), hidden, symbol("NEXT", at=[["Kconfig", 20]]), probes=[["Kconfig", 21, "x"]]
    )
    assert finding(outside, "A").kind == "invisible"


def test_selected_cannot_be_off() -> None:
    of = graph(symbol("A", "y", selected=["and", "B", "C"]), symbol("B", "y", prompt=None), symbol("C", "y"))
    found = finding(of, "A", "n")
    assert found.kind == "selected"
    assert found.settings == (("B", "n"),)


def test_a_choice_names_its_winner() -> None:
    of = graph(symbol("A", prompt=None, choice=["A", "B"]), symbol("B", "y", prompt=None, choice=["A", "B"]))
    found = finding(of, "A")
    assert found.kind == "choice"
    assert "B" in found.sentence
    assert finding(of, "B", "n").kind == "choice"


@pytest.mark.parametrize(
    ("one", "want", "kind"),
    [
        (symbol("A", prompt=None), "m", "type"),
        (symbol("A", type="integer", value="4", prompt=None), "y", "type"),
        (symbol("A", type="unknown"), "y", "undefined here"),
        (symbol("A", "y", defaults=[{"at": "K", "line": 3, "value": ["const", "y"], "if": None}]), "n", "invisible"),
        (symbol("A", transitional=True), "y", "invisible"),
        (symbol("A", type="tristate", value="y", prompt=None), "m", "modules"),
        (
            symbol(
                "A",
                type="integer",
                value="8",
                prompt=None,
                ranges=[{"at": "K", "line": 3, "value": ["range", ["const", "1"], ["const", "8"]], "if": None}],
            ),
            "9",
            "range",
        ),
    ],
)
def test_kinds(one: dict[str, Any], want: str, kind: str) -> None:
    assert finding(graph(one), "A", want).kind == kind


def test_an_unknown_symbol_comes_with_a_near_name_or_none() -> None:
    of = graph(symbol("KASAN_GENERIC"))
    assert "did you mean KASAN_GENERIC?" in finding(of, "KASAN_GENERICS").sentence
    assert "did you mean" not in finding(of, "ZZZ").sentence


_EXPR = st.recursive(
    st.sampled_from(["A", "B", "C", ["const", "n"], ["const", "y"]]),
    lambda inner: st.one_of(
        st.builds(lambda x: ["not", x], inner),
        st.builds(lambda op, x, y: [op, x, y], st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=12,
)


@given(_EXPR, _EXPR, st.sampled_from("ny"), st.sampled_from("nmy"))
def test_no_expression_makes_it_raise_and_granted_needs_grant(left: Any, right: Any, a: str, want: str) -> None:
    tri = {"type": "tristate"}
    of = graph(symbol("A", a, prompt=right, **tri), symbol("B", prompt=left, **tri), symbol("C", prompt=None, **tri))
    assert finding(of, "B", want).sentence
    found = reason.needs(of, left, 2)
    assert bool(found) == (of.value(left) < 2)
    last = {need.symbol: need.value for need in found}
    if all(need.symbol for need in found) and len(last) == len({(n.symbol, n.value) for n in found}):
        changed = graph(*(symbol(n, last.get(n, of.symbols[n].value), **tri) for n in "ABC"))
        # A symbol may stand in an expression both ways, so only expressions in which each leaf stands once are certain.
        if sum(str(left).count(f"'{n}'") > 1 for n in "ABC") == 0 and not isinstance(left, str):
            assert changed.value(left) == 2
