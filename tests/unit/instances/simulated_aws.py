"""An AWS account in memory with a clock: instances end and are interrupted by themselves; it has a bill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.instances import spec
from orchestrator.instances.catalog import table
from orchestrator.instances.errors import AwsError
from tests.unit.instances.simulated_instances import Instances, filters_of
from tests.unit.instances.simulated_world import HOUR, LIVE, REGIONS, SPOT_SHARE


class Killed(BaseException):
    """Acts like SIGKILL."""


class SimulatedAws(Instances):
    """`once` replaces Cloud._once."""

    def once(self, region: str, operation: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.advance()
        self._fail(region, operation, ("RequestLimitExceeded", "Unavailable"))
        answer: dict[str, Any] = getattr(self, f"_{operation}")(region, parameters)
        self._fail(region, operation, ("ConnectionLost", "InternalError"))
        return answer

    def _fail(self, region: str, operation: str, codes: tuple[str, ...]) -> None:
        chance = self.random.random()
        if chance < self.faults / 4:
            raise Killed
        if chance < self.faults:
            raise AwsError(self.random.choice(codes), "simulated", operation, region, 503)

    def _describe_volumes(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        ids, filters = parameters.get("VolumeIds"), filters_of(parameters)
        on = filters.get("attachment.instance-id")
        found = [
            {
                "VolumeId": one.id,
                "Size": one.gb,
                "State": "in-use" if one.on else "available",
                "Attachments": [{"InstanceId": one.on}] if one.on else [],
                "Tags": spec.to_tag_list(one.tags),
            }
            for one in self.disks.values()
            if one.region == region and (ids is None or one.id in ids) and (on is None or one.on in on)
        ]
        if ids and not found:
            raise AwsError("InvalidVolume.NotFound", "", "describe_volumes", region, 400)
        return {"Volumes": found}

    def _attach_volume(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        disk = self.disks[parameters["VolumeId"]]
        if disk.on:
            raise AwsError("VolumeInUse", "", "attach_volume", region, 400)
        disk.on = parameters["InstanceId"]
        self.machines[disk.on].trained = disk.checkpoints * HOUR
        return {}

    def _delete_volume(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        disk = self.disks.get(parameters["VolumeId"])
        if disk is None or disk.on:
            code = "VolumeInUse" if disk else "InvalidVolume.NotFound"
            raise AwsError(code, "", "delete_volume", region, 400)
        self._delete(disk)
        return {}

    def _describe_security_groups(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        names = filters_of(parameters).get("group-name")
        found = [
            {"GroupId": id_, "Tags": spec.to_tag_list(tags)}
            for id_, (where, name, tags) in self.groups.items()
            if where == region and (names is None or name in names)
        ]
        return {"SecurityGroups": found}

    def _create_security_group(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        tags = {one["Key"]: one["Value"] for one in parameters["TagSpecifications"][0]["Tags"]}
        if any(one[:2] == (region, parameters["GroupName"]) for one in self.groups.values()):
            raise AwsError("InvalidGroup.Duplicate", "", "create_security_group", region, 400)
        id_ = self._id("sg")
        self.groups[id_] = (region, parameters["GroupName"], tags)
        return {"GroupId": id_}

    def _delete_security_group(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if any(one.group == parameters["GroupId"] and one.state in LIVE for one in self.machines.values()):
            raise AwsError("DependencyViolation", "", "delete_security_group", region, 400)
        self.groups.pop(parameters["GroupId"], None)
        return {}

    def _describe_spot_price_history(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        usd = (table().usd(parameters["InstanceTypes"][0], region) or 0.0) * SPOT_SHARE
        kind = parameters["InstanceTypes"][0]
        return {"SpotPriceHistory": [{"InstanceType": kind, "SpotPrice": str(usd)}]}

    def _describe_instance_type_offerings(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        types = filters_of(parameters)["instance-type"]
        found = [{"InstanceType": kind, "Location": f"{region}{zone}"} for kind in types for zone in "ab"]
        return {"InstanceTypeOfferings": found}

    def _describe_subnets(self, region: str, _: dict[str, Any]) -> dict[str, Any]:
        zones = [f"{region}{zone}" for zone in "ab"]
        return {"Subnets": [{"AvailabilityZone": zone, "SubnetId": f"subnet-{zone}"} for zone in zones]}

    def __getattr__(self, name: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
        if name not in _CONSTANT:
            raise AttributeError(name)
        return lambda region, parameters: dict(_CONSTANT[name])


_CONSTANT: dict[str, dict[str, Any]] = {
    "_describe_regions": {"Regions": [{"RegionName": name} for name in REGIONS]},
    "_describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
    "_get_parameter": {"Parameter": {"Value": "ami-1"}},
    "_describe_images": {"Images": [{"ImageId": "ami-1", "RootDeviceName": "/dev/sda1"}]},
    "_describe_security_group_rules": {"SecurityGroupRules": []},
    "_authorize_security_group_ingress": {},
    "_describe_network_interfaces": {"NetworkInterfaces": []},
    "_get_caller_identity": {"Account": "1"},
    "_get_console_output": {},
}
