"""Prices from AWS's price list and from EC2's spot price history, with scripted answers of AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.instances import catalog
from orchestrator.instances.cloud import Cloud
from tests.support import Client, new_client

EPOCH = 1_795_000_000.0


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client
    catalog.use(client.home / "none")


def product(*usd: str) -> str:
    """A product in the form of https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html."""
    dimensions = {str(n): {"unit": "Hrs", "pricePerUnit": {"USD": each}} for n, each in enumerate(usd)}
    return json.dumps({"product": {}, "terms": {"OnDemand": {"A": {"priceDimensions": dimensions}}}})


class PriceList:
    """Answers get_products and describe_spot_price_history."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **usd: str) -> None:
        self.usd = {"gp3": "0.0952", **{name.replace("_", "."): price for name, price in usd.items()}}
        self.requests: list[tuple[str, str]] = []
        monkeypatch.setattr(Cloud, "_once", self.once)

    def once(self, region: str, operation: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.requests.append((region, operation))
        if operation == "describe_spot_price_history":
            return {
                "SpotPriceHistory": [{"InstanceType": "g5.xlarge", "SpotPrice": p} for p in ("0.5", "0.4")]
            }
        fields = {each["Field"]: each["Value"] for each in parameters["Filters"]}
        assert fields["regionCode"] == "eu-central-1"
        price = self.usd.get(fields.get("instanceType", fields.get("volumeApiName", "")))
        return {"PriceList": [product("0.0000000000", price), "{}", "no JSON"] if price else []}


def test_refreshed_prices_are_used_by_the_next_quote(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = PriceList(monkeypatch, g5_xlarge="1.3000000000", g7_2xlarge="3.1")
    words = ("hosts", "types", "--region", "eu-central-1")
    before = client.run(*words, "--gpu", "A10G", "--json").json
    assert (prices.requests, before["types"][0]["usd_per_hour"]) == ([], 1.258)
    after = client.run(*words, "--refresh", "--json", now=lambda: EPOCH).json
    assert {row["name"]: row["usd_per_hour"] for row in after["types"]} == {
        "g5.xlarge": 1.3,
        "g7.2xlarge": 3.1,
    }
    assert after["prices_as_of"] == {"eu-central-1": "2026-11-18"}
    assert {region for region, _ in prices.requests} == {"us-east-1"}
    up = ("hosts", "up", "--dry-run", "--type", "g5.xlarge", "--region", "eu-central-1", "--max-hours", "10")
    quote = client.run(*up, "--json").json["launch"]
    assert quote["usd_per_hour"] == pytest.approx(1.3 + 9.52 / 730 + 0.005, abs=1e-4)
    assert quote["worst_case_usd"] == pytest.approx(10 * quote["usd_per_hour"], abs=0.01)
    assert quote["prices_as_of"] == "2026-11-18"
    unknown = client.run(*up[:-4], "--region", "us-west-1", "--type", "g7.2xlarge", "--json").json["launch"]
    assert (unknown["usd_per_hour"], unknown["worst_case_usd"]) == (None, None)


def test_a_region_without_gpu_types_in_the_list_is_reported(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    PriceList(monkeypatch)
    result = client.run("hosts", "types", "--region", "eu-central-1", "--refresh")
    assert (result.code, "price list has no GPU type in eu-central-1" in result.err) == (1, True)


def test_spot_prices_are_those_of_the_cheapest_zone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    PriceList(monkeypatch)
    result = client.run("hosts", "types", "--gpu", "A10G", "--spot")
    assert "spot $0.400/h" in next(line for line in result.out.splitlines() if "g5.xlarge" in line)


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--gpu", "L50"), "not a GPU of EC2"), (("--region", "eu-1"), "not a known AWS region")],
)
def test_an_unknown_gpu_or_region_is_a_usage_error(
    client: Client, words: tuple[str, ...], message: str
) -> None:
    result = client.run("hosts", "types", *words)
    assert (result.code, message in result.err) == (2, True)
