"""An AWS account in memory, for tests of what gpujob does about the answers of EC2."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest

from orchestrator.instances import spec
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError


def tags(**values: str) -> list[dict[str, str]]:
    """Tags of a resource of gpujob; `expires` and others without the prefix."""
    names = {"expires": spec.EXPIRES}
    given = {names.get(key, spec.TAG + key): value for key, value in values.items()}
    return spec.to_tag_list({spec.MANAGED: "1", **given})


@dataclass
class FakeAccount:
    """ending: how many calls describe a terminated instance as shutting-down. errors: codes by operation."""

    monkeypatch: pytest.MonkeyPatch
    instances: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ending: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.monkeypatch.setattr(Cloud, "_once", self._once)

    def instance(self, id_: str, state: str = "running", volume: str = "", **tag: str) -> str:
        devices = [{"DeviceName": spec.DATA_DEVICE, "Ebs": {"VolumeId": volume}}] if volume else []
        self.instances[id_] = {
            "InstanceId": id_,
            "State": {"Name": state},
            "InstanceType": "g5.xlarge",
            "Placement": {"AvailabilityZone": "us-east-1a"},
            "LaunchTime": datetime.fromtimestamp(1000.0, timezone.utc),
            "BlockDeviceMappings": devices,
            "Tags": tags(**tag),
        }
        return id_

    def volume(self, id_: str, state: str = "available", gb: int = 100, on: str = "", **tag: str) -> str:
        self.volumes[id_] = {"VolumeId": id_, "State": state, "Size": gb, "Tags": tags(**tag), "on": on}
        return id_

    def _once(self, region: str, operation: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        code = "UnauthorizedOperation" if region in self.denied else self.errors.get(operation)
        if code:
            raise AwsError(code, "scripted", operation, region, 400)
        answer: dict[str, Any] = getattr(self, f"_{operation}", self._nothing)(parameters)
        return answer

    def _nothing(self, _: dict[str, Any]) -> dict[str, Any]:
        keys = ("NetworkInterfaces", "SpotInstanceRequests", "SecurityGroups")
        return {key: self.others.get(key, []) for key in keys} | {"Account": "1", "SpotPriceHistory": []}

    def _describe_regions(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"Regions": [{"RegionName": "us-east-1"}]}

    def _describe_instances(self, parameters: dict[str, Any]) -> dict[str, Any]:
        wanted = parameters.get("InstanceIds")
        if wanted and wanted[0] not in self.instances:
            raise AwsError("InvalidInstanceID.NotFound", "", "describe_instances", "", 400)
        found = [one for id_, one in self.instances.items() if wanted is None or id_ in wanted]
        for one in found:
            if one["State"]["Name"] == "shutting-down":
                self.ending -= 1
                if self.ending < 0:
                    self._end(one)
        if wanted is None:
            filters = {each["Name"]: each["Values"] for each in parameters.get("Filters", [])}
            found = [
                one
                for one in found
                if one["State"]["Name"] in filters["instance-state-name"]
                and one["InstanceId"] in filters.get("instance-id", self.instances)
                and (one["Tags"] or f"tag:{spec.MANAGED}" not in filters)
            ]
        return {"Reservations": [{"OwnerId": "1", "Instances": [one]} for one in found]}

    def _end(self, instance: dict[str, Any]) -> None:
        instance["State"] = {"Name": "terminated"}
        for volume in self.volumes.values():
            if volume["on"] == instance["InstanceId"]:
                volume.update(on="", State="available")

    def _terminate_instances(self, parameters: dict[str, Any]) -> dict[str, Any]:
        for id_ in parameters["InstanceIds"]:
            if self.instances[id_]["State"]["Name"] != "terminated":
                self.instances[id_]["State"] = {"Name": "shutting-down"}
        return {}

    def _modify_instance_attribute(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Make the volumes of an instance end with it."""
        for disk in parameters["BlockDeviceMappings"]:
            assert disk == {"DeviceName": spec.DATA_DEVICE, "Ebs": {"DeleteOnTermination": True}}
        for id_ in [id_ for id_, one in self.volumes.items() if one["on"] == parameters["InstanceId"]]:
            del self.volumes[id_]
        return {}

    def _describe_volumes(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if wanted := parameters.get("VolumeIds"):
            if wanted[0] not in self.volumes:
                raise AwsError("InvalidVolume.NotFound", "", "describe_volumes", "", 400)
            return {"Volumes": [self.volumes[wanted[0]]]}
        filters = {each["Name"]: each["Values"] for each in parameters.get("Filters", [])}
        on = filters.get("attachment.instance-id")
        found = [one for one in self.volumes.values() if (one["on"] in on if on else one["Tags"])]
        return {"Volumes": [{**one, "Attachments": _attached(one["on"])} for one in found]}

    def _delete_volume(self, parameters: dict[str, Any]) -> dict[str, Any]:
        volume = self.volumes.get(parameters["VolumeId"])
        if volume is None:
            raise AwsError("InvalidVolume.NotFound", "", "delete_volume", "", 400)
        if volume["on"]:
            raise AwsError("VolumeInUse", "", "delete_volume", "", 400)
        del self.volumes[parameters["VolumeId"]]
        return {}


def _attached(instance: str) -> list[dict[str, str]]:
    return [{"InstanceId": instance}] if instance else []
