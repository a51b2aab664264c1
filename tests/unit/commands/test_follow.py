"""How a run that was followed ended."""

from __future__ import annotations

import pytest

from orchestrator.commands import follow
from orchestrator.errors import JobFailed
from tests.support import Client, ScriptedHost
from tests.unit.commands.scripted import SEEN, client

__all__ = ["client"]


def test_the_last_line_of_a_failed_run_is_not_given_as_its_cause(client: Client) -> None:
    state = {**SEEN["state"], "ended": 2.0, "exit_code": 3, "reason": "exit"}
    log = {"bytes": 7, "tail": ["step 4/20"]}
    run = {**SEEN, "state": state, "supervised": False, "pids": [], "log": log}
    with pytest.raises(JobFailed) as failed:
        follow.ended(client.context(), ScriptedHost({"status": {"runs": [run]}}), SEEN["id"])
    assert failed.value.what.endswith("failed: exit code 3")
    assert failed.value.why == "its log ends with: step 4/20"
