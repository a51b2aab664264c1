"""The shipped types and prices by region, and what is computed from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import botocore
import pytest

from orchestrator.errors import UsageError
from orchestrator.instances import catalog, prices
from orchestrator.instances.catalog import RegionPrices

TABLE = catalog.table()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    catalog.use(tmp_path / "none")


def test_a_type_that_is_not_known_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as error:
        TABLE.get("g5.xlrge")
    assert error.value.why == "did you mean g5.xlarge?"


def test_a_region_that_is_not_known_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as error:
        TABLE.region("eu-centrl-1")
    assert error.value.why == "did you mean eu-central-1?"


def test_every_commercial_region_that_botocore_knows_is_in_the_table() -> None:
    endpoints = json.loads((Path(botocore.__file__).parent / "data" / "endpoints.json").read_text())
    (partition,) = [one for one in endpoints["partitions"] if one["partition"] == "aws"]
    assert set(partition["regions"]) <= set(TABLE.regions)


def test_a_running_hour_has_three_parts_and_a_stopped_one_the_disk() -> None:
    price = prices.hourly(1.006, 100, "us-east-1")
    assert price.disk * prices.HOURS_PER_MONTH == pytest.approx(8.0)
    assert price.running == pytest.approx(1.006 + 8 / 730 + 0.005)
    assert price.total(7200, 3600) == pytest.approx(2 * price.running + price.disk)
    assert prices.disk_per_month(100, "us-east-1") == pytest.approx(8.0)
    assert prices.disk_per_month(100, "eu-central-1") == pytest.approx(9.52)


def test_a_disk_is_never_cheaper_than_in_the_cheapest_region() -> None:
    assert min(region.gp3_gb_month for region in TABLE.regions.values()) == TABLE.gp3_gb_month("us-east-1")


def test_a_budget_buys_the_hours_that_cost_it() -> None:
    price = prices.hourly(1.006, 100, "us-east-1")
    assert price.total(price.hours(40) * 3600) == pytest.approx(40)


@pytest.mark.parametrize(
    ("name", "gpu", "gpus", "usd"),
    [("g5.xlarge", "A10G", 1, 1.006), ("g4dn.16xlarge", "T4", 1, 4.352), ("p5.48xlarge", "H100", 8, 55.04)],
)
def test_the_shipped_table_has_the_day_and_the_prices_of_its_sources(
    name: str, gpu: str, gpus: int, usd: float
) -> None:
    kind = TABLE.get(name)
    assert (kind.gpu, kind.gpus, kind.usd) == (gpu, gpus, pytest.approx(usd))
    assert TABLE.usd(name, "us-east-1") == pytest.approx(usd)
    assert TABLE.regions["us-east-1"].as_of == "2026-07-20"


@pytest.mark.parametrize(
    ("region", "usd"), [("ap-northeast-1", 1.459), ("eu-central-1", 1.258), ("sa-east-1", 1.71)]
)
def test_a_region_has_its_own_price(region: str, usd: float) -> None:
    assert TABLE.usd("g5.xlarge", region) == usd


def test_refreshed_prices_replace_older_ones_and_keep_other_regions(folder: Path) -> None:
    catalog.save(folder, {"eu-west-1": RegionPrices("2026-11-01", 0.09, {"g5.xlarge": 1.5})})
    catalog.save(folder, {"us-east-1": RegionPrices("2020-01-01", 0.01, {"g5.xlarge": 0.1})})
    table = catalog.table()
    assert (table.usd("g5.xlarge", "eu-west-1"), table.gp3_gb_month("eu-west-1")) == (1.5, 0.09)
    assert table.usd("g5.xlarge", "us-east-1") == 1.006
    assert table.usd("g5.xlarge", "sa-east-1") == 1.71


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"regions": 5}', '{"regions": {"eu-west-1": {"usd": {"g5.xlarge": "x"}}}}', "[" * 9000],
)
def test_a_damaged_file_of_refreshed_prices_is_left_out(folder: Path, text: str) -> None:
    (folder / catalog.REFRESHED).write_text(text)
    catalog.use(folder)
    assert catalog.table() == TABLE
    catalog.save(folder, {"eu-west-1": RegionPrices("2026-11-01", 0.09, {"g5.xlarge": 1.5})})
    assert catalog.table().usd("g5.xlarge", "eu-west-1") == 1.5
