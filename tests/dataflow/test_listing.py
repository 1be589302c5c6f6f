"""Lines of a call tree: what is known of a value is written, and what is not is not made up."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow.capture import Capture
from dataflow.formatting import Field, Form
from dataflow.listing import Shown, line, objects, text
from dataflow.symbols import Symbols
from dataflow.tree import Call, Seen, Value
from dataflow.types import Function, Parameter

PC, MODULE = 0x1000, 0x2000
INT = Parameter("n", "int", Form("signed", 4), None)
FIELDS = (Field("a", 0, 8, Form("unsigned", 8)), Field("b", 8, 4, Form("flags", 4)))
OBJECT = Parameter("p", "struct s *", Form("pointer", 8), FIELDS)
BY_VALUE = Parameter("v", "struct s", Form("bytes", 16), FIELDS)
TABLE = ((0, 8), (8, 4))
UNREADABLE = 0xBADADD85


class FakeTypes:
    """Knows one function with one parameter."""

    def __init__(self, parameter: Parameter | None, returned: Parameter | None = None) -> None:
        self.known = None if parameter is None else Function("dwarf_name", (parameter,), returned)

    def function(self, address: int) -> Function | None:
        return self.known if address == PC else None


def shown(calls: list[Call], types: FakeTypes, dropped: int = 0) -> Shown:
    names = (("dwarf_name", "alias"), ("inside",))
    table = Symbols(np.array([PC, MODULE], dtype=np.uint64), names, {}, {MODULE: "m"}, PC, MODULE)
    one = Capture("x", "kit-1", 512, dropped, {}, {}, PC, {}, "x86_64", np.array([0], dtype=np.uint64))
    return Shown(one, tuple(calls), table, types)  # type: ignore[arg-type]


def value(
    *values: int,
    fields: tuple[tuple[int, int], ...] | None = None,
    pointer: int = 0xFFFF_8880_0000_0000,
    size: int = 8,
    certain: bool = True,
) -> Value:
    return Value(0, 0, size, pointer, values, fields, certain)


def argument(one: Value, parameter: Parameter | None) -> str:
    call = Call(PC, 0, [one], None, Seen.RECORDED, Seen.NONE)
    return line(shown([call], FakeTypes(parameter)), call).split("(", 1)[1].rsplit(")", 1)[0]


@pytest.mark.parametrize(
    ("one", "parameter", "said"),
    [
        (value(5), INT, "n=5"),
        (value(5), None, "arg0=0x5"),
        (value(1, 2, fields=TABLE), OBJECT, "p={a=1, b=0x2}"),
        (value(1, 2, fields=TABLE), BY_VALUE, "v={a=1, b=0x2}"),
        (value(0, 0, fields=TABLE, pointer=0), OBJECT, "p=NULL"),
        (value(UNREADABLE, UNREADABLE, fields=TABLE, pointer=2**64 - 12), OBJECT, "p=-ENOMEM"),
        (value(UNREADABLE, UNREADABLE, fields=TABLE), OBJECT, "p={<unreadable>}"),
        (value(1, UNREADABLE, fields=TABLE), OBJECT, "p={a=1, b=<unreadable>}"),
        (value(0, pointer=0, size=0), INT, "n=<removed>"),
        # The compiler saw a declaration only: it passed the pointer, though the type is known elsewhere.
        (value(0xFFFF_8880_0000_0010), OBJECT, "p=0xffff888000000010"),
        # The type in the debug information is not the one that the compiler saw.
        (value(1, 2, fields=((0, 8), (16, 8))), OBJECT, "p={+0=0x1, +16=0x2}"),
        (value(1, 2, 3, fields=((0, 8), (8, 8), (16, 8))), OBJECT, "p={+0=0x1, +8=0x2, +16=0x3}"),
        # No code to ask: the number of values must do.
        (value(1, 2, certain=False), OBJECT, "p={a=1, b=0x2}"),
        (value(1, 2, 3, certain=False), OBJECT, "p={0x1, 0x2, 0x3}"),
        (value(1, certain=False), OBJECT, "p=0x1"),
        (value(1, UNREADABLE, certain=False), None, "arg0={0x1, <unreadable>}"),
    ],
)
def test_arguments(one: Value, parameter: Parameter | None, said: str) -> None:
    assert argument(one, parameter) == said


@pytest.mark.parametrize(
    ("one", "parameter", "said"),
    [
        (value(2**32 - 2), INT, " = -ENOENT"),
        (value(3), INT, " = 3"),
        (value(3), None, " = 0x3"),
        (value(1, 2, fields=TABLE), OBJECT, " = 0xffff888000000000 {a=1, b=0x2}"),
        (value(1, 2, fields=TABLE), BY_VALUE, " = {a=1, b=0x2}"),
        (value(UNREADABLE, UNREADABLE, fields=TABLE, pointer=2**64 - 2), OBJECT, " = -ENOENT"),
        (value(0, 0, fields=TABLE, pointer=0), OBJECT, " = NULL"),
    ],
)
def test_returns(one: Value, parameter: Parameter | None, said: str) -> None:
    call = Call(PC, 0, [], one, Seen.NONE, Seen.RECORDED)
    assert line(shown([call], FakeTypes(INT, parameter)), call) == f"dwarf_name(){said}  [also alias]"


def test_what_is_missing_is_said() -> None:
    types = FakeTypes(INT, INT)
    no_entry = Call(PC, 0, [], value(0), Seen.MISSING, Seen.RECORDED)
    no_return = Call(PC, 0, [value(4)], None, Seen.RECORDED, Seen.MISSING)
    assert line(shown([], types), no_entry) == "dwarf_name(...) = 0  (return without an entry)  [also alias]"
    assert line(shown([], types), no_return) == "dwarf_name(n=4) = ?  (no return recorded)  [also alias]"


def test_modules_and_unknown_functions() -> None:
    types = FakeTypes(INT)
    assert line(shown([], types), Call(MODULE, 0, [value(4)], exit=Seen.NONE)) == "inside(arg0=0x4)  [module m]"
    assert line(shown([], types), Call(0x77, 0, [value(4)], exit=Seen.NONE)) == "0x77(arg0=0x4)"


def test_a_filter_indents_from_the_first_chosen_call() -> None:
    calls = [Call(0x77, 0, exit=Seen.NONE), Call(PC, 1, exit=Seen.NONE), Call(MODULE, 2, exit=Seen.NONE)]
    made = shown([*calls, Call(0x77, 1, exit=Seen.NONE)], FakeTypes(INT), dropped=3)
    assert list(text(made, "alias")) == [
        "dwarf_name()  [also alias]",
        "  inside()  [module m]",
        "(3 records did not fit into the buffer and were dropped)",
    ]
    assert [o["function"] for o in objects(made, "alias")] == ["dwarf_name", "inside"]


def test_numbers_in_json_are_text() -> None:
    call = Call(PC, 0, [value(2**64 - 1, 2, fields=TABLE)], None, Seen.RECORDED, Seen.NONE)
    (found,) = objects(shown([call], FakeTypes(OBJECT)))
    assert found["pc"] == "0x1000"
    assert found["arguments"][0]["values"] == ["0xffffffffffffffff", "0x2"]
    assert [f["name"] for f in found["arguments"][0]["fields"]] == ["a", "b"]
