"""A host whose clock is wrong."""

from __future__ import annotations

import pytest

from orchestrator.commands import doctor
from orchestrator.onhost import helper
from tests.support import new_client


@pytest.mark.parametrize(
    ("there", "detail"),
    [(1000.0 + 86400, "1 d 00 h ahead of"), (0.0, "16 min 40 s behind"), (1100.0, None), (None, None)],
)
def test_a_host_whose_clock_differs_is_named(there: float | None, detail: str | None) -> None:
    rows = doctor._clock(there, 1000.0)
    assert [row[:2] for row in rows] == ([("clock", "warning")] if detail else [])
    assert not detail or rows[0][2].startswith(detail)


def test_doctor_compares_the_clock_of_the_host_with_its_own() -> None:
    with new_client() as client:
        assert "clock" not in client.run("doctor", "--on", "local").out
        assert "16 min" in client.run("doctor", "--on", "local", now=lambda: helper.time.time() + 1000).out
