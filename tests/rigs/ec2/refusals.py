"""Requests that EC2 rejects and moto accepts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tests.rigs.ec2.faults import Answer, Call, ec2_error
from tests.rigs.ec2.images import ROOT_GB

USER_DATA_LIMIT = 16384
TOKEN_LIMIT = 64


def refusal(call: Call, backend: Any) -> Answer | None:
    """Return EC2's error for a call, or None. `backend` is moto's for the call's region."""
    check = _CHECKS.get(call.action)
    return check(call.parameters, backend) if check else None


def _run_instances(parameters: dict[str, str], backend: Any) -> Answer | None:
    data = base64.b64decode(parameters.get("UserData", ""))
    if len(data) > USER_DATA_LIMIT:
        return ec2_error("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    if len(parameters.get("ClientToken", "")) > TOKEN_LIMIT:
        return ec2_error("InvalidParameterValue", f"ClientToken is longer than {TOKEN_LIMIT} characters")
    if parameters.get("KeyName") and parameters["KeyName"] not in backend.key_pairs:
        return ec2_error("InvalidKeyPair.NotFound", f"The key pair '{parameters['KeyName']}' does not exist")
    return _tags(parameters) or _root_disk(parameters)


def _tags(parameters: dict[str, str]) -> Answer | None:
    known = ("instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu")
    spot = parameters.get("InstanceMarketOptions.MarketType") == "spot"
    for name, value in parameters.items():
        refused = value not in known or (value == "spot-instances-request" and not spot)
        if name.startswith("TagSpecification.") and name.endswith(".ResourceType") and refused:
            return ec2_error("InvalidParameterValue", f"'{value}' is not a valid taggable resource type.")
        if name.startswith("TagSpecification.") and name.endswith(".Key") and value.startswith("aws:"):
            return ec2_error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved")
    return None


def _root_disk(parameters: dict[str, str]) -> Answer | None:
    for name, value in parameters.items():
        if name.endswith(".DeviceName") and value == "/dev/sda1":
            size = parameters.get(name.replace("DeviceName", "Ebs.VolumeSize"))
            if size and int(size) < ROOT_GB:
                message = f"Volume of size {size}GB is smaller than snapshot 'snap-0d1a', expect size >= "
                return ec2_error("InvalidBlockDeviceMapping", f"{message}{ROOT_GB}GB")
    return None


def _modify_instance(parameters: dict[str, str], backend: Any) -> Answer | None:
    if "UserData.Value" not in parameters:
        return None
    if len(base64.b64decode(parameters["UserData.Value"])) > USER_DATA_LIMIT:
        return ec2_error("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    instance = backend.get_instance_by_id(parameters["InstanceId"])
    if instance is not None and instance._state.name != "stopped":
        return ec2_error(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in the 'stopped' state.",
        )
    return None


def _delete_group(parameters: dict[str, str], backend: Any) -> Answer | None:
    group_id = parameters.get("GroupId")
    for card in backend.enis.values():
        if group_id in [group.id for group in card.group_set] and card.instance is not None:
            return ec2_error("DependencyViolation", f"resource {group_id} has a dependent object")
    return None


_CHECKS: dict[str, Callable[[dict[str, str], Any], Answer | None]] = {
    "RunInstances": _run_instances,
    "ModifyInstanceAttribute": _modify_instance,
    "DeleteSecurityGroup": _delete_group,
}
