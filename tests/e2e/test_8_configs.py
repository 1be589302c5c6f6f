"""Configurations on the real tree: a control differs in nothing else, and no loss is hidden.

Its oracle knows nothing of ours: the final `.config` is asked with the tree's own `scripts/config --state`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import KitError, UserError
from core.runtime import Runtime
from kconfig import differences, survival, symbols
from kernel import kernels
from kernel.cell import Cell, CellNames, resolve
from kernel.workplace import open_workplace

pytestmark = pytest.mark.e2e

CONTROLS = [
    ("none", "all"),
    pytest.param("none", "dataflow", marks=pytest.mark.slow),
    pytest.param("kasan", "kasan-all", marks=pytest.mark.slow),
    pytest.param("rt", "rt-all", marks=pytest.mark.slow),
    pytest.param("debug", "debug-all", marks=pytest.mark.slow),
    pytest.param("rust", "rust-all", marks=pytest.mark.slow),
    pytest.param("kcov", "kcov-all-both", marks=pytest.mark.slow),
]


def cell(profile: str, base: str = "tiny", sets: tuple[str, ...] = ()) -> Cell:
    return resolve(CellNames("plugin-19", "kit", profile, base, "x86_64", "7.1.8", sets=sets))


@pytest.mark.parametrize(("control", "profile"), CONTROLS)
def test_a_control_differs_in_the_feature_only(control: str, profile: str) -> None:
    configs = []
    for name in (control, profile):
        made = kernels.check_config(cell(name), Runtime("docker"))
        made.require()
        configs.append(survival.values(made.config.read_text()))
    found = {one.symbol for one in differences.configurations(configs[0], configs[1])}
    assert found, "the profile does something"
    assert {name for name in found if not name.startswith("KCOV_DATAFLOW")} == set()


@pytest.mark.slow
def test_y_that_became_m() -> None:
    made = kernels.check_config(cell("none", "defconfig", ("NET_9P=m", "9P_FS=y")), Runtime("docker"))
    assert [(one.symbol, one.asked.value, one.got) for one in made.lost] == [("9P_FS", "y", "m")]
    assert made.reasons[0].kind == "y->m"
    assert "9P_FS=y needs NET_9P=y, which is m (net/9p/Kconfig:" in made.reasons[0].sentence


@pytest.mark.slow
def test_a_suggestion_takes_nothing_else_away() -> None:
    # What would help NUMA (SMP and more) is open; what would help TRANSPARENT_HUGEPAGE is to take PREEMPT_RT back.
    made = kernels.check_config(cell("rt", sets=("TRANSPARENT_HUGEPAGE=y", "EXT4_FS=y")), Runtime("docker"))
    by_name = {one.symbol: one for one in made.reasons}
    assert by_name["EXT4_FS"].suggestion == ("BLOCK=y",)
    assert by_name["TRANSPARENT_HUGEPAGE"].suggestion == ()


def _state(tree: Path, config: Path, symbol: str) -> str:
    """What the tree's own script says of a symbol: y, m, n, undef or a value."""
    tool = ["bash", str(tree / "scripts/config"), "--file", str(config), "--keep-case", "--state", symbol]
    return subprocess.run(tool, capture_output=True, text=True, check=True).stdout.strip()


def _names() -> list[str]:
    """Every symbol that the tree's own parser knows and the user can name."""
    ready = kernels.prepare(cell("none"), Runtime("docker"))
    with open_workplace(ready) as place:
        place.configure()
        graph = symbols.load(place.session, place.build_dir, place.command, place.log, place.env)
    return sorted(s.name for s in graph.symbols.values() if s.type in ("bool", "tristate", "integer", "hex", "string"))


@pytest.mark.slow
def test_random_requests_are_refused_or_told() -> None:
    names = _names()
    assert len(names) > 15_000
    words = st.sampled_from(("y", "n", "m", "0", "7", "4096", "0x1000", '"some text"', '""', "-1"))
    wishes = st.dictionaries(st.sampled_from(names), words, min_size=1, max_size=12)
    seen = {"refused": 0, "granted": 0, "lost": 0}

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(wishes)
    def holds(wish: dict[str, str]) -> None:
        asked = cell("none", sets=tuple(f"{name}={value}" for name, value in wish.items()))
        try:
            ready = kernels.prepare(asked, Runtime("docker"))
            with open_workplace(ready) as place:
                final = place.configure().config
                lost = {one.symbol for one in survival.compare(ready.request, final.read_text())}
        except UserError:
            seen["refused"] += 1
            return
        except KitError as error:
            raise AssertionError(f"{wish}: {error}") from error
        tree = ready.tree.path / "linux"
        for one in ready.request.asked:
            got = _state(tree, final, one.symbol)
            text = one.value.strip('"')
            off = {"n", "undef"} if one.value == "n" else {"", "undef"} if one.value == '""' else set()
            same = got in off or got == text or (got.startswith("0x") and _same_number(got, text))
            assert same == (one.symbol not in lost), f"{one.symbol}: asked {one.value}, {final} says {got}"
            seen["lost" if one.symbol in lost else "granted"] += 1

    holds()
    assert seen["granted"] and seen["lost"], seen


def _same_number(got: str, asked: str) -> bool:
    try:
        return int(got, 16) == int(asked, 16)
    except ValueError:
        return False
