"""Evaluates an IAM policy for the calls of gpujob, as AWS does for the actions that docs/iam.md lists.

Resources and condition keys: "Actions, resources, and condition keys for Amazon EC2" (Service Authorization
Reference), and "Grant permission to tag Amazon EC2 resources during creation". An explicit deny wins.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.rigs.ec2.faults import Answer, Call, ec2_error, json_error

_PREFIXES = {"ec2": "ec2", "ssm": "ssm", "sts": "sts", "servicequotas": "servicequotas", "pricing": "pricing"}
_KINDS = {"i": "instance", "vol": "volume", "sg": "security-group", "eni": "network-interface"}
_KINDS |= {"sir": "spot-instances-request", "ami": "image", "subnet": "subnet", "vpc": "vpc"}
_CREATES = {"RunInstances", "CreateSecurityGroup"}
_ID = re.compile(r"(i|vol|sg|eni|sir|ami|subnet|vpc)-[0-9a-f]+\Z")
_ANYONE = {"sts:GetCallerIdentity"}  # needs no permission


@dataclass(frozen=True)
class Request:
    """One action on one resource, with its condition keys."""

    action: str
    resource: str
    keys: dict[str, str]


Keys = Callable[[str, str], dict[str, str]]
"""Region and id of a resource → its condition keys."""


def tag_keys(tags: dict[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def refusal(policy: dict[str, Any], call: Call, body: bytes, keys: Keys) -> Answer | None:
    """Return AWS's refusal of a call, or None if the policy allows all that it needs."""
    for request in _requests(call, body, keys):
        denied, allowed = _evaluate(policy, request)
        if denied or not allowed:
            return _refused(call, request, denied)
    return None


def decoded(message: str) -> Answer:
    """Return the answer to DecodeAuthorizationMessage."""
    text = base64.b64decode(message).decode()
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    body = (
        '<DecodeAuthorizationMessageResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<DecodeAuthorizationMessageResult><DecodedMessage>{escaped}</DecodedMessage>"
        "</DecodeAuthorizationMessageResult></DecodeAuthorizationMessageResponse>"
    )
    return Answer(200, body=body.encode())


def _refused(call: Call, request: Request, is_explicit: bool) -> Answer:
    why = "with an explicit deny" if is_explicit else f"because no policy allows the {request.action} action"
    message = f"User: arn:aws:iam::1:user/rig is not authorized to perform: {request.action} {why}"
    if call.service != "ec2":
        return json_error("AccessDeniedException", message)
    details = {
        "explicitDeny": is_explicit,
        "context": {"action": request.action, "resource": request.resource},
    }
    encoded = base64.b64encode(json.dumps(details).encode()).decode()
    plain = "You are not authorized to perform this operation."
    return ec2_error(
        "UnauthorizedOperation", f"{plain} {message}. Encoded authorization failure message: {encoded}", 403
    )


def _requests(call: Call, body: bytes, keys_of: Keys) -> Iterator[Request]:
    action = f"{_PREFIXES.get(call.service, call.service)}:{call.action}"
    if action in _ANYONE:
        return
    if call.service == "ssm":
        name = str(json.loads(body)["Name"]).lstrip("/")
        yield Request(action, f"arn:aws:ssm:{call.region}::parameter/{name}", {})
        return
    if call.service != "ec2" or call.action.startswith(("Describe", "Get")):
        yield Request(action, "*", {})
        return
    given = _given(call.parameters)
    for kind, id_ in _resources(call):
        arn = f"arn:aws:ec2:{call.region}:{'' if kind == 'image' else '1'}:{kind}/{id_ or '*'}"
        keys = keys_of(call.region, id_) if id_ else {}
        own = given.get(kind, {}) if id_ is None else {}
        yield Request(action, arn, {**keys, **{f"aws:RequestTag/{key}": value for key, value in own.items()}})
    profile = call.parameters.get("IamInstanceProfile.Name") or call.parameters.get("IamInstanceProfile.Arn")
    if profile:  # the console gives a profile and its role one name
        role = f"arn:aws:iam::123456789012:role/{profile.rpartition('/')[2]}"
        yield Request("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    for kind, values in given.items():
        keys = {f"aws:RequestTag/{key}": value for key, value in values.items()}
        arn = f"arn:aws:ec2:{call.region}:1:{kind}/*"
        yield Request("ec2:CreateTags", arn, {**keys, "ec2:CreateAction": call.action})


def _resources(call: Call) -> Iterator[tuple[str, str | None]]:
    """Yield kind and id of what a call changes or uses; without an id what it creates."""
    if call.action == "RunInstances":
        yield from (("instance", None), ("volume", None), ("network-interface", None))
        if call.parameters.get("InstanceMarketOptions.MarketType") == "spot":
            yield ("spot-instances-request", None)
    if call.action == "CreateSecurityGroup":
        yield ("security-group", None)
    for name, value in call.parameters.items():
        if (match := _ID.match(value)) and not name.startswith("Filter."):
            yield _KINDS[match[1]], value
        elif value.startswith("sir-"):
            yield _KINDS["sir"], value


def _given(parameters: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return kind → tags of the TagSpecifications of a call."""
    given: dict[str, dict[str, str]] = {}
    for name, kind in parameters.items():
        if name.startswith("TagSpecification.") and name.endswith(".ResourceType"):
            start = name.removesuffix("ResourceType") + "Tag."
            names = [key for key in parameters if key.startswith(start) and key.endswith(".Key")]
            given[kind] = {parameters[key]: parameters.get(key[:-3] + "Value", "") for key in names}
    return given


def _evaluate(policy: dict[str, Any], request: Request) -> tuple[bool, bool]:
    """Return whether a statement denies the request, and whether one allows it."""
    effects = [one["Effect"] for one in policy["Statement"] if _applies(one, request)]
    return "Deny" in effects, "Allow" in effects


def _applies(statement: dict[str, Any], request: Request) -> bool:
    actions = any(fnmatch.fnmatchcase(request.action, each) for each in _list(statement["Action"]))
    resources = any(fnmatch.fnmatchcase(request.resource, each) for each in _list(statement["Resource"]))
    conditions = statement.get("Condition", {})
    assert set(conditions) <= {"StringEquals", "Null"}, "the rig knows StringEquals and Null alone"
    return (
        actions
        and resources
        and all(request.keys.get(k) in _list(v) for k, v in conditions.get("StringEquals", {}).items())
        and all((k not in request.keys) == (v == "true") for k, v in conditions.get("Null", {}).items())
    )


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
