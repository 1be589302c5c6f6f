"""The search for the first bad candidate, with a judge of our own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cells import bisection
from cells.bisection import BAD, GOOD, SKIP, WRONG, search
from cells.prefixes import Row
from core.errors import InfraError, UserError
from core.runtime import Runtime
from kernel.cell import Cell
from sources import checkout
from tests.resolved import made_up


class Judge:
    """Good before `first_bad`; some cannot be judged."""

    def __init__(self, first_bad: int, skipped: frozenset[int] = frozenset()) -> None:
        self.first_bad, self.skipped = first_bad, skipped
        self.asked: list[int] = []

    def __call__(self, name: str) -> tuple[str, str]:
        number = int(name[1:])
        self.asked.append(number)
        if number in self.skipped:
            return SKIP, "the engine went away"
        return (BAD, f"{name} does not compile") if number >= self.first_bad else (GOOD, "")


def names(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_first_bad_one_is_found_or_said_to_be_among_those_not_judged(tmp_path: Path, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    first = data.draw(st.integers(1, count - 1))
    skipped = frozenset(data.draw(st.sets(st.integers(1, max(1, count - 2))))) - {count - 1}
    judge = Judge(first, skipped)
    state = tmp_path / "state.json"
    state.unlink(missing_ok=True)
    found = search(names(count), judge, state)
    assert f"c{first}" in (found.first_bad, *found.between)
    assert set(found.between) <= {f"c{n}" for n in skipped}
    assert found.reason == f"{found.first_bad} does not compile"
    assert len(judge.asked) == len(set(judge.asked))
    if not skipped:
        assert len(judge.asked) <= 2 + count.bit_length()
    assert state.exists() == bool(found.between), "what is not decided can be gone on with"


@pytest.mark.parametrize(
    ("verdicts", "first_bad"),
    [
        # The records are not exact yet at c1 and c2; what is looked for is the kernel that does not boot.
        ((GOOD, WRONG, WRONG, GOOD, BAD, BAD), "c4"),
        ((WRONG, WRONG, WRONG, WRONG, BAD), "c4"),
        # Here the records themselves are what is bad.
        ((GOOD, GOOD, GOOD, WRONG, WRONG), "c3"),
        ((GOOD, GOOD, BAD, BAD, WRONG), "c2"),
    ],
)
def test_wrong_records_are_bad_if_the_bad_end_has_no_other_fault(
    verdicts: tuple[str, ...], first_bad: str, tmp_path: Path
) -> None:
    found = search(names(len(verdicts)), lambda name: (verdicts[int(name[1:])], "why"), tmp_path / "state.json")
    assert found.first_bad == first_bad


def test_two_ends_with_wrong_records_are_no_span(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="c0 is bad, not good"):
        search(names(3), lambda _name: (WRONG, "why"), tmp_path / "state.json")


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    judge = Judge(7, frozenset({8}))

    def dies(name: str) -> tuple[str, str]:
        if len(judge.asked) == 4:
            raise KeyboardInterrupt
        return judge(name)

    with pytest.raises(KeyboardInterrupt):
        search(names(16), dies, state)
    before = set(judge.asked)
    assert set(json.loads(state.read_text())) == {f"c{n}" for n in before}
    judge.asked.clear()
    assert search(names(16), judge, state).first_bad == "c7"
    assert not (set(judge.asked) - {8}) & before, "a verdict is not made twice"


def test_ends_that_are_not_as_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="c0 is bad, not good"):
        search(names(4), Judge(0), tmp_path / "a")
    with pytest.raises(UserError, match="c3 is good, not bad"):
        search(names(4), Judge(9), tmp_path / "b")
    with pytest.raises(InfraError, match="c3 could not be judged: the engine went away"):
        search(names(4), Judge(2, frozenset({3})), tmp_path / "c")


def test_what_could_not_be_judged_is_no_success_and_is_tried_again(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    ill = search(names(5), Judge(3, frozenset({1, 2, 3})), state)
    assert (ill.first_bad, ill.between) == ("c4", ("c1", "c2", "c3"))
    with pytest.raises(InfraError, match="c4, or one of c1, c2, c3, which could not be judged: the engine went away"):
        ill.require()
    well = Judge(3)
    found = search(names(5), well, state)
    assert (found.first_bad, found.between) == ("c3", ())
    assert not {0, 4} & set(well.asked)
    found.require()
    assert not state.exists()


def _prefixes(monkeypatch: pytest.MonkeyPatch, patches: list[str], toolchain: str, first_bad: int) -> list[int]:
    """Let a series of patches with these hashes break at one of them; the prefixes that get judged, as they are."""
    asked: list[int] = []

    def judge(_cell: Cell, number: int, *_words: object, **_named: object) -> Row:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(number)
        return Row(number, "", "failed" if number >= first_bad else "passed")

    monkeypatch.setattr(bisection.kernels, "prepare", lambda *_, **__: SimpleNamespace(inputs={"toolchain": toolchain}))
    monkeypatch.setattr(bisection.prefixes, "judge", judge)
    return asked


def test_verdicts_are_of_these_patches_and_this_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [f"p{number}" for number in range(16)]
    new = [*old[:3], "mended", *old[4:]]
    for patches, toolchain in ((old, "1"), (new, "1"), (old, "2")):
        asked = _prefixes(monkeypatch, patches, toolchain, 4)
        with pytest.raises(KeyboardInterrupt):
            bisection.run(made_up(*patches), Runtime("docker"), "0", "16")
        assert asked == [0, 16, 8], "nothing was known of these"
    asked = _prefixes(monkeypatch, old, "1", 4)
    assert bisection.run(made_up(*old), Runtime("docker"), "0", "16").first_bad == "s@4"
    assert asked == [4, 2, 3], "what was known of the first is kept"


def test_commits_of_another_branch_are_not_between(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        own = ["-c", "user.name=k", "-c", "user.email=k@example.invalid", "-c", "init.defaultBranch=m"]
        return subprocess.run(["git", *own, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    def commit(title: str) -> str:
        git("commit", "-q", "--allow-empty", "-m", title)
        return git("rev-parse", "HEAD").strip()

    git("init", "-q")
    start = commit("start")
    git("checkout", "-q", "-b", "side")
    side = commit("on the side")
    git("checkout", "-q", "m")
    main = commit("on m")
    git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = git("rev-parse", "HEAD").strip()
    last = commit("last")
    # One of the two is not a child of the other: that one is bad says nothing about the other.
    assert checkout.git_between(str(tmp_path), start, "HEAD") == [start, main, merge, last]
    assert checkout.git_between(str(tmp_path), side, "HEAD") == [side, main, merge, last]


def test_commits_from_one_to_another(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        own = ["-c", "user.name=k", "-c", "user.email=k@example.invalid", "-c", "init.defaultBranch=m"]
        return subprocess.run(["git", *own, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    for number in range(4):
        git("commit", "-q", "--allow-empty", "-m", str(number))
    commits = git("rev-list", "--reverse", "HEAD").split()
    assert checkout.git_between(str(tmp_path), commits[0], "HEAD") == commits
    with pytest.raises(UserError, match="is not an ancestor of"):
        checkout.git_between(str(tmp_path), "HEAD", commits[0])
    with pytest.raises(UserError, match="has no commit nothing"):
        checkout.git_between(str(tmp_path), "nothing", "HEAD")
    with pytest.raises(UserError, match="is not a repository on this machine"):
        checkout.git_between(str(tmp_path / "none"), "a", "b")
