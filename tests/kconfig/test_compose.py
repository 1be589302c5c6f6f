"""Fragments and their composition: syntax, conditions, conflicts, and what the shipped profiles promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from kconfig import condition, fragment, profiles, survival
from kconfig.fragment import Asked, parse_fragment, parse_set

PROFILES = (
    "none", "kcov", "dataflow", "args-only", "ret-only", "dataflow-noinline", "all", "kcov-all-both", "kasan",
    "kasan-dataflow", "kasan-all", "rust", "rust-all", "rt", "rt-all", "debug", "debug-all",
)  # fmt: skip
BASES = ("tiny", "defconfig")
ARCHES = ("x86_64", "arm64")


def asked(request: profiles.Request) -> dict[str, str]:
    return {one.symbol: one.value for one in request.asked}


# --- fragments


def test_fragment_syntax() -> None:
    found = parse_fragment(
        "# What it is.\n\n# the reason\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=n\nCONFIG_D=m\n"
        '# two\n# lines\nCONFIG_E="a \\"b\\" c"\nCONFIG_F=-5\nCONFIG_G=0x1F\nCONFIG_H=""\n',
        "f.config",
    )
    assert [(one.symbol, one.value, one.line) for one in found] == [
        ("A", "y", 4),
        ("B", "n", 5),
        ("C", "n", 6),
        ("D", "m", 7),
        ("E", '"a \\"b\\" c"', 10),
        ("F", "-5", 11),
        ("G", "0x1F", 12),
        ("H", '""', 13),
    ]
    assert [one.reason for one in found][:2] == ["the reason", ""]
    assert found[4].reason == "two lines"
    assert found[0].origin == "f.config:4"
    assert found[1].config_line == "# CONFIG_B is not set"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=y", "f:1: 'A=y' is not a request: CONFIG_ is missing"),
        ("\nrubbish", "f:2: 'rubbish' is not a request"),
        ("CONFIG_A=yes", "f:1: the value yes is not y, m, n"),
        ("CONFIG_A=", "f:1: the value (nothing) is not y, m, n"),
        ('CONFIG_A="open', 'f:1: the string "open does not end'),
        ('CONFIG_A="a\x01"', "f:1: a string must not contain control"),
        ("CONFIG_A=y\nCONFIG_A=n", "f:2: CONFIG_A=n contradicts f:1, which requests y"),
        ("CONFIG_A-B=y", "is not a request"),
        (
            "# [x86-64] why\nCONFIG_A=y",
            "f:2: x86-64 is neither an architecture nor a comparison like >=7.2 (did you mean x86_64?)",
        ),
        ("# [>=7.x] why\nCONFIG_A=y", "f:2: 7.x is not a kernel version"),
    ],
)
def test_fragment_errors_name_the_place(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse_fragment(text, "f")
    assert sentence in error.value.message


@given(st.text(alphabet=st.sampled_from('CONFIG_AB=yn"m0x #[]>.,is not set\n\\'), max_size=80) | st.text(max_size=80))
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        found = parse_fragment(text, "f")
    except UserError as error:
        assert "f:" in error.message
    else:
        assert len({one.symbol for one in found}) == len(found)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), st.sampled_from(["y", "m", "n", "7", "0x7", '"x y"'])
    )
)
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    lines = [Asked(symbol, value, "f", 1).config_line for symbol, value in values.items()]
    assert {one.symbol: one.value for one in parse_fragment("\n".join(lines), "f")} == values


def test_set_from_the_command_line() -> None:
    assert parse_set("CONFIG_KASAN=y").symbol == "KASAN"
    assert parse_set("CMDLINE=a=b").value == '"a=b"'
    assert parse_set('CMDLINE=say "x" \\').value == '"say \\"x\\" \\\\"'
    for wrong in ("KASAN", "=y", "A B=y"):
        with pytest.raises(UserError, match="write SYMBOL=value"):
            parse_set(wrong)


# --- conditions


@pytest.mark.parametrize(
    ("text", "arch", "version", "holds"),
    [
        ("x86_64", "x86_64", "7.1.8", True),
        ("x86_64", "arm64", "7.1.8", False),
        ("x86_64, arm64", "arm64", "7.1.8", True),
        (">=7.2", "arm64", "7.1.8", False),
        (">=7.2", "arm64", "7.2.0", True),
        (">=7.2", "arm64", "7.2.0-rc3", False),
        (">=7.2-rc3", "arm64", "7.2.0-rc3-next-20260603", True),
        (">=6.12, <7.2", "arm64", "7.1.8", True),
        (">=6.12, <7.2", "arm64", "7.2.8", False),
        (">=6.12, x86_64", "arm64", "7.2.8", False),
        ("!=7.1.8", "arm64", "7.1.8", False),
    ],
)
def test_conditions(text: str, arch: str, version: str, holds: bool) -> None:
    assert condition.parse(text, "f:1").holds(arch, version) is holds


def test_versions_have_an_order() -> None:
    versions = ["6.12.107", "7.1.8", "7.2-rc1", "7.2-rc10", "7.2", "7.2.8", "10.0"]
    assert sorted([*versions[3:], *versions[:3]], key=condition.version_key) == versions


# --- composition


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiles and fragments of a test."""
    folder = tmp_path / "fragments"
    folder.mkdir()
    monkeypatch.setattr(fragment, "FOLDER", folder)
    (folder / "a.config").write_text("# why a\nCONFIG_X=y\nCONFIG_SAME=y\n")
    (folder / "b.config").write_text("# why b\nCONFIG_X=n\nCONFIG_SAME=y\n")
    (folder / "only-arm64.config").write_text("CONFIG_ARM=y\n# [x86_64, >=7.2] new there\nCONFIG_NEW=y\n")
    (folder / "only-x86_64.config").write_text("# [x86_64, >=7.2] new there\nCONFIG_NEW=y\n")
    file = tmp_path / "profiles.yaml"
    file.write_text(
        "bases:\n"
        "  tiny: {about: t, target: tinyconfig, fragments: [a]}\n"
        "  path: {about: p, fragments: [a]}\n"
        "profiles:\n"
        "  plain: {about: p, fragments: ['only-{arch}', {fragment: b, when: '>=99.0'}]}\n"
        "  clash: {about: c, fragments: [b]}\n"
        "  decided: {about: d, fragments: [b], override: {X: b}}\n"
    )
    return file


def test_two_values_are_an_error_with_both_places(own: Path) -> None:
    with pytest.raises(UserError) as error:
        profiles.compose("clash", "tiny", "x86_64", "7.1.8", file=own)
    assert (
        "CONFIG_X is asked twice: kconfig/fragments/a.config:2 requests y and kconfig/fragments/b.config:2 requests n"
        in (error.value.message)
    )


def test_override_and_set_decide(own: Path) -> None:
    request = profiles.compose("decided", "tiny", "x86_64", "7.1.8", file=own)
    one = request.asked[0]
    assert (one.symbol, one.value, one.reason) == ("X", "n", "why b")
    assert one.over == ("kconfig/fragments/a.config:2=y",)
    assert request.asked[1].also == ("kconfig/fragments/b.config:3",)
    assert "wins over kconfig/fragments/a.config:2=y" in str(one.as_row()["reason"])
    request = profiles.compose("clash", "tiny", "x86_64", "7.1.8", sets=["X=m", "Z=1"], file=own)
    assert asked(request) == {"X": "m", "SAME": "y", "Z": "1"}
    with pytest.raises(UserError, match="--set asks X twice: m and y"):
        profiles.compose("clash", "tiny", "x86_64", "7.1.8", sets=["X=m", "X=y"], file=own)


def test_conditions_choose_fragments_and_symbols(own: Path) -> None:
    assert "ARM" in asked(profiles.compose("plain", "tiny", "arm64", "7.2", file=own))
    assert "NEW" not in asked(profiles.compose("plain", "tiny", "arm64", "7.2", file=own))
    assert "NEW" in asked(profiles.compose("plain", "tiny", "x86_64", "7.2", file=own))
    assert "NEW" not in asked(profiles.compose("plain", "tiny", "x86_64", "7.1.8", file=own))


def test_a_file_of_the_user_as_base_and_as_fragment(own: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.config"
    config.write_text("CONFIG_OLD=y\n")
    request = profiles.compose("plain", f"path:{config}", "x86_64", "7.1.8", file=own)
    assert (request.target, request.base_text) == ("", "CONFIG_OLD=y\n")
    other = profiles.compose("plain", "tiny", "x86_64", "7.1.8", file=own)
    assert other.identity()["asked"] == request.identity()["asked"]
    assert other.identity()["base"] == "tinyconfig"
    assert str(request.identity()["base"]).startswith("sha256:")
    extra = tmp_path / "extra.config"
    extra.write_text("CONFIG_X=n\n")
    with pytest.raises(UserError, match=r"extra.config:1 requests n"):
        profiles.compose("plain", "tiny", "x86_64", "7.1.8", [str(extra)], file=own)
    assert asked(profiles.compose("plain", "tiny", "x86_64", "7.1.8", [extra], ["X=n"], file=own))["X"] == "n"
    extra.write_text("no config\n")
    for wrong in ("path:", "path", "path:/nowhere", "mini", f"path:{extra}"):
        with pytest.raises(UserError):
            profiles.compose("plain", wrong, "x86_64", "7.1.8", file=own)


def test_wrong_names_get_the_nearest(own: Path) -> None:
    with pytest.raises(UserError, match=r"there is no profile decide \(did you mean decided\?\)"):
        profiles.compose("decide", "tiny", "x86_64", "7.1.8", file=own)
    with pytest.raises(UserError, match=r"there is no base tny \(did you mean tiny\?\)"):
        profiles.compose("plain", "tny", "x86_64", "7.1.8", file=own)
    with pytest.raises(UserError, match=r"did you mean x86_64"):
        profiles.compose("plain", "tiny", "x86", "7.1.8", file=own)
    own.write_text(own.read_text().replace("[a]", "[aa]"))
    with pytest.raises(UserError, match="there is no fragment aa"):
        profiles.compose("plain", "tiny", "x86_64", "7.1.8", file=own)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("override: {X: b}", "override: {X: c}", "X: c is not among the fragments"),
        ("override: {X: b}", "override: {CONFIG_X: b}", "write X without CONFIG_"),
        ("when: '>=99.0'", "when: 'riscv'", "riscv is neither an architecture"),
        ("target: tinyconfig, ", "", "the key target is missing"),
        ("about: c", "abut: c", "unknown key (did you mean about?)"),
    ],
)
def test_errors_in_the_file_name_the_place(own: Path, old: str, new: str, sentence: str) -> None:
    text = own.read_text()
    assert old in text
    own.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        profiles.load(own)
    assert sentence in error.value.message
    assert "profiles.yaml" in error.value.message


_ENTRIES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["P", "Q", "R"]), st.sampled_from(["y", "n", "m"])), max_size=12
)


@given(
    _ENTRIES,
    st.dictionaries(st.sampled_from(["P", "S"]), st.sampled_from(["y", "n"])),
    st.sampled_from([{}, {"Q": "b"}]),
)
def test_composition_never_drops_a_request(
    entries: list[tuple[str, str, str]], sets: dict[str, str], override: dict[str, str]
) -> None:
    given_entries = [
        (name, Asked(symbol, value, f"{name}.config", i)) for i, (name, symbol, value) in enumerate(entries, 1)
    ]
    given_sets = {symbol: Asked(symbol, value, "--set", 0) for symbol, value in sets.items()}
    values: dict[str, set[str]] = {}
    for _name, symbol, value in entries:
        values.setdefault(symbol, set()).add(value)
    undecided = {
        symbol
        for symbol, found in values.items()
        if len(found) > 1
        and symbol not in sets
        and not any(name == override.get(symbol) and s == symbol for name, s, _v in entries)
    }
    try:
        merged = profiles.merge(given_entries, given_sets, override)
    except UserError as error:
        assert any(f"CONFIG_{symbol} " in error.message for symbol in undecided)
        return
    assert not undecided
    assert {one.symbol for one in merged} == set(values) | set(sets)
    assert all(one.value == sets.get(one.symbol, one.value) for one in merged)
    # Each place that asked is named: as the winner, as the same, or as a loser.
    for symbol in values:
        one = next(m for m in merged if m.symbol == symbol)
        places = sum(s == symbol for _n, s, _v in entries) + (symbol in sets)
        assert 1 + len(one.also) + len(one.over) == places


# --- what the shipped profiles promise


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", PROFILES)
def test_every_shipped_symbol_has_a_reason(name: str, base: str, arch: str) -> None:
    request = profiles.compose(name, base, arch, "7.1.8")
    assert not [one.origin for one in request.asked if not one.reason]


def test_every_fragment_is_used() -> None:
    bases, known = profiles.load()
    used = {
        p.name.replace("{arch}", arch)
        for group in (bases, known)
        for one in group.values()
        for p in one.parts
        for arch in ARCHES
    }
    assert used == {path.stem for path in fragment.FOLDER.glob("*.config")}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("base", BASES)
def test_the_control_differs_in_dataflow_only(base: str, arch: str) -> None:
    def others(name: str) -> dict[str, str]:
        values = asked(profiles.compose(name, base, arch, "7.1.8"))
        return {symbol: value for symbol, value in values.items() if not symbol.startswith("KCOV_DATAFLOW_")}

    for control, *controlled in (
        ("none", "all", "dataflow", "args-only", "ret-only", "dataflow-noinline"),
        ("kcov", "kcov-all-both"),
        ("kasan", "kasan-dataflow", "kasan-all"),
        ("rust", "rust-all"),
        ("rt", "rt-all"),
        ("debug", "debug-all"),
    ):
        for name in controlled:
            assert others(control) == others(name), name
    assert others("none")["FRAME_WARN"] == "4096"
    assert others("none")["KCOV"] == "y"


@pytest.mark.parametrize("name", PROFILES)
def test_what_every_profile_states(name: str) -> None:
    values = asked(profiles.compose(name, "defconfig", "x86_64", "7.1.8"))
    assert values["KCOV_INSTRUMENT_ALL"] == ("y" if name in ("kcov", "kcov-all-both") else "n")
    assert values["WERROR"] == "n"
    assert values["SECTION_MISMATCH_WARN_ONLY"] == "n"
    assert values["KCOV_DATAFLOW_NO_INLINE"] == ("y" if name == "dataflow-noinline" else "n")
    assert values["DEBUG_INFO_DWARF5"] == "y"
    if name == "kasan-all":
        assert (values["KASAN"], values["SLUB_TINY"], values["FRAME_WARN"]) == ("y", "n", "0")


def test_rows_list_everything() -> None:
    rows = profiles.rows()
    assert {row["name"] for row in rows if row["kind"] == "profile"} == set(PROFILES)
    assert {row["name"] for row in rows if row["kind"] == "base"} == {*BASES, "path"}


def test_what_must_hold_is_compared_and_not_asked(tmp_path: Path) -> None:
    request = profiles.compose("rust-all", "tiny", "x86_64", "7.1.8")
    must = {one.symbol: one.value for one in request.must}
    assert must == {"KCOV_DATAFLOW": "y", "DEBUG_INFO": "y", "RUST_IS_AVAILABLE": "y", "KCOV_DATAFLOW_RUST": "y"}
    assert "RUST_IS_AVAILABLE" not in asked(request)
    # A kernel that was stored before a value had to hold is not taken for one in which it does.
    assert replace(request, must=()).identity() != request.identity()
    lost = survival.compare(replace(request, asked=()), "CONFIG_KCOV_DATAFLOW=y\nCONFIG_DEBUG_INFO=y\n")
    assert [one.symbol for one in lost] == ["RUST_IS_AVAILABLE", "KCOV_DATAFLOW_RUST"]
    assert "profiles.rust-all.must" in str(lost[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [("cost: cheap", "there is no cost cheap"), ("must: {X: [1]}", "must"), ("must: {X: 'a b'}", "must")],
)
def test_wrong_costs_and_musts(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(f"bases: {{}}\nprofiles:\n  a:\n    about: x\n    fragments: [kcov]\n    {text}\n")
    with pytest.raises(UserError, match=said):
        profiles.load(file)
