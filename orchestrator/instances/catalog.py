"""The GPU instance types of EC2, and their prices by region: shipped with dates, refreshed on request.

`gpujob hosts types --refresh` writes a file of the same form into the client's state folder.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator import files
from orchestrator.core.text import closest
from orchestrator.errors import UsageError

REFRESHED = "prices.json"
"""The file in the client's state folder with refreshed prices."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


class InstanceType(msgspec.Struct, frozen=True):
    """A GPU instance type. `usd`: on-demand price per hour in us-east-1; None if it is not sold there."""

    name: str
    gpu: str
    gpus: int
    gpu_mib: int
    vcpus: int
    memory_gib: float
    usd: float | None
    spot: bool


class RegionPrices(msgspec.Struct, frozen=True):
    """The prices of a region. `usd`: on-demand price per hour by type; a type without one is left out.

    as_of: the day of the prices. gp3_gb_month: USD for a GB of gp3 storage and month.
    """

    as_of: str
    gp3_gb_month: float
    usd: Mapping[str, float]


class Catalog(msgspec.Struct, frozen=True):
    """Types and prices. ipv4_hour: USD per hour of a public address, the same in every region.

    rescue: types without a GPU that read the data of an instance, the smallest first, with their price by
    region; it includes the most that CPU credits can cost. rescue_as_of: the day of these prices.
    """

    types: Mapping[str, InstanceType]
    regions: Mapping[str, RegionPrices]
    ipv4_hour: float
    rescue: Mapping[str, Mapping[str, float]]
    rescue_as_of: str

    def get(self, name: str) -> InstanceType:
        """Returns a type. UsageError with a suggestion if the catalog does not have it."""
        if name not in self.types:
            close = closest(name, self.types)
            hint = f"did you mean {close}?" if close else ""
            raise UsageError(f"{name!r} is not a known GPU instance type", hint, "gpujob hosts types")
        return self.types[name]

    def region(self, name: str) -> RegionPrices:
        """Returns the prices of a region. UsageError if it is not a commercial region of AWS."""
        if name not in self.regions:
            close = closest(name, self.regions)
            hint = f"did you mean {close}?" if close else f"known: {', '.join(self.regions)}"
            raise UsageError(f"{name!r} is not a known AWS region", hint, "--region us-east-1")
        return self.regions[name]

    def usd(self, type_: str, region: str) -> float | None:
        """Returns the on-demand price per hour; None if it is not known."""
        if type_ in self.rescue:
            return self.rescue[type_].get(region)
        prices = self.regions.get(region)
        return prices.usd.get(type_) if prices else None

    def gp3_gb_month(self, region: str) -> float:
        """Returns the price of gp3 storage; in an unknown region the highest of all."""
        prices = self.regions.get(region)
        return prices.gp3_gb_month if prices else max(one.gp3_gb_month for one in self.regions.values())

    def matching(self, gpu: str | None, gpus: int, regions: Iterable[str]) -> list[InstanceType]:
        """Returns the types with at least `gpus` GPUs of the model `gpu` that have a price in every region.

        Those with the fewest GPUs come first, of these the cheapest. UsageError for a model that no type has.
        """
        models = {kind.gpu for kind in self.types.values()}
        same_model = next((model for model in models if gpu and model.lower() == gpu.lower()), None)
        if gpu and not same_model:
            hint = f"GPUs of EC2: {', '.join(sorted(models))}"
            raise UsageError(f"{gpu!r} is not a GPU of EC2's instance types", hint, "gpujob hosts types")
        names = tuple(regions)
        fitting = []
        for kind in self.types.values():
            prices = [self.usd(kind.name, region) for region in names]
            known = [price for price in prices if price is not None]
            if kind.gpus >= gpus and same_model in (None, kind.gpu) and len(known) == len(names):
                fitting.append((kind.gpus, max(known, default=0.0), kind))
        return [kind for _, _, kind in sorted(fitting, key=lambda one: one[:2])]


@cache
def _shipped() -> Catalog:
    folder = Path(__file__).parent
    types = json.loads((folder / "types.json").read_text("utf-8"))
    regions = json.loads((folder / "regions.json").read_text("utf-8"))
    return Catalog(
        {name: InstanceType(name=name, **values) for name, values in types["types"].items()},
        {name: _region(values, regions) for name, values in regions["regions"].items()},
        types["ipv4_hour"],
        _rescue(regions["rescue"]),
        regions["rescue"]["as_of"],
    )


def _rescue(shipped: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    credit = shipped["credit_usd_per_vcpu_hour"]
    return {
        name: {region: usd + credit * kind["vcpus"] for region, usd in kind["usd"].items()}
        for name, kind in shipped["types"].items()
    }


def _region(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> RegionPrices:
    return RegionPrices(
        str(values.get("as_of", defaults["as_of"])),
        float(values.get("gp3_gb_month", defaults["gp3_bound"])),
        {str(name): float(usd) for name, usd in values["usd"].items()},
    )


class _Current:
    """The catalog of this process: the shipped one, or with refreshed prices (`use`)."""

    catalog: Catalog | None = None


def table() -> Catalog:
    """Returns the catalog, without network."""
    return _Current.catalog or _shipped()


def use(state_dir: Path) -> None:
    """Makes `table` return the prices that were refreshed into this state folder, if there are any."""
    _Current.catalog = _with_refreshed(_shipped(), state_dir / REFRESHED)


def _with_refreshed(catalog: Catalog, path: Path) -> Catalog:
    """A file that cannot be read is left out, and so is a region that the shipped table has newer."""
    try:
        content = files.load_json(path) or {}
        refreshed = {
            str(name): _region(values, {"as_of": "", "gp3_bound": catalog.gp3_gb_month(name)})
            for name, values in content["regions"].items()
            if _REGION.fullmatch(str(name))
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return catalog
    newer = {
        name: prices
        for name, prices in refreshed.items()
        if name not in catalog.regions or prices.as_of > catalog.regions[name].as_of
    }
    return replace(catalog, regions={**catalog.regions, **newer})


def save(state_dir: Path, regions: Mapping[str, RegionPrices]) -> None:
    """Stores refreshed prices, beside those of other regions that were refreshed before."""
    path = state_dir / REFRESHED
    before = {}
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        before = dict((files.load_json(path) or {})["regions"])
    after = {
        name: {**msgspec.structs.asdict(prices), "usd": dict(prices.usd)} for name, prices in regions.items()
    }
    files.write_json(path, {"v": 1, "regions": {**before, **after}})
    use(state_dir)
