"""The GPU instance types of EC2, their quotas, and their prices by region: shipped, refreshed on request.

`gpujob hosts types --refresh` writes a file of the same form into the client's state folder.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from orchestrator import files
from orchestrator.core.text import closest
from orchestrator.errors import UsageError

if TYPE_CHECKING:  # for annotations only
    from orchestrator.instances.spec import Candidate

REFRESHED = "prices.json"
"""The file in the client's state folder with refreshed prices."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_OF_VOLUMES = ("VolumeLimitExceeded", "MaxIOPSLimitExceeded", "Client.VolumeLimitExceeded")
_OLD_P = ("p2", "p3", "p4")
_STANDARD = tuple(f"{letter}{digit}" for letter in "acdhimrtz" for digit in range(1, 10))
"""How the types begin that one quota counts together (EC2 User Guide, "On-Demand Instance quotas")."""


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


class Quota(msgspec.Struct, frozen=True):
    """A quota of a region. code: None if it is to be looked up, by words in its name."""

    service: str
    region: str
    name: str
    words: tuple[str, ...]
    code: str | None = None

    @property
    def command(self) -> str:
        """Returns the command that asks AWS to raise it, or that finds its code."""
        if self.code:
            return (
                f"aws service-quotas request-service-quota-increase --service-code {self.service} "
                f"--quota-code {self.code} --region {self.region} --desired-value VALUE"
            )
        return f"aws service-quotas list-service-quotas --service-code {self.service} --region {self.region}"

    def __str__(self) -> str:
        return f"{self.code} ({self.name})" if self.code else self.name

    def matches(self, name: str) -> bool:
        """Returns whether a quota that AWS lists under this name is this one."""
        return all(word in name.replace(",", " ").split() for word in self.words)


def quota_of(candidate: Candidate, error_code: str = "") -> Quota:
    """Returns the quota that a candidate counts for; with `error_code`, the one that this error is about.

    Codes: those of G, VT and P instances that dstack and SkyPilot publish. P5 and newer have quotas of their
    own for spot, and P6 also on demand.
    """
    region, generation = candidate.region, candidate.type[:2]
    if error_code in _OF_VOLUMES:
        return Quota("ebs", region, "the storage or IOPS of EBS volumes", ("gp3",))
    if candidate.type.startswith(("g", "vt")):
        if candidate.spot:
            return Quota("ec2", region, "spot vCPUs of G and VT", ("G", "Spot"), "L-3819A6DF")
        return Quota("ec2", region, "on-demand vCPUs of G and VT", ("On-Demand", "G"), "L-DB2E81BA")
    if candidate.spot and generation in _OLD_P:
        return Quota("ec2", region, "spot vCPUs of P4, P3 and P2", ("P4", "Spot"), "L-7212CCBC")
    if not candidate.spot and generation in (*_OLD_P, "p5"):
        return Quota("ec2", region, "on-demand vCPUs of P", ("On-Demand", "P"), "L-417A185B")
    if candidate.type.startswith(_STANDARD):
        market, code = ("Spot", "L-34B43A08") if candidate.spot else ("On-Demand", "L-1216C47A")
        name = f"{candidate.market} vCPUs of standard types"
        return Quota("ec2", region, name, (market, "Standard"), code)
    family = generation.upper()
    words = (family, "Spot") if candidate.spot else (family, "On-Demand")
    return Quota("ec2", region, f"{candidate.market} vCPUs of {family}", words)
