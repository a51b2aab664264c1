"""Reads what gpujob created in one region from EC2, by its tags.

An instance that EC2 launched for a persistent spot request in place of one that ended has neither the tags of
the first instance nor those of the request (EC2 User Guide, "Tag Spot Instance requests"). So it is found
through the request, which has gpujob's tags, or through gpujob's group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from orchestrator.instances import answers, inventory, lifecycle, prices, spec
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.instance import LIVE_STATES, Description, parse_tags
from orchestrator.instances.inventory import Resource

_OURS = {f"tag:{spec.MANAGED}": ["1"]}
_GOING_REQUESTS = ("open", "active", "disabled")
"""States of a spot request for which EC2 may launch or start an instance."""


class Region(msgspec.Struct, frozen=True):
    """What gpujob created in a region. volumes: with the ids of the instances that they are attached to.

    replacements: instances without gpujob's tag that EC2 launched for requests of gpujob.
    """

    name: str
    instances: tuple[Description, ...]
    volumes: tuple[tuple[Resource, tuple[str, ...]], ...]
    requests: tuple[tuple[Resource, str], ...]
    replacements: tuple[Resource, ...]
    others: tuple[Resource, ...]


def search(cloud: Cloud, name: str) -> Region:
    """Returns what gpujob created in a region and exists."""
    volumes, requests, others, launched = [], [], [], dict[str, Resource]()
    for volume in cloud.some(name, "describe_volumes", "Volumes", answers.Volume, _OURS):
        volumes.append((_volume(volume, name), tuple(one.instance_id for one in volume.attachments)))
    for request in cloud.some(
        name, "describe_spot_instance_requests", "SpotInstanceRequests", answers.SpotRequest, _OURS
    ):
        resource, instance = _request(request, name), request.instance_id
        if instance:
            launched[instance] = resource
        if resource.state in _GOING_REQUESTS:
            requests.append((resource, instance))
    for card in cloud.some(
        name, "describe_network_interfaces", "NetworkInterfaces", answers.Interface, _OURS
    ):
        if card.status == "available":
            others.append(_resource("interface", card.network_interface_id, name, card.tag_set, "available"))
    groups, users = _groups(cloud, name)
    others += groups
    instances = tuple(lifecycle.list_managed(cloud, name, (*LIVE_STATES, "shutting-down")))
    replaced = _replacements(cloud, name, {**users, **launched}, {one.id for one in instances})
    return Region(name, instances, tuple(volumes), tuple(requests), tuple(replaced), tuple(others))


def _resource(
    kind: str,
    id_: str,
    region: str,
    tags: answers.Tags,
    state: str,
    created: datetime | None = None,
    **fields: object,
) -> Resource:
    since = created.timestamp() if created else 0.0
    common = {"kind": kind, "id": id_, "region": region, "state": state, "created": since}
    return inventory.of_tags(parse_tags(tags), **common, **fields)


def _volume(one: answers.Volume, region: str) -> Resource:
    usd = prices.disk_per_month(one.size, region) / prices.HOURS_PER_MONTH
    details = {"gb": one.size, "usd_per_hour": usd}
    return _resource("volume", one.volume_id, region, one.tags, one.state, one.create_time, **details)


def _request(one: answers.SpotRequest, region: str) -> Resource:
    id_, type_ = one.spot_instance_request_id, one.launch_specification.instance_type
    return _resource("request", id_, region, one.tags, one.state, one.create_time, type=type_)


def _groups(cloud: Cloud, name: str) -> tuple[list[Resource], dict[str, Resource]]:
    """Returns gpujob's security groups, and id → group of the instances whose network interface uses one."""
    groups = cloud.some(name, "describe_security_groups", "SecurityGroups", answers.Group, _OURS)
    resources = {one.group_id: _resource("group", one.group_id, name, one.tags, "") for one in groups}
    using = {"group-id": list(resources)}
    users = dict[str, Resource]()
    for card in cloud.some(
        name, "describe_network_interfaces", "NetworkInterfaces", answers.Interface, using
    ):
        for id_ in {group.group_id or "" for group in card.groups} & set(resources):
            resources[id_] = replace(resources[id_], used=True)
            if card.attachment.instance_id:
                users[card.attachment.instance_id] = resources[id_]
    return list(resources.values()), users


def _replacements(
    cloud: Cloud, region: str, sources: Mapping[str, Resource], tagged: Collection[str]
) -> list[Resource]:
    """Returns the spot instances without gpujob's tag that have not ended.

    sources: id of an instance → the request that it is of, or the group that it uses. tagged: ids of those
    that have gpujob's tag.
    """
    ids, replacements = sorted(set(sources) - set(tagged)), list[Resource]()
    for one in lifecycle.described(cloud, region, {"instance-id": ids, "instance-state-name": LIVE_STATES}):
        if one.spot and spec.MANAGED not in one.tags:
            replacements.append(_replacement(cloud, region, one, sources[one.id]))
    return replacements


def _replacement(cloud: Cloud, region: str, of: Description, source: Resource) -> Resource:
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
