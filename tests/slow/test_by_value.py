"""Generation L3 on a real kernel: our series for values, built, booted, every value checked."""

from __future__ import annotations

import pytest

from tests.e2e.user import first_record

pytestmark = pytest.mark.slow


def test_values_of_the_first_record() -> None:
    calls = first_record("kit-l3", "plugin-19-l3", "in an instrumented function")
    inlined = [c for c in calls if c["inlined"]]
    assert len(inlined) > 50
    assert "getname" in {c["function"] for c in inlined}
