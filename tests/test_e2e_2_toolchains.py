"""Both plugins: every value of the corpus, in their images."""

from __future__ import annotations

import pytest

from tests.e2e import invoke

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", ["plugin-19", "plugin-23"])
def test_verify(name: str) -> None:
    said = invoke("toolchain.verify", name, "--runtime", "docker", "--json")
    assert said.code == 0, said.err
    total = said.json()["total"]
    assert total["wrong"] == 0
    assert total["equal"] > 1500
    assert len(said.json()["modes"]) == 6
