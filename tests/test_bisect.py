"""The search for the first bad candidate, with a judge of our own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.bisect import BAD, GOOD, SKIP, search
from core import checkout
from core.errors import InfraError, UserError


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


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_first_bad_one_is_found_or_said_to_be_among_those_not_judged(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(2, 40))
    first = data.draw(st.integers(1, count - 1))
    skipped = frozenset(data.draw(st.sets(st.integers(1, max(1, count - 2))))) - {count - 1}
    judge = Judge(first, skipped)
    state = tmp_path_factory.mktemp("bisect") / "state.json"
    found = search(names(count), judge, state)
    assert f"c{first}" in (found.first_bad, *found.between)
    assert set(found.between) <= {f"c{n}" for n in skipped}
    assert found.reason == f"{found.first_bad} does not compile"
    assert len(judge.asked) == len(set(judge.asked))
    if not skipped:
        assert len(judge.asked) <= 2 + count.bit_length()
    assert not state.exists()


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


def test_commits_from_one_to_another(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        own = ["-c", "user.name=k", "-c", "user.email=k@example.invalid", "-c", "init.defaultBranch=m"]
        return subprocess.run(["git", *own, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    for number in range(4):
        git("commit", "-q", "--allow-empty", "-m", str(number))
    commits = git("rev-list", "--reverse", "HEAD").split()
    assert checkout.git_between(str(tmp_path), commits[0], "HEAD") == commits
    with pytest.raises(UserError, match="is no ancestor of"):
        checkout.git_between(str(tmp_path), "HEAD", commits[0])
    with pytest.raises(UserError, match="has no commit nothing"):
        checkout.git_between(str(tmp_path), "nothing", "HEAD")
    with pytest.raises(UserError, match="is no repository on this machine"):
        checkout.git_between(str(tmp_path / "none"), "a", "b")
