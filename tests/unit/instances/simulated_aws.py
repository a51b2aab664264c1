"""An AWS account in memory with a clock: instances end and are interrupted by themselves; it has a bill."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from orchestrator.instances import spec
from orchestrator.instances.catalog import table
from orchestrator.instances.errors import AwsError

HOUR = 3600.0
MONTH = 730 * HOUR
REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")
SPOT_SHARE = 0.4
LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


class Killed(BaseException):
    """Acts like SIGKILL."""


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Disk:
    id: str
    region: str
    gb: int
    tags: dict[str, str]
    device: str
    is_kept: bool
    on: str = ""
    checkpoints: int = 0


@dataclass
class Machine:
    id: str
    region: str
    zone: str
    type: str
    spot: bool
    tags: dict[str, str]
    group: str
    stops: bool
    launched: float
    boots: bool = True
    state: str = "pending"
    reason: str = ""
    request: str = ""
    address: str = ""
    trained: float = 0.0
    started: float = 0.0


@dataclass
class Request:
    id: str
    region: str
    tags: dict[str, str]
    instance: str
    type: str
    state: str = "active"


@dataclass
class SimulatedAws:
    """`once` replaces Cloud._once. faults: the chance that a call fails, or that its client is killed.

    is_broken: no instance boots. bill: USD by owner. lost: disks with checkpoints that were deleted
    before they were fetched.
    """

    clock: Clock
    random: random.Random
    faults: float = 0.0
    is_broken: bool = False
    machines: dict[str, Machine] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    groups: dict[str, tuple[str, str, dict[str, str]]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    bill: dict[str, float] = field(default_factory=dict)
    fetched: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers, self._at = itertools.count(1), self.clock.now

    # time and money

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._at + seconds, next(self._numbers), act))

    def advance(self) -> None:
        """Carry out what is due until now; bill each span by the states in it."""
        while self._due and self._due[0][0] <= self.clock.now:
            at, _, act = heapq.heappop(self._due)
            self._charge(at)
            act()
        self._charge(self.clock.now)

    def _charge(self, until: float) -> None:
        span, self._at = max(0.0, until - self._at), max(self._at, until)
        for one in self.machines.values():
            if one.state == "running":
                usd = (table().usd(one.type, one.region) or 0.0) * (SPOT_SHARE if one.spot else 1.0)
                self._add(one.tags, (usd + table().ipv4_hour) * span / HOUR)
                one.trained += span
                for disk in self._of(one, is_data=True):
                    disk.checkpoints = max(disk.checkpoints, int(one.trained / HOUR))
        for disk in self.disks.values():
            self._add(disk.tags, disk.gb * table().gp3_gb_month(disk.region) * span / MONTH)

    def _add(self, tags: dict[str, str], usd: float) -> None:
        owner = tags.get(spec.OWNER, "?")
        self.bill[owner] = self.bill.get(owner, 0.0) + usd

    def _of(self, machine: Machine, is_data: bool = False) -> list[Disk]:
        disks = [disk for disk in self.disks.values() if disk.on == machine.id]
        data = [disk for disk in disks if disk.device == spec.DATA_DEVICE]
        return (data or disks) if is_data else disks

    # what happens to a machine

    def _set(self, machine: Machine, state: str, why: str = "User initiated") -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._at))
        machine.state, machine.reason = state, f"{why} ({when} GMT)"

    def _boot(self, machine: Machine) -> None:
        if machine.state != "pending":
            return
        machine.started = self._at
        self._set(machine, "running")
        machine.address = f"10.0.0.{len(self.machines)}.{next(self._numbers)}"
        ends = float(machine.tags[spec.EXPIRES]) if machine.boots else self._at + 1e9
        self.later(max(0.0, ends - self._at), lambda: self._power_off(machine, ends))

    def _power_off(self, machine: Machine, deadline: float) -> None:
        if machine.state == "running" and float(machine.tags[spec.EXPIRES]) <= max(deadline, self._at):
            if machine.stops:
                self._stop(machine, "disabled")
            else:
                self.terminate(machine)

    def _stop(self, machine: Machine, request: str) -> None:
        self._set(machine, "stopped")
        machine.address = ""
        if machine.request:
            self.requests[machine.request].state = request

    def interrupt(self, machine: Machine, hours: float) -> None:
        """EC2 takes the capacity of a spot instance back; it is there again after some hours."""
        if machine.state != "running":
            return
        self._stop(machine, "open")
        self.later(hours * HOUR, lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        if machine.state == "stopped" and self.requests[machine.request].state == "open":
            self.requests[machine.request].state = "active"
            self._set(machine, "pending")
            self._boot(machine)

    def terminate(self, machine: Machine) -> None:
        if machine.state in ("terminated", "shutting-down"):
            return
        self._set(machine, "shutting-down")
        self.later(self.random.choice((20.0, 20.0, 20.0, HOUR)), lambda: self._end(machine))

    def _end(self, machine: Machine) -> None:
        self._set(machine, "terminated")
        machine.address = ""
        for disk in self._of(machine):
            disk.on = ""
            if not disk.is_kept:
                self._delete(disk)
        request = self.requests.get(machine.request)
        if request and request.state in ("active", "open", "disabled"):
            raise AssertionError(f"{machine.id} ended before its request: EC2 launches another instance")

    def _delete(self, disk: Disk) -> None:
        if disk.checkpoints > self.fetched.get(disk.id, 0):
            self.lost.append(disk.id)
        del self.disks[disk.id]

    def billed(self, owner: str) -> set[str]:
        """Return the ids of all that costs money and is of an owner; of disks only those on no machine."""
        self.advance()
        machines = {one.id for one in self.machines.values() if one.state in LIVE and _is_of(one.tags, owner)}
        return machines | {one.id for one in self.disks.values() if not one.on and _is_of(one.tags, owner)}

    def fetch(self, instance: str) -> None:
        for disk in self._of(self.machines[instance]):
            self.fetched[disk.id] = disk.checkpoints

    def answers(self, address: str | None) -> bool:
        self.advance()
        return any(
            one.address == address and one.state == "running" and one.boots for one in self.machines.values()
        )

    # the API

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

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers):017x}"

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
        ids, filters = parameters.get("InstanceIds"), _filters(parameters)
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

    def _describe_volumes(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        ids, filters = parameters.get("VolumeIds"), _filters(parameters)
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
        names = _filters(parameters).get("group-name")
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
        return {"SpotPriceHistory": [{"SpotPrice": str(usd)}]}

    def _describe_instance_type_offerings(self, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
        types = _filters(parameters)["instance-type"]
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


def _filters(parameters: dict[str, Any]) -> dict[str, list[str]]:
    return {one["Name"]: one["Values"] for one in parameters.get("Filters", [])}


def _has_tags(tags: dict[str, str], filters: dict[str, list[str]]) -> bool:
    wanted = {name[4:]: values for name, values in filters.items() if name.startswith("tag:")}
    return all(tags.get(name) in values for name, values in wanted.items())


def _is_of(tags: dict[str, str], owner: str) -> bool:
    return tags.get(spec.OWNER) == owner
