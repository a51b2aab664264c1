"""What a plan for EC2 shows before a launch: price, hours, budget and tags."""

from __future__ import annotations

import json

import pytest

from tests.support import Client
from tests.unit.commands.scripted import DEPLOY, client, scripted, type_in

__all__ = ["client"]


def test_a_budget_becomes_the_hours_that_it_pays_for_on_this_host(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scripted()
    monkeypatch.setattr(host, "hours_for", lambda budget_usd: budget_usd / 1.005)

    def hours() -> float:
        specs = [fields["spec"] for op, fields in host.requests if op == "start"]
        return float(specs[-1]["limits"]["max_hours"])

    words = (*DEPLOY, "--budget", "10")
    result = type_in(client, host, *words, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert hours() == pytest.approx(10 / 1.005)
    lower = type_in(client, host, *words, "--name", "b", "--max-hours", "2", monkeypatch=monkeypatch)
    assert lower.code == 0, lower.err
    assert hours() == 2.0


def test_a_budget_without_a_price_fails_as_flag_and_warns_in_a_job_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = type_in(client, scripted(), *DEPLOY, "--budget", "10", monkeypatch=monkeypatch)
    assert (refused.code, "the price of scripted is not known" in refused.err) == (2, True)
    words = (*DEPLOY, "--set", "limits.budget_usd=10")
    result = type_in(client, scripted(), *words, monkeypatch=monkeypatch)
    assert (result.code, "limits.budget_usd is ignored: the price of scripted" in result.err) == (0, True)


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
def test_hours_and_dollars_that_cannot_be_counted_by_are_refused(client: Client, value: str) -> None:
    for words in (("deploy", "job"), ("hosts", "up", "--dry-run")):
        for flag in ("--max-hours", "--budget"):
            result = client.run(*words, f"{flag}={value}")
            assert (result.code, "must be above 0" in result.err) == (2, True)


def test_a_dry_run_on_ec2_has_price_hours_and_worst_case_as_numbers(client: Client) -> None:
    client.job("pass")
    words = ("deploy", "job.yaml", "--on", "ec2", "--dry-run", "--max-hours", "2")
    launch = client.run(*words, "--json").json["plan"]["launch"]
    assert (launch["hours"], launch["limited_by"], launch["spot"]) == (2, "--max-hours", False)
    assert launch["worst_case_usd"] == pytest.approx(2 * launch["usd_per_hour"], abs=0.01)
    shown = client.run(*words).out
    assert f"at most ${launch['usd_per_hour']:.3f} an hour" in shown
    assert f"${launch['worst_case_usd']:.2f}" in shown


def test_a_dry_run_for_several_regions_shows_the_price_in_each(client: Client) -> None:
    regions = ["us-east-1", "eu-west-1", "ap-northeast-1", "sa-east-1", "eu-central-1"]
    client.job("pass")
    words = ("deploy", "job.yaml", "--on", "ec2", "--dry-run", "--max-hours", "2")
    words = (*words, "--set", "resources.ec2.types=[g5.xlarge]", "--set", f"resources.ec2.regions={regions}")
    launch = client.run(*words, "--json").json["plan"]["launch"]
    each = launch["usd_per_hour_by_region"]
    assert (sorted(each), launch["usd_per_hour"]) == (sorted(regions), max(each.values()))
    assert len(set(each.values())) > 2
    shown = client.run(*words).out
    assert all(f"{region} ${usd:.3f}" in shown for region, usd in each.items())


def test_regions_are_those_of_the_flag_then_of_the_job_then_of_the_settings(client: Client) -> None:
    """The settings: $GPUJOB_REGION, gpujob.yaml, $AWS_REGION, the profile in ~/.aws/config, us-east-1."""
    (client.home / ".aws").mkdir()
    (client.home / ".aws" / "config").write_text("[default]\nregion = eu-south-1\n")

    def regions(*words: str) -> list[str]:
        result = client.run("deploy", "job.yaml", "--on", "ec2", "--dry-run", "--json", *words)
        assert result.code == 0, result.err
        return list(result.json["plan"]["launch"]["regions"])

    client.job("pass")
    assert regions() == ["eu-south-1"]
    client.env["AWS_REGION"] = "eu-west-1"
    assert regions() == ["eu-west-1"]
    client.write("gpujob.yaml", "region: eu-north-1\n")
    assert regions() == ["eu-north-1"]
    client.env["GPUJOB_REGION"] = "sa-east-1"
    assert regions() == ["sa-east-1"]
    client.job("pass", resources={"ec2": {"regions": ["us-west-2", "us-east-2"]}})
    assert regions() == ["us-west-2", "us-east-2"]
    assert regions("--region", "eu-west-1", "--region", "us-east-1") == ["eu-west-1", "us-east-1"]


def test_a_region_is_refused_where_nothing_is_launched(client: Client) -> None:
    client.job("pass")
    for words in (("job.yaml", "--on", "local"), ("--resume", "job")):
        result = client.run("deploy", *words, "--region", "eu-west-1")
        assert (result.code, "--region" in result.err) == (2, True), result.err


@pytest.mark.parametrize("words", [("deploy", "job.yaml", "--on", "ec2"), ("hosts", "up")])
def test_an_ipv6_range_for_ssh_is_refused_also_by_a_dry_run(client: Client, words: tuple[str, ...]) -> None:
    client.job("pass")
    result = client.run(*words, "--dry-run", "--ssh-cidr", "2001:db8::/64")
    assert (result.code, "instances have IPv4 addresses" in result.err) == (2, True), result.err
    assert client.run(*words, "--dry-run", "--ssh-cidr", "203.0.113.0/24").code == 0


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"k" * 129: "v"}, "1 to 128 characters"),
        ({"k": "v" * 257}, "at most 256"),
        ({"aws:x": "v"}, "AWS reserves"),
        ({"gpujob:managed": "0"}, "gpujob sets it"),
        ({f"k{number}": "v" for number in range(42)}, "at most 50, and gpujob sets 10"),
    ],
)
def test_tags_that_ec2_would_refuse_are_refused_before_a_launch(
    client: Client, tags: dict[str, str], why: str
) -> None:
    client.job("pass")
    words = (
        "deploy",
        "job.yaml",
        "--on",
        "ec2",
        "--dry-run",
        "--set",
        f"resources.ec2.tags={json.dumps(tags)}",
    )
    result = client.run(*words)
    assert (result.code, "resources.ec2.tags" in result.err, why in result.err) == (2, True, True), result.err
