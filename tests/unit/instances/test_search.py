"""The search by tags reads every region, page and answer, and says which it could not read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.instances import answers, inventory
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError
from tests.support import Client
from tests.unit.instances.fake_account import FakeAccount
from tests.unit.instances.test_survey import FUTURE, NOW, PAST, aws, client, run

__all__ = ["aws", "client"]


def test_regions_are_asked_for_in_the_partition_of_the_settings(
    client: Client, aws: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    real: Callable[..., Any] = Cloud._once

    def once(cloud: Cloud, region: str, operation: str, *more: Any) -> Any:
        asked.append((region, operation))
        if operation == "describe_regions":
            return {"Regions": [{"RegionName": "cn-north-1"}, {"RegionName": "cn-northwest-1"}]}
        return real(region, operation, *more)

    monkeypatch.setattr(Cloud, "_once", once)
    aws.instance("i-1", user="bob@desk", expires=FUTURE)
    client.env["AWS_REGION"] = "cn-north-1"
    result = run(client, "cost", "--json")
    assert result.code == 0, result.err
    assert {region for region, _ in asked} == {"cn-north-1", "cn-northwest-1"}
    assert {one["usd_per_month"] for one in result.json["resources"]} == {None}


def test_a_region_that_the_account_has_not_enabled_is_skipped(
    client: Client, aws: FakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = Cloud._once

    def once(cloud: Cloud, region: str, operation: str, *more: Any) -> Any:
        if operation == "describe_regions":
            return {"Regions": [{"RegionName": "ap-east-1"}, {"RegionName": "us-east-1"}]}
        if region == "ap-east-1":
            raise AwsError("AuthFailure", "not able to validate", operation, region, 401)
        return real(region, operation, *more)

    monkeypatch.setattr(Cloud, "_once", once)
    aws.instance("i-bob", user="bob@desk", expires=FUTURE)
    result = run(client, "hosts", "list")
    assert (result.code, "i-bob" in result.out) == (0, True)
    assert "ap-east-1 is skipped: EC2 refused describe_volumes in ap-east-1: AuthFailure" in result.err


@pytest.mark.parametrize("code", ["NoConnection", "ServiceUnavailable", "InternalError"])
def test_a_region_that_does_not_answer_hides_no_other(
    client: Client, aws: FakeAccount, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    real: Callable[..., Any] = Cloud._once
    down = list[str]()

    def once(cloud: Cloud, region: str, operation: str, *more: Any) -> Any:
        if operation == "describe_regions":
            return {"Regions": [{"RegionName": "eu-west-1"}, {"RegionName": "us-east-1"}]}
        if region in down:
            raise AwsError(code, "scripted", operation, region)
        answer = real(region, operation, *more)
        if operation == "describe_instances":
            is_there = lambda one: one["Instances"][0]["InstanceId"] == f"i-{region}"  # noqa: E731
            return {"Reservations": [one for one in answer["Reservations"] if is_there(one)]}
        return answer

    for region in ("eu-west-1", "us-east-1"):
        aws.instance(f"i-{region}", user="bob@desk", expires=PAST)
    monkeypatch.setattr(Cloud, "_once", once)
    assert run(client, "hosts", "list").code == 0
    down.append("eu-west-1")
    listed = run(client, "hosts", "list", "--json")
    assert (listed.code, "eu-west-1 is skipped" in listed.err) == (5, True)
    assert {one["id"] for one in listed.json["resources"]} == {"i-eu-west-1", "i-us-east-1"}
    orphans = run(client, "hosts", "orphans")
    assert (orphans.code, "i-us-east-1" in orphans.out, "i-eu-west-1" in orphans.out) == (1, True, False)
    aws.instances.clear()
    assert run(client, "hosts", "orphans").code == 5
    assert run(client, "status", at=NOW + 3600).code == 0
    down.append("us-east-1")
    assert run(client, "hosts", "list").code in (1, 5)


def test_without_the_list_of_regions_the_own_region_is_searched(client: Client, aws: FakeAccount) -> None:
    aws.errors["describe_regions"] = "UnauthorizedOperation"
    aws.instance("i-bob", user="bob@desk", expires=FUTURE)
    result = run(client, "cost")
    assert "only us-east-1 is searched: EC2 refused describe_regions" in result.err
    assert "i-bob" in result.out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"resources": 5}', "[" * 9000, '{"read": "x"}'])
def test_a_damaged_inventory_counts_as_none(client: Client, text: str) -> None:
    client.state_dir.mkdir(parents=True)
    (client.state_dir / "inventory.json").write_text(text)
    assert inventory.load(client.state_dir) == inventory.Inventory()


def test_pages_are_read_again_if_their_token_expires(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Any] = [
        {"Volumes": [{"VolumeId": "vol-1"}], "NextToken": "t"},
        AwsError("InvalidNextToken", "expired", "describe_volumes", "us-east-1", 400),
        {"Volumes": [{"VolumeId": "vol-1"}], "NextToken": "u"},
        {"Volumes": [{"VolumeId": "vol-2"}]},
    ]

    def once(*_: Any) -> Any:
        answer = pages.pop(0)
        if isinstance(answer, AwsError):
            raise answer
        return answer

    monkeypatch.setattr(Cloud, "_once", once)
    cloud = Cloud(client.context(sleep=lambda seconds: None))
    found = cloud.all("us-east-1", "describe_volumes", "Volumes", answers.Volume)
    assert [one.volume_id for one in found] == ["vol-1", "vol-2"]


def test_an_answer_of_another_form_is_an_error_that_names_the_field(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume without an id may cost money: it must not be left out."""
    monkeypatch.setattr(Cloud, "_once", lambda *_: {"Volumes": [{"Size": 100}]})
    with pytest.raises(AwsError, match="UnreadableAnswer") as error:
        Cloud(client.context()).all("us-east-1", "describe_volumes", "Volumes", answers.Volume)
    assert "VolumeId" in error.value.message
