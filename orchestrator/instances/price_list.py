"""Current prices from AWS: on demand from the Price List API, spot from EC2's price history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError
from orchestrator.instances import answers, catalog
from orchestrator.instances.catalog import RegionPrices
from orchestrator.instances.cloud import Cloud

API_REGION = "us-east-1"
"""The Price List API has an endpoint here for the prices of all regions."""
_MACHINE = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}


def fetch(ctx: Context, cloud: Cloud, region: str) -> RegionPrices:
    """Returns today's prices of every type of the catalog that the region sells on demand."""
    usd = {}
    for name in catalog.table().types:
        ctx.talk(f"{region}: {name}")
        if price := _price(cloud, {**_MACHINE, "regionCode": region, "instanceType": name}):
            usd[name] = price
    if not usd:
        raise GpujobError(f"AWS's price list has no GPU type in {region}", "", "gpujob hosts types")
    gp3 = _price(cloud, {"regionCode": region, "volumeApiName": "gp3", "productFamily": "Storage"})
    day = datetime.fromtimestamp(ctx.now(), timezone.utc).strftime("%Y-%m-%d")
    return RegionPrices(day, gp3 or catalog.table().gp3_gb_month(region), usd)


def _price(cloud: Cloud, attributes: dict[str, str]) -> float | None:
    """Returns the highest on-demand price of the products with these attributes; None if there are none."""
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
    answer = cloud.read(
        API_REGION,
        "get_products",
        answers.Products,
        service="pricing",
        ServiceCode="AmazonEC2",
        Filters=filters,
    )
    return max((price for product in answer.price_list for price in _prices(product)), default=None)


def _prices(product: str) -> Iterator[float]:
    """Yields the prices in USD above zero of a product, which the API returns as JSON text."""
    try:
        terms: Any = json.loads(product)["terms"]["OnDemand"].values()
        for term in terms:
            for dimension in term["priceDimensions"].values():
                if (usd := float(dimension["pricePerUnit"]["USD"])) > 0:
                    yield usd
    except (ValueError, LookupError, TypeError, AttributeError):
        return


def spot(cloud: Cloud, region: str, types: Sequence[str]) -> dict[str, float]:
    """Returns the present spot price per hour of each type in its cheapest zone."""
    lowest: dict[str, float] = {}
    history = cloud.all(
        region,
        "describe_spot_price_history",
        "SpotPriceHistory",
        answers.Price,
        InstanceTypes=list(types),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=cloud.now(),
    )
    for each in history:
        name, usd = each.instance_type, float(each.spot_price)
        lowest[name] = min(usd, lowest.get(name, usd))
    return lowest
