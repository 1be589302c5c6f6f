"""The Rust part of the corpus: it is read, and a wrong value, a missing call or a program that fails is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.errors import InfraError
from core.process import Finished
from core.runtime import Runtime
from toolchain import specs, verify, verify_rust
from toolchain.expect import read_corpus
from toolchain.verify import Problem, Tally


class FakeSession:
    """Runs nothing: writes what a program would have left behind."""

    name = "host"

    def __init__(self, left: Callable[[Path], None], code: int = 0) -> None:
        self.left, self.code, self.scripts = left, code, 0

    def path(self, host_path: Path) -> str:
        return str(host_path)

    def run(self, argv: Sequence[str], *, cwd: Path, **_kw: object) -> Finished:
        self.scripts += 1
        self.left(cwd)
        return Finished(tuple(argv), self.code, (), 0.0)


def test_every_case_has_expectations_of_every_function() -> None:
    corpus = read_corpus(verify_rust.CORPUS, suffix=".rs")
    assert {"integers", "references", "values"} <= set(corpus)
    for case, lines in corpus.items():
        source = (verify_rust.CORPUS / f"{case}.rs").read_text()
        subjects = source.partition("#[cfg(driver)]")[0]
        declared = {word.partition("(")[0] for word in subjects.split() if word.startswith("r_") and "(" in word}
        assert {line.function for line in lines} == declared
        assert {line.function for line in lines if line.kind == "call"} == declared


def test_a_program_that_fails_is_a_wrong_value(tmp_path: Path) -> None:
    def left(folder: Path) -> None:
        for case in read_corpus(verify_rust.CORPUS, suffix=".rs"):
            (folder / f"{case}.failed").write_text("error: unknown option\nmore\n")

    session = FakeSession(left)
    found = verify_rust.run(session, tmp_path, tmp_path)
    assert session.scripts == len(verify_rust.LEVELS)
    assert found.total.wrong == len(found.problems) == 3 * len(found.cases)
    assert found.problems[0].what == "cannot be compiled or run: error: unknown option"
    assert set(found.failed) == set(found.cases)


def test_a_helper_that_does_not_compile_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="helper of the corpus"):
        verify_rust.run(FakeSession(lambda _folder: None, 9), tmp_path, tmp_path)


def test_both_languages_count_together() -> None:
    c = verify.Verification({"ints": Tally(1, 2, 3, 0)}, ["-O2"], [])
    rust = verify.Verification({"rust/ints": Tally(1, 4, 0, 1)}, ["rust"], [Problem("rust/ints", "rust", "f", "what")])
    both = c.joined(rust)
    assert (both.total.functions, both.total.equal, both.total.wrong) == (2, 6, 1)
    assert both.failed == ("rust/ints",)
    assert both.modes == ["-O2", "rust"]


@pytest.mark.e2e
@pytest.mark.parametrize(("toolchain", "generation"), [("plugin-19", "L0"), ("plugin-19-g1", "G1")])
def test_the_stock_rustc_with_the_plugin(tmp_path: Path, toolchain: str, generation: str) -> None:
    from core.runtime import Mount
    from toolchain import toolchains

    made = toolchains.ensure(specs.spec(toolchain), Runtime("docker"))
    with toolchains.open_session(made, [Mount(tmp_path, "/kdf/run", writable=True)]) as session:
        found = verify_rust.run(session, made.product.path, tmp_path, generation=generation, log=tmp_path / "log")
        assert found.problems == []
        assert found.total.functions == 30 * len(verify_rust.LEVELS)
        assert found.total.removed == 0
        gated = b"__kcov_df_table" in (tmp_path / "rust" / "1" / "integers.s.o").read_bytes()
        assert gated == (generation == "G1")
        if gated:
            # A gate without a text is no reason to call without one.
            (tmp_path / "gate.txt").write_text("nop")
            tools = session.path(made.product.path / "bin")
            argv = [f"{tools}/rustc", *verify_rust.GATED, "--crate-type=lib", "--cfg=subject", "rust/integers.rs"]
            log = tmp_path / "refused"
            assert not session.run(argv, cwd=tmp_path, log=log).ok
            assert "gate.txt has no text of a gate" in log.read_text()
