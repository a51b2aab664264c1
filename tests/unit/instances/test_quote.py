from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.resources import Ec2, Resources
from orchestrator.core.spec import JobSpec, Limits
from orchestrator.errors import UsageError
from orchestrator.instances import quote as quotes
from orchestrator.instances import spec
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import Quote


def job(ec2: Ec2 | None = None, gpus: int = 1, **limits: Any) -> JobSpec:
    resources = Resources(gpus=gpus, ec2=ec2 or Ec2(types=["g5.xlarge"]))
    return JobSpec(name="j", trainer="facenet-lstm", resources=resources, limits=Limits(**limits))


def quoted(job: JobSpec, data_bytes: int = 0, region: str = "us-east-1") -> Quote:
    return quotes.quote(job, region, 1000.0, "ada@laptop", data_bytes)


def test_the_price_is_that_of_the_most_expensive_candidate() -> None:
    both = quoted(job(Ec2(types=["g5.xlarge", "g6.xlarge"])))
    assert both.price.instance == pytest.approx(1.006)
    assert both.spec.types == ("g5.xlarge", "g6.xlarge")


@pytest.mark.parametrize(
    ("limits", "hours", "by"),
    [
        ({}, spec.DEFAULT_HOURS, "default: no limit was given"),
        ({"max_hours": 3.0}, 3.0, "--max-hours"),
        ({"max_hours": 3.0, "budget_usd": 1000.0}, 3.0, "--max-hours"),
    ],
)
def test_no_instance_is_without_a_deadline(limits: dict[str, float], hours: float, by: str) -> None:
    quote = quoted(job(**limits))
    assert (quote.hours, quote.limited_by) == (hours, by)
    assert quote.spec.deadline == 1000.0 + hours * 3600


def test_a_budget_is_the_worst_case() -> None:
    quote = quoted(job(budget_usd=40.0, max_hours=100.0))
    assert quote.limited_by == "--budget"
    assert quote.worst_case == pytest.approx(40.0)


def test_the_disk_grows_with_the_data_and_is_separate_for_spot() -> None:
    plain = quoted(job(), data_bytes=10 * 10**9).spec
    assert (plain.root_gb, plain.data_gb) == (quotes.MIN_DISK_GB + 15, 0)
    spot = quoted(job(Ec2(types=["g5.xlarge"], spot=True, disk_gb=300))).spec
    assert (spot.root_gb, spot.data_gb, spot.spot) == (0, 300, True)


@pytest.mark.parametrize(
    ("ec2", "gpus", "message"),
    [
        (Ec2(types=["t3.micro"]), 1, "not a known GPU instance type"),
        (Ec2(types=["g4dn.16xlarge"]), 2, "has 1 GPU"),
        (Ec2(types=["g5.xlarge"], regions=["eu-wst-1"]), 1, "not a known AWS region"),
    ],
)
def test_a_type_or_region_that_is_unknown_or_too_small_is_refused(ec2: Ec2, gpus: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quoted(job(ec2, gpus))


def test_a_quote_names_type_price_hours_worst_case_disk_and_access() -> None:
    lines = quoted(job(max_hours=2.0)).lines("198.51.100.7/32")
    text = "\n".join(lines)
    for part in (
        *("g5.xlarge, on demand, in us-east-1", "$1.022 an hour", "at most 2 h (--max-hours): $2.04"),
        *("prices of 2026-07-20", "disk 100 GB gp3, encrypted", "port 22 open to 198.51.100.7/32 only"),
    ):
        assert part in text
    spot = "\n".join(quoted(job(Ec2(types=["g5.xlarge"], spot=True))).lines("this address/32"))
    assert "its run folder is kept on a volume" in spot


def test_the_worst_case_holds_in_the_region_that_it_is_shown_for() -> None:
    tokyo = quoted(job(max_hours=20.0), region="ap-northeast-1")
    assert tokyo.worst_case == pytest.approx(20 * (1.459 + 9.6 / 730 + 0.005))
    assert "prices of 2026-01-21, ap-northeast-1" in "\n".join(tokyo.lines(""))
    budget = quoted(job(budget_usd=20.0), region="ap-northeast-1")
    assert budget.hours == pytest.approx(20 / (1.459 + 9.6 / 730 + 0.005))
    both = quoted(job(Ec2(types=["g5.xlarge"], regions=["us-east-1", "sa-east-1"])))
    assert both.price
    assert both.price.instance == 1.71


def test_without_a_price_there_is_no_worst_case_and_no_budget() -> None:
    unknown = Ec2(types=["g7.2xlarge"], regions=["us-west-1"])
    quote = quoted(job(unknown, max_hours=2.0))
    text = "\n".join(quote.lines("this address/32"))
    assert (quote.price, quote.worst_case, quote.hours) == (None, None, 2.0)
    assert "no price of g7.2xlarge in us-west-1" in text
    assert "$" not in text
    with pytest.raises(UsageError, match="--budget cannot be converted"):
        quoted(job(unknown, budget_usd=20.0))


def test_a_type_that_is_sold_as_spot_alone_is_quoted_without_a_maximum() -> None:
    kind = Ec2(types=["p5e.48xlarge"], spot=True)
    quote = quoted(job(kind, gpus=8, max_hours=2.0))
    assert (quote.price, quote.spec.spot, quote.hours) == (None, True, 2.0)
    text = "\n".join(quote.lines(""))
    assert "p5e.48xlarge, spot, in us-east-1" in text
    assert "no on-demand price of p5e.48xlarge bounds that of spot" in text
    on_demand = quoted(job(Ec2(types=["p5e.48xlarge"]), gpus=8, max_hours=2.0))
    assert "no on-demand price of p5e.48xlarge is known: AWS sells it as spot" in on_demand.lines("")[1]
    with pytest.raises(UsageError, match="--budget cannot be converted"):
        quoted(job(kind, gpus=8, budget_usd=100.0))


@pytest.mark.parametrize(
    ("gpu", "gpus", "region", "types"),
    [
        (None, 1, "us-east-1", spec.DEFAULT_TYPES),
        (None, 1, "eu-west-1", ("g5.xlarge", "g5.2xlarge")),
        (None, 1, "ap-southeast-1", ("g4dn.xlarge", "g4dn.2xlarge", "g4dn.4xlarge", "g4dn.8xlarge")),
        ("L40S", 4, "us-east-1", ("g6e.12xlarge", "g6e.24xlarge", "g6e.48xlarge")),
        ("a100", 8, "us-east-1", ("p4d.24xlarge", "p4de.24xlarge")),
        (None, 8, "us-east-1", ("g4dn.metal", "g6.48xlarge", "g5.48xlarge", "p4d.24xlarge")),
    ],
)
def test_types_follow_from_the_gpus_that_a_job_asks_for(
    gpu: str | None, gpus: int, region: str, types: tuple[str, ...]
) -> None:
    resources = Resources(gpus=gpus, gpu=gpu)
    assert quoted(JobSpec(name="j", resources=resources), region=region).spec.types == types


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(gpu="L50"), "not a GPU of EC2"),
        (Resources(gpus=16), "no instance type fits"),
        (Resources(gpu="L4", ec2=Ec2(types=["g5.xlarge"])), "g5.xlarge has A10G"),
    ],
)
def test_gpus_that_no_type_has_are_refused(resources: Resources, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quoted(JobSpec(name="j", resources=resources))


def test_a_volume_is_read_by_a_small_instance_in_the_network_of_the_first() -> None:
    first = Instance(
        id="i-1",
        region="eu-west-1",
        launched=0.0,
        job="j",
        type="p5.48xlarge",
        volume="vol-1",
        volume_gb=100,
        subnet="subnet-1",
        private_ip=True,
    )
    quote = quotes.for_fetch(first, 1000.0, "ada@laptop")
    assert (quote.spec.types, quote.spec.spot, quote.spec.deadline) == (
        ("t3.small", "t3.xlarge"),
        False,
        4600.0,
    )
    assert (quote.spec.subnet, quote.spec.private_ip, quote.spec.rescue_of) == ("subnet-1", True, "i-1")
    assert quote.worst_case == pytest.approx(0.3824 + 0.005 + 160 * 0.088 / 730, abs=0.01)
    assert "its run folder is kept on a volume" in "\n".join(quote.lines("this address/32"))
    unknown = quotes.for_fetch(replace(first, region="sa-east-1"), 1000.0, "ada@laptop")
    assert (unknown.price, "no price of t3.small in sa-east-1" in unknown.unpriced) == (None, True)
