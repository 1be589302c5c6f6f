"""Rust that is not there: the real tree says why, before anything is configured or compiled."""

from __future__ import annotations

import pytest

from core.errors import InfraError
from core.runtime import Runtime
from kconfig import profiles
from kernel import kernels, rust
from kernel.cell import Cell, CellNames, resolve
from kernel.workplace import open_workplace

# The tree asks only this of each program (scripts/rust_is_available.sh).
_PROGRAM = """#!/bin/sh
case "$*" in
*--version*) echo "{version}" ;;
*--print*) echo /usr ;;
esac
"""


def cell(profile_name: str = "rust-all", sets: tuple[str, ...] = ()) -> Cell:
    return resolve(CellNames("plugin-19", "kit", profile_name, "tiny", "x86_64", "7.1.8", sets=sets))


def test_the_words_of_the_tree_as_one_sentence() -> None:
    said = [
        "",
        "Rust compiler 'rustc' is too old.",
        "Your version:    1.63.0",
        "Minimum version: 1.85.0",
        "",
        "Please see Documentation/rust/quick-start.rst for details",
        "on how to set up the Rust support.",
    ]
    assert rust.reason(said) == "Rust compiler 'rustc' is too old. Your version: 1.63.0 Minimum version: 1.85.0"
    assert rust.reason([]) == ""


@pytest.mark.e2e
def test_what_is_missing_or_too_old_is_said_in_the_trees_own_words() -> None:
    ready = kernels.prepare(cell(), Runtime("docker"))
    with open_workplace(ready) as place:
        old = place.build_dir / "rustc-1.63"
        stub = place.build_dir / "bindgen-0.60"
        for file, version in (
            (old, "rustc 1.63.0 (4b91a6ea7 2022-08-08) (Debian 1.63.0+dfsg1-2)"),
            (stub, "bindgen 0.60.1"),
        ):
            file.write_text(_PROGRAM.format(version=version))
            file.chmod(0o755)
        inside = place.session.path

        def said(*words: str) -> str:
            with pytest.raises(InfraError) as caught:
                rust.require(place.session, [*place.command, *words], ready.request, place.log, place.env)
            assert caught.value.message.startswith("CONFIG_RUST is requested (kconfig/fragments/rust.config:")
            return caught.value.message

        rust.require(place.session, place.command, ready.request, place.log, place.env)
        assert "'bindgen-none' could not be found" in said("BINDGEN=bindgen-none")
        assert "is too old. Your version: 0.60.1 Minimum version: 0.71.1" in said(f"BINDGEN={inside(stub)}")
        assert "is too old. Your version: 1.63.0 Minimum version: 1.85.0" in said(f"RUSTC={inside(old)}")
        assert "'rustc-none' could not be found" in said("RUSTC=rustc-none")
        assert "Source code for the 'core' standard library could not be found" in said("RUST_LIB_SRC=/none")
        # A kernel without Rust is not asked.
        plain = profiles.compose("all", "tiny", "x86_64", "7.1.8")
        rust.require(place.session, ["false"], plain, place.log)
        for file in (old, stub):
            file.unlink()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "why"),
    [
        (("MODVERSIONS=y",), "RUST=y needs MODVERSIONS=n, which is y"),
        # It selects MODVERSIONS.
        (("RANDSTRUCT_FULL=y",), "RUST=y needs MODVERSIONS=n, which is y"),
    ],
)
def test_rust_hidden_by_another_symbol(sets: tuple[str, ...], why: str) -> None:
    made = kernels.check_config(cell(sets=sets), Runtime("docker"))
    notes = {one.symbol: one.note for one in made.lost}
    assert "RUST" in notes
    assert why in notes["RUST"]
