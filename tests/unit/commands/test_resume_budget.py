"""`deploy --resume` of a run on EC2 whose limits are used up is refused before EC2 is called."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core import runfacts
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.store import CachedRun, Store
from tests.support import Client, new_client
from tests.unit.instances.fake_account import FakeAccount

RUN = "job-20261121T101112-1a2b"
HOUR = 3600.0
STATE = {"ended": 9 * HOUR, "reason": "preempted", "used_seconds": 9 * HOUR, "attempt": 1}
ON = Instance(
    id="i-1", region="us-east-1", launched=0.0, run=RUN, job="job", zone="us-east-1a", type="g5.xlarge",
    types=("g5.xlarge",), usd_per_hour=0.995, running_seconds=9 * HOUR,
)  # fmt: skip
PLACES = {
    "a spot instance that ended": {"spot": True, "state": "terminated", "ended": 9 * HOUR, "volume": "vol-1"},
    "a spot instance that EC2 stopped": {"spot": True, "state": "stopped", "volume": "vol-1"},
    "an instance on demand that its deadline stopped": {"state": "stopped", "deadline": 9 * HOUR},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("limits", "options", "message", "raised"),
    [
        ({"budget_usd": 8.0}, (), "$8.00 is spent, over all its instances", "--budget 17"),
        ({"budget_usd": 8.0}, ("--budget", "8.5"), "of $8.50 is spent", "--budget 18"),
        ({"max_hours": 8.0}, (), "9.00 of 8, over all its attempts", "--max-hours 17"),
    ],
)
def test_a_spent_limit_is_refused_before_anything_is_launched(
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    limits: dict[str, float],
    options: tuple[str, ...],
    message: str,
    raised: str,
) -> None:
    aws = FakeAccount(monkeypatch)
    aws.instance("i-1", state=str(PLACES[place]["state"]))
    aws.volume("vol-1")
    with new_client() as client:
        recorded(client, PLACES[place], limits)
        words = ("deploy", "--resume", RUN, *options)
        for more in (("--yes",), ("--dry-run",)):
            refused = client.run(*words, *more, now=lambda: 9 * HOUR)
            text = " ".join(refused.err.split())
            assert (refused.code, message in text, raised in text) == (1, True, True), text
        assert aws.calls == []


def recorded(client: Client, place: dict[str, Any], limits: dict[str, float]) -> None:
    """Record an instance at $1 an hour that ran for 9 hours, and its run."""
    Account(client.context()).records.save(replace(ON, **place))
    resources = {"gpus": 1, "ec2": {"types": ["g5.xlarge"]}}
    run = {"job": "job", "limits": limits, "resources": resources}
    facts = runfacts.parse_run({"id": RUN, "run": run, "state": STATE, "checkpoints": {"last": 7}})
    assert facts
    Store(client.state_dir).save_run(CachedRun("ec2://i-1", 9 * HOUR, facts))
