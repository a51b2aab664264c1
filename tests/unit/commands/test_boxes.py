"""What is done for a box while a command is under way."""

from __future__ import annotations

from orchestrator.commands import boxes
from tests.support import ScriptedHost


def test_a_box_is_kept_awake_between_questions_and_during_them() -> None:
    host = ScriptedHost({"lease": {}})
    host.label = "ec2://i-1"
    with boxes.awake(host):
        assert host.lease == boxes.LEASE
    assert host.lease is None


def test_a_host_that_is_no_box_is_not_asked_to_stay_awake() -> None:
    host = ScriptedHost({})
    with boxes.awake(host):
        assert host.lease is None
    assert host.asked == []
