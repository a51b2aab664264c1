"""The tags of a job, which an organization may require, are on all that gpujob creates, from the first."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.resources import Ec2, Resources
from orchestrator.core.spec import JobSpec, Limits
from orchestrator.instances import diagnostics, ensure, spec
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import AwsError
from orchestrator.instances.quote import for_trial, quote
from tests.unit.instances.test_odd_accounts import Start, live, started
from tests.unit.instances.test_week import Week, week

__all__ = ["week"]
TAGS = {"cost-center": "42"}


def _require_tag(one: Week) -> list[str]:
    """Refuse to create what lacks a tag, as an organization's policy may; return the kinds created."""
    real, kinds = one.aws.once, list[str]()

    def once(where: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if called in ("run_instances", "create_security_group"):
            for each in parameters["TagSpecifications"]:
                if {"Key": "cost-center", "Value": "42"} not in each["Tags"]:
                    raise AwsError("UnauthorizedOperation", each["ResourceType"], called, where, 403)
                kinds.append(each["ResourceType"])
        if parameters.get("DryRun"):
            raise AwsError("DryRunOperation", "", called, where, 412)
        return real(where, called, service, parameters)

    one.aws.once = once  # type: ignore[method-assign, assignment]
    return kinds


@pytest.mark.parametrize("spot", [False, True])
def test_all_that_a_launch_creates_has_the_tags_of_the_job(week: Start, spot: bool) -> None:
    one, client = started(week)
    kinds = _require_tag(one)
    account = Account(client.context(yes=True, now=lambda: one.clock.now, sleep=one.clock.sleep))
    ec2 = Ec2(types=["g5.xlarge"], tags=TAGS, spot=spot)
    job = JobSpec("job", resources=Resources(1, ec2), limits=Limits(max_hours=2.0))
    ensure.ensure(account, quote(job, "us-east-1", one.clock.now, account.ctx.who, 0))
    expected = {"security-group", "instance", "volume", "network-interface"}
    assert (len(live(one)), set(kinds) - {"spot-instances-request"}) == (1, expected)


def test_the_trial_of_doctor_has_the_tags_of_the_job(week: Start) -> None:
    one, client = started(week)
    _require_tag(one)
    account = Account(client.context(yes=True, now=lambda: one.clock.now, sleep=one.clock.sleep))
    job = JobSpec("job", resources=Resources(1, Ec2(types=["g5.xlarge"], tags=TAGS)))
    launch = quote(job, "us-east-1", one.clock.now, account.ctx.who, 0).spec
    ensure.ensure(account, for_trial("trial", launch, one.clock.now, account.ctx.who))
    assert len(live(one)) == 1


def test_doctor_tries_to_create_a_security_group_with_the_tags_of_the_job(week: Start) -> None:
    one, client = started(week)
    kinds = _require_tag(one)
    ctx = client.context(yes=True, now=lambda: one.clock.now, sleep=one.clock.sleep)
    job = JobSpec("job", resources=Resources(1, Ec2(types=["g5.xlarge"], tags=TAGS)))
    diagnostics._permissions(
        Account(ctx).cloud,
        spec.Candidate("us-east-1", "", "g5.xlarge", False),
        quote(job, "us-east-1", one.clock.now, ctx.who, 0).spec,
    )
    assert "security-group" in kinds
