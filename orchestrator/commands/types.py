"""`gpujob hosts types`: the GPU instance types of EC2 with their prices in a region."""

from __future__ import annotations

import msgspec

from orchestrator import settings_files
from orchestrator.context import Context
from orchestrator.instances import catalog, prices
from orchestrator.instances.cloud import Cloud
from orchestrator.view import host_answers as answers
from orchestrator.view import instances as view


class Request(msgspec.Struct, frozen=True):
    """The command line. regions: one or more; empty for the setting. spot, refresh: call AWS."""

    gpu: str | None
    gpus: int
    regions: tuple[str, ...]
    spot: bool
    refresh: bool


def types(ctx: Context, request: Request) -> int:
    """Lists types with at least the GPUs that are asked for; without `spot` and `refresh` without network."""
    catalog.use(ctx.state_dir)
    names = request.regions or (settings_files.load(ctx)["region"].value,)
    for name in names:
        catalog.table().region(name)
    cloud = Cloud(ctx)
    if request.refresh:
        catalog.save(ctx.state_dir, {name: prices.fetch_on_demand(ctx, cloud, name) for name in names})
    rows = [row for name in names for row in _rows(cloud, name, request)]
    view.print_types(ctx, rows, {name: catalog.table().region(name).as_of for name in names})
    return 0


def _rows(cloud: Cloud, region: str, request: Request) -> list[answers.InstanceType]:
    table = catalog.table()
    kinds = table.matching(request.gpu, request.gpus, (region,))
    spot = prices.spot_prices(cloud, region, [kind.name for kind in kinds]) if request.spot else {}
    return [
        answers.InstanceType(
            name=kind.name,
            region=region,
            gpu=kind.gpu,
            gpus=kind.gpus,
            gpu_mib=kind.gpu_mib,
            vcpus=kind.vcpus,
            memory_gib=kind.memory_gib,
            usd_per_hour=table.usd(kind.name, region),
            spot_usd_per_hour=spot.get(kind.name),
        )
        for kind in kinds
    ]
