"""Prices: the shipped table, and what spot costs in a zone now. An estimate: the bill is AWS's."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.context import Context
from orchestrator.instances import pricing
from orchestrator.instances.pricing import Table

if TYPE_CHECKING:
    from orchestrator.instances.cloud import Cloud


@cache
def table() -> Table:
    """types.json, which lies beside this file."""
    return pricing.table(json.loads(Path(__file__).with_name("types.json").read_text("utf-8")))


def now(ctx: Context, cloud: Cloud, region: str, zone: str, kind: str, spot: bool) -> float | None:
    """Dollars an hour of the machine alone: spot as it is in that zone, else the table's on-demand price.

    None for a type that the table has no price for.
    """
    from orchestrator.instances.awserrors import AwsError  # noqa: PLC0415 - `status` seldom needs it

    listed = table().types.get(kind)
    known = listed.usd if listed else None
    if not spot:
        return known
    try:
        answer = cloud.call(
            region,
            "describe_spot_price_history",
            InstanceTypes=[kind],
            AvailabilityZone=zone,
            ProductDescriptions=["Linux/UNIX"],
            MaxResults=1,
        )
    except AwsError:
        return known
    history = answer["SpotPriceHistory"]
    return float(history[0]["SpotPrice"]) if history else known
