"""EC2's calls about instances and spot requests, on a simulated world."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from orchestrator.instances import spec
from orchestrator.instances.errors import AwsError
from tests.unit.instances.simulated_world import LIVE, Disk, Machine, Request, World


def filters_of(parameters: dict[str, Any]) -> dict[str, list[str]]:
    return {one["Name"]: one["Values"] for one in parameters.get("Filters", [])}


def _has_tags(tags: dict[str, str], filters: dict[str, list[str]]) -> bool:
    wanted = {name[4:]: values for name, values in filters.items() if name.startswith("tag:")}
    return all(tags.get(name) in values for name, values in wanted.items())


class Instances(World):
    """Each method is a call of EC2, named as by boto3."""

    def _run_instances(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if known := self.tokens.get(parameters["ClientToken"]):
            machine = self.machines[known]
            if machine.state not in LIVE:
                raise AwsError("IdempotentInstanceTerminated", "", "run_instances", region, 400)
            return self._reservation(machine)
        if self.random.random() < self.faults * 5:
            raise AwsError("InsufficientInstanceCapacity", "", "run_instances", region, 500)
        tags = {one["Key"]: one["Value"] for one in parameters["TagSpecifications"][0]["Tags"]}
        card = parameters["NetworkInterfaces"][0]
        machine = Machine(
            id=self._id("i"),
            region=region,
            zone=card["SubnetId"].removeprefix("subnet-"),
            type=parameters["InstanceType"],
            spot="InstanceMarketOptions" in parameters,
            tags=tags,
            group=card["Groups"][0],
            stops=parameters["InstanceInitiatedShutdownBehavior"] == "stop",
            launched=self._at,
            boots=not self.is_broken and self.random.random() > self.faults,
        )
        self.machines[machine.id] = machine
        self.tokens[parameters["ClientToken"]] = machine.id
        for mapping in parameters["BlockDeviceMappings"]:
            ebs = mapping["Ebs"]
            keeps = not ebs["DeleteOnTermination"]
            id_ = self._id("vol")
            disk = Disk(id_, region, ebs["VolumeSize"], dict(tags), mapping["DeviceName"], keeps, machine.id)
            self.disks[disk.id] = disk
        if machine.spot:
            machine.request = self._id("sir")
            request = Request(machine.request, region, dict(tags), machine.id, machine.type)
            self.requests[machine.request] = request
        self.later(20.0, lambda: self._boot(machine))
        return self._reservation(machine)

    def _reservation(self, machine: Machine) -> dict[str, Any]:
        disks = [
            {"DeviceName": disk.device, "Ebs": {"VolumeId": disk.id}}
            for disk in self.disks.values()
            if disk.on == machine.id
        ]
        answer = {
            "InstanceId": machine.id,
            "State": {"Name": machine.state},
            "StateTransitionReason": machine.reason,
            "InstanceType": machine.type,
            "Placement": {"AvailabilityZone": machine.zone},
            "LaunchTime": datetime.fromtimestamp(machine.started or machine.launched, timezone.utc),
            "SecurityGroups": [{"GroupId": machine.group}],
            "BlockDeviceMappings": disks,
            "Tags": spec.to_tag_list(machine.tags),
        }
        if machine.spot:
            answer |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": machine.request}
        if machine.address:
            answer["PublicIpAddress"] = machine.address
        return {"OwnerId": "1", "Instances": [answer]}

    def _describe_instances(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        ids, filters = parameters.get("InstanceIds"), filters_of(parameters)
        states = filters.get("instance-state-name", (*LIVE, "terminated"))
        found = [
            one
            for one in self.machines.values()
            if one.region == region
            and (ids is None or one.id in ids)
            and (one.state in states and _has_tags(one.tags, filters))
            and (ids is not None or self._at - one.launched > 5.0)  # a list does not contain a new one
        ]
        if ids and not found:
            raise AwsError("InvalidInstanceID.NotFound", "", "describe_instances", region, 400)
        return {"Reservations": [self._reservation(one) for one in found]}

    def _describe_spot_instance_requests(self, region: str, _: dict[str, Any]) -> dict[str, Any]:
        found = [
            {
                "SpotInstanceRequestId": one.id,
                "State": one.state,
                "InstanceId": one.instance,
                "LaunchSpecification": {"InstanceType": one.type},
                "Tags": spec.to_tag_list(one.tags),
            }
            for one in self.requests.values()
            if one.region == region
        ]
        return {"SpotInstanceRequests": found}

    def _cancel_spot_instance_requests(self, _: str, parameters: dict[str, Any]) -> dict[str, Any]:
        for one in parameters["SpotInstanceRequestIds"]:
            self.requests[one].state = "cancelled"
        return {}

    def _terminate_instances(self, _: str, parameters: dict[str, Any]) -> dict[str, Any]:
        for one in parameters["InstanceIds"]:
            self.terminate(self.machines[one])
        return {}

    def _start_instances(self, _: str, parameters: dict[str, Any]) -> dict[str, Any]:
        machine = self.machines[parameters["InstanceIds"][0]]
        if machine.state == "stopped":
            self._set(machine, "pending")
            self.later(20.0, lambda: self._boot(machine))
        return {}

    def _create_tags(self, _: str, parameters: dict[str, Any]) -> dict[str, Any]:
        tags = {one["Key"]: one["Value"] for one in parameters["Tags"]}
        self.machines[parameters["Resources"][0]].tags.update(tags)
        return {}

    def _modify_instance_attribute(self, _: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if kind := parameters.get("InstanceType"):
            self.machines[parameters["InstanceId"]].type = kind["Value"]
        return {}
