"""A start that the host refuses because of another user has the same message as in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.commands import execute
from orchestrator.commands.execute import StartOptions
from orchestrator.core import hostfacts
from orchestrator.core.runjson import RunChanges
from orchestrator.errors import GpujobError
from orchestrator.targets.base import Refused
from tests.support import ScriptedHost
from tests.unit.core.test_plan import FACTS

HOLDER = {"name": "python", "user": "ana", "pid": 9, "used_mib": 700, "run": "x-1"}


def refused(kind: str, details: dict[str, Any]) -> GpujobError:
    host = ScriptedHost({"start": Refused(kind, "no", details=details)})
    with pytest.raises(GpujobError) as error:
        execute.start(host, "job", RunChanges("job-2"), StartOptions({}, (), False))  # type: ignore[arg-type]
    return error.value


def test_a_faster_client_is_named_with_the_next_command() -> None:
    no = refused("running", {"run": "job-1"})
    assert (no.what, no.exit_code) == ("job is already running as job-1", 1)
    assert no.next_step == "gpujob monitor job-1, or deploy with --name for a second run"


def test_the_process_that_uses_the_gpu_is_named_with_the_next_command() -> None:
    no = refused("gpu", {"processes": [HOLDER]})
    assert (no.what, no.why) == ("a GPU is in use", "python of ana (pid 9, 700 MiB, run x-1)")
    assert no.next_step == "deploy with --queue to wait for it, or with --share-gpu"


def test_any_other_refusal_is_passed_on_unchanged() -> None:
    assert refused("no-tmux", {}).what == "no"


def test_a_start_sends_the_live_runs_that_the_plan_allowed() -> None:
    facts = {**FACTS, "live_runs": [{"id": "x-1", "job": "x"}]}
    host = ScriptedHost({"start": {"run": {}}})
    options = execute.start_options(hostfacts.parse(facts), {}, share_gpu=True)
    execute.start(host, "x", RunChanges("x-2"), options)  # type: ignore[arg-type]
    request = host.requests[0][1]
    assert (request["share_gpu"], request["known_runs"]) == (True, ["x-1"])


def test_a_start_that_may_wait_says_so_and_a_plan_of_it_allows_gpus_in_use() -> None:
    host = ScriptedHost({"start": {"run": {}}})
    options = execute.start_options(hostfacts.parse(FACTS), {}, share_gpu=False, queue=True)
    execute.start(host, "x", RunChanges("x-2"), options)  # type: ignore[arg-type]
    assert host.requests[0][1]["queue"] is True


def test_a_job_that_waits_already_is_named_with_the_next_command() -> None:
    no = refused("queued", {"run": "x-1"})
    assert "already waits in the queue as x-1" in no.what
    assert no.next_step == "gpujob stop x-1, or deploy with --name for a second run"
