"""Commands that call a trainer, and what they show of its output."""

from __future__ import annotations

import pytest

from orchestrator.commands import trainer
from tests.support import new_client


def test_evaluate_shows_warnings_and_the_unit_of_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = {
        "samples": 3,
        "warning": "2 of 5 samples are left out",
        "values": {"accuracy": 0.5},
        "drawn": "samples",
    }
    monkeypatch.setattr(trainer, "_checkpoint", lambda ctx, place: place)
    monkeypatch.setattr(trainer, "_call", lambda ctx, words: [event])
    with new_client() as client:
        result = client.run("evaluate", "c", "--data", "faces=.")
    assert result.code == 0
    assert "warning: 2 of 5 samples are left out" in result.err
    assert "0.5000" in result.out
    assert "the 95 % interval, samples drawn" in result.out
