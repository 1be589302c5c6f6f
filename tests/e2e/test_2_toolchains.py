"""Both plugins: every value of the corpus, in their images."""

from __future__ import annotations

import pytest

from tests.e2e.user import invoke

pytestmark = pytest.mark.e2e


# With a rustc its corpus is run, too, in three modes; Debian's stands on LLVM 19.
@pytest.mark.parametrize(("name", "rust"), [("plugin-19", 3), ("plugin-23", 0)])
def test_verify(name: str, rust: int) -> None:
    said = invoke("toolchain.verify", name, "--runtime", "docker", "--json")
    assert said.code == 0, said.err
    total = said.json()["total"]
    assert total["wrong"] == 0
    assert total["equal"] > 1500
    modes = said.json()["modes"]
    assert len([mode for mode in modes if mode.startswith("rust ")]) == rust
    assert len(modes) == 6 + rust
