import pytest

from orchestrator.errors import UsageError
from orchestrator.instances import prices

TABLE = prices.table()


def test_a_type_that_is_not_known_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as error:
        TABLE.get("g5.xlrge")
    assert error.value.why == "did you mean g5.xlarge?"


def test_a_running_hour_has_three_parts_and_a_stopped_one_the_disk() -> None:
    price = prices.hourly(1.006, 100)
    assert price.disk * prices.HOURS_PER_MONTH == pytest.approx(8.0)
    assert price.running == pytest.approx(1.006 + 8 / 730 + 0.005)
    assert price.total(7200, 3600) == pytest.approx(2 * price.running + price.disk)
    assert prices.disk_per_month(100) == pytest.approx(8.0)


def test_a_budget_buys_the_hours_that_cost_it() -> None:
    price = prices.hourly(1.006, 100)
    assert price.total(price.hours(40) * 3600) == pytest.approx(40)


@pytest.mark.parametrize(
    ("name", "gpu", "gpus", "usd"),
    [("g5.xlarge", "A10G", 1, 1.006), ("g4dn.16xlarge", "T4", 1, 4.352), ("p5.48xlarge", "H100", 8, 55.04)],
)
def test_the_shipped_table_has_the_day_and_the_prices_of_its_sources(
    name: str, gpu: str, gpus: int, usd: float
) -> None:
    price = TABLE.get(name)
    assert (price.gpu, price.gpus, price.usd) == (gpu, gpus, pytest.approx(usd))
    assert (TABLE.as_of, TABLE.region) == ("2026-07-20", "us-east-1")
