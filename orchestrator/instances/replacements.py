"""Finds instances that EC2 launched for a persistent spot request of gpujob in place of one that ended.

EC2 does not give them the tags of the first instance or of the request (EC2 User Guide, "Tag Spot Instance
requests"). So they are found through the request, which has gpujob's tags, or through gpujob's group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from orchestrator.instances import lifecycle, spec
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.instance import LIVE_STATES, Description
from orchestrator.instances.inventory import Resource


def find(
    cloud: Cloud, region: str, sources: Mapping[str, Resource], tagged: Collection[str]
) -> list[Resource]:
    """Returns the spot instances without gpujob's tag that have not ended.

    sources: id of an instance → the request that it is of, or the group that it uses. tagged: ids of those
    that have gpujob's tag.
    """
    ids, found = sorted(set(sources) - set(tagged)), list[Resource]()
    for one in lifecycle.described(cloud, region, {"instance-id": ids, "instance-state-name": LIVE_STATES}):
        if one.spot and spec.MANAGED not in one.tags:
            found.append(_resource(cloud, region, one, sources[one.id]))
    return found


def _resource(cloud: Cloud, region: str, of: Description, source: Resource) -> Resource:
    request = of.spot_request or source.id
    gb = sum(lifecycle.disk_sizes(cloud, region, of.id).values())
    return replace(
        source,
        kind="instance",
        id=of.id,
        state=of.state,
        type=of.type,
        gb=gb,
        created=of.launched,
        used=False,
        usd_per_hour=lifecycle.usd_per_hour(cloud, region, of, gb),
        request=request,
        why=f"without gpujob's tags; EC2 launched it for {request} in place of an instance that ended",
    )


def keeps_untagged_volume(of: Description) -> bool:
    """Whether an instance has a data volume that nothing would find once the instance is terminated."""
    return of.spot and of.data_volume is not None and spec.MANAGED not in of.tags
