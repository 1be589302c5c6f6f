"""The distribution's rustc on our libLLVM, with a rustc that is a script."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from core.errors import InfraError, UnderTest
from core.runtime import Runtime
from toolchain import borrowed, llvm, specs

CALLS = "call void @__sanitizer_cov_trace_args(call void @__sanitizer_cov_trace_ret("


@pytest.fixture
def rustc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rustc first in PATH with the words of a test; the dynamic linker would take no script."""
    (tmp_path / "stock").mkdir()
    (tmp_path / "root" / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'stock'}:/usr/bin:/bin")
    monkeypatch.setattr(borrowed, "_SCRIPT", '#!/bin/sh\n# {linker}\nexec {rustc} "$@"\n')
    return tmp_path / "stock" / "rustc"


def install(root: Path, rustc: Path, body: str) -> dict[str, object]:
    rustc.write_text(f"#!/bin/sh\n{body}\n")
    rustc.chmod(0o755)
    with Runtime("host").open_session() as session:
        return borrowed.install(session, root)


# The output file is the word behind -o.
EMIT = 'while [ "$1" != -o ]; do shift; done; echo "%s" >"$2"'


def test_one_that_calls_our_callbacks(tmp_path: Path, rustc: Path) -> None:
    assert install(tmp_path / "root", rustc, EMIT % CALLS) == {"stock": str(rustc)}
    assert str(rustc) in (tmp_path / "root" / "bin" / "rustc").read_text()
    assert not (tmp_path / "root" / ".rustc").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'error: Unknown command line argument' >&2; exit 1", "rustc on our libLLVM failed"),
        (EMIT % "nothing", "does not emit a trace_args call"),
        (EMIT % "call void @__sanitizer_cov_trace_args(", "does not emit a trace_ret call"),
    ],
)
def test_one_that_does_not(body: str, said: str, tmp_path: Path, rustc: Path) -> None:
    with pytest.raises(UnderTest, match=said):
        install(tmp_path / "root", rustc, body)


def test_a_machine_whose_linker_is_not_known(tmp_path: Path, rustc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(InfraError, match="machine vax"):
        install(tmp_path / "root", rustc, EMIT % CALLS)


def test_how_it_is_run_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs.spec("llvm-19")
    assert spec.rustc == borrowed.STOCK
    before = llvm.rustc_inputs(spec)
    monkeypatch.setattr(borrowed, "_SCRIPT", "another")
    assert llvm.rustc_inputs(spec) != before
