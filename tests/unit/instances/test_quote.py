from typing import Any

import pytest

from orchestrator.core.spec import Ec2, JobSpec, Limits, Resources
from orchestrator.errors import UsageError
from orchestrator.instances import prices, spec


def job(ec2: Ec2 | None = None, gpus: int = 1, **limits: Any) -> JobSpec:
    resources = Resources(gpus=gpus, ec2=ec2 or Ec2(types=["g5.xlarge"]))
    return JobSpec(name="j", trainer="facenet-lstm", resources=resources, limits=Limits(**limits))


def quoted(job: JobSpec, data_bytes: int = 0) -> prices.Quote:
    return prices.quote(job, "us-east-1", 1000.0, "ada@laptop", data_bytes)


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
    assert (plain.root_gb, plain.data_gb) == (prices.MIN_DISK_GB + 15, 0)
    spot = quoted(job(Ec2(types=["g5.xlarge"], spot=True, disk_gb=300))).spec
    assert (spot.root_gb, spot.data_gb, spot.spot) == (0, 300, True)


@pytest.mark.parametrize(
    ("ec2", "gpus", "message"),
    [
        (Ec2(types=["t3.micro"]), 1, "not a known GPU instance type"),
        (Ec2(types=["g4dn.16xlarge"]), 2, "has 1 GPU"),
        (Ec2(types=["p5e.48xlarge"]), 8, "not sold on demand"),
    ],
)
def test_a_type_that_cannot_do_or_has_no_price_is_refused(ec2: Ec2, gpus: int, message: str) -> None:
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
