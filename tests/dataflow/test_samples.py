"""The sample modules: what is asked of their calls, and that a wrong one is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import buffers
from bench.buffers import Row
from dataflow import decoding, records, samples
from dataflow.symbols import Symbols

N = 0x8123_4567_89AB_CDEF


def symbols(language: str) -> Symbols:
    """A kernel with a module that has every sample function at an address of its own."""
    names = sorted({call.function for call in samples.calls(language, N)})
    mangled = [_mangled(language, name) for name in names]
    addresses = [0x1000 + 16 * i for i in range(len(names))]
    return Symbols(
        np.array(addresses, dtype=np.uint64),
        tuple((name,) for name in mangled),
        {},
        dict.fromkeys(addresses, f"kcov_dataflow_{language}"),
        0,
        1 << 32,
    )


def _mangled(language: str, name: str) -> str:
    crate = "Cs1_18kcov_dataflow_rust"
    if language == "c":
        return f"kdf_{name}"
    if name == "total":
        return f"_RNvMs_{crate}NtB4_4Pair5total"
    if name.startswith("generic_"):
        return f"_RINv{crate}7generic{'h' if name.endswith('u8') else 'm'}E"
    return f"_RNv{crate}{len(name)}{name}"


def table(language: str, calls: list[samples.Call]) -> records.Records:
    """A buffer with some calls, each followed by its return."""
    known = symbols(language)
    places = {name: int(a) for a, (name,) in zip(known.addresses, known.names, strict=True)}
    rows = []
    for call in calls:
        place = places[_mangled(language, call.function)]
        for index, values in enumerate(call.arguments):
            real = tuple(0xFFFF_8880_0000_1000 if v == samples.POINTER else v for v in values)
            rows.append(Row(buffers.ENTRY, place, real, index=index))
        rows.append(Row(buffers.RETURN, place, call.result))
    words = buffers.words(rows)
    return decoding.decode(np.array(words, dtype=np.uint64), "kit-1")


@pytest.mark.parametrize("language", ["c", "rust"])
def test_every_call_is_found_again(language: str) -> None:
    asked = samples.calls(language, N)
    made = table(language, asked)
    got = samples.recorded(made, made.pc, symbols(language), language)
    assert len(got) == len(asked)
    assert all(samples.same(a, g) for a, g in zip(asked, got, strict=True))


@pytest.mark.parametrize("language", ["c", "rust"])
def test_any_wrong_value_is_seen(language: str) -> None:
    for call in samples.calls(language, N):
        assert not samples.same(call, replace(call, result=(call.result[0] ^ 1,)))
        for i, values in enumerate(call.arguments):
            for k in range(len(values)):
                other = (*values[:k], 0 if values[k] == samples.POINTER else values[k] ^ 1, *values[k + 1 :])
                arguments = (*call.arguments[:i], other, *call.arguments[i + 1 :])
                assert not samples.same(call, replace(call, arguments=arguments))
        assert not samples.same(call, replace(call, arguments=call.arguments[1:]))


def test_the_values_are_those_of_the_source() -> None:
    by_name = {call.function: call for call in samples.calls("rust", N)}
    assert by_name["args8"].arguments[4] == (N * 5 & 0xFF,)
    signed = (N * 5 & 0xFF) - (256 if N * 5 & 0x80 else 0)
    before = sum(N * k & (1 << bits) - 1 for k, bits in ((1, 8), (2, 16), (3, 32), (4, 64)))
    assert by_name["args5"].result == ((before + signed) & (1 << 64) - 1,)
    assert by_name["slice"].arguments == ((samples.POINTER, 3),)
    assert {call.function for call in samples.calls("c", N)} == set(by_name) - {"fallible"}


@given(st.integers(0, (1 << 64) - 1))
def test_values_fit_their_words(n: int) -> None:
    for language in ("c", "rust"):
        for call in samples.calls(language, n):
            for values in (*call.arguments, call.result):
                assert all(v == samples.POINTER or 0 <= v < 1 << 64 for v in values)
