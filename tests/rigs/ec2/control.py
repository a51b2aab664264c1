"""The control plane: moto behind a proxy that records calls, corrects answers and injects faults."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.types import Base64EncodedString
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tests.rigs.ec2 import policy
from tests.rigs.ec2.desk import Desk
from tests.rigs.ec2.faults import Answer, Call, Faults, ec2_error, json_error
from tests.rigs.ec2.fleet import Fleet
from tests.rigs.ec2.images import PARAMETERS, ROOT_GB
from tests.rigs.ec2.refusals import refusal

_INSTANCE = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>(?=\s*<imageId>)")
Start = Callable[..., Any]
Body = Iterable[bytes]
TOKENED = ("RunInstances", "CreateVolume")
GROUP_CHANGES = ("SecurityGroupIngress", "InstanceAttribute", "NetworkInterfaceAttribute")
NOT_GIVEN = ("pricing", "servicequotas")  # denied, as for a user without these permissions
MISMATCH = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
ENDED = (
    "The client token you have provided is associated with a terminated instance. Please use a different one."
)


class ControlPlane:
    """The WSGI application of the rig. `desk` handles requests of tests to the rig itself, below /_rig/."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.faults = Faults()
        self.visibility = fleet.visibility
        self.calls: list[Call] = []
        self.tokens: dict[tuple[str, ...], tuple[str, Answer]] = {}
        self._aws = DomainDispatcherApplication(create_backend_app)
        self._desk = Desk(self)
        self._launching = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Start) -> Body:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        environ["wsgi.input"] = BytesIO(body)
        if environ.get("PATH_INFO", "").startswith("/_rig/"):
            return _send(
                self._desk.answer(environ["PATH_INFO"][6:], json.loads(body or b"{}")), environ, start
            )
        return _send(self._answer(environ, _call(environ, body), body), environ, start)

    def _answer(self, environ: dict[str, Any], call: Call, body: bytes) -> Answer:
        self.calls.append(call)
        before = self._refusal(call, body) or self.faults.take(call, after=False)
        answer = before or self._instead(call, body) or self._carry_out(environ, call)
        if before is None and answer.status < 400:
            return self.faults.take(call, after=True) or answer
        return answer

    def _refusal(self, call: Call, body: bytes) -> Answer | None:
        """Return the refusal of a call that the policy of gpujob's user does not allow."""
        allowed = self.fleet.settings.policy
        return policy.refusal(allowed, call, body, self._keys) if allowed and call.by_gpujob else None

    def _keys(self, region: str, resource_id: str) -> dict[str, str]:
        """Return the condition keys of a resource: its tags, and the market of an instance."""
        if request := self.fleet.spot.requests.get(resource_id):
            return policy.tag_keys(request.tags)
        found = backend(region).describe_tags(filters={"resource-id": [resource_id]})
        keys = policy.tag_keys({tag["key"]: tag["value"] for tag in found})
        if instance := backend(region).get_instance_by_id(resource_id):
            keys["ec2:InstanceMarketType"] = instance.lifecycle or "on-demand"
        return keys

    def _instead(self, call: Call, body: bytes) -> Answer | None:
        """Return the rig's own answer to a call, or None if moto is to answer it."""
        if call.service in NOT_GIVEN:
            return json_error("AccessDeniedException", f"not authorized to perform: {call.service}")
        if call.action == "DecodeAuthorizationMessage":
            return policy.decoded(call.parameters["EncodedMessage"])
        if call.action == "GetParameter":
            ami = PARAMETERS.get(json.loads(body)["Name"])
            return _parameter(json.loads(body)["Name"], ami) if ami else None
        if call.action == "GetConsoleOutput":
            member = self.fleet.member(call.parameters.get("InstanceId", ""))
            return _console(member.instance.id, member.machine.console()) if member else None
        if call.service != "ec2":
            return None
        if call.action == "DescribeRegions":
            return _regions(self.fleet.settings.regions)
        if call.action == "DescribeSpotInstanceRequests":
            return self.fleet.spot.describe(call)
        if call.action == "CancelSpotInstanceRequests":
            answer, interrupted = self.fleet.spot.cancel(call)
            for request in interrupted:
                backend(call.region).get_instance_by_id(request.instance).terminate()
            return answer
        refused = self.visibility.refusal(call) or refusal(call, backend(call.region))
        return refused or self.fleet.spot.refusal(call)

    def _carry_out(self, environ: dict[str, Any], call: Call) -> Answer:
        if call.action in TOKENED and call.parameters.get("ClientToken"):
            with self._launching:
                answer = self._once(environ, call)
            self.visibility.created(call, answer)
            return answer
        ours = _attribute(call) if call.action == "ModifyInstanceAttribute" else None
        with self.visibility.seen_by(call):
            answer = ours or self._moto(environ, call)
        self.visibility.created(call, answer)
        if call.action.endswith(GROUP_CHANGES):
            self.fleet.sync_groups()
        return answer

    def _once(self, environ: dict[str, Any], call: Call) -> Answer:
        """Carry out a call once per client token, region and, if given, zone."""
        request = {name: value for name, value in call.parameters.items() if name != "ClientToken"}
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        key = (call.action, call.region, call.zone or "", call.parameters["ClientToken"])
        if key in self.tokens:
            before, answer = self.tokens[key]
            if before != digest:
                return ec2_error("IdempotentParameterMismatch", MISMATCH)
            if call.action == "RunInstances" and _all_ended(call.region, answer):
                return ec2_error("IdempotentInstanceTerminated", ENDED)
            return answer
        answer = self._moto(environ, call)
        if answer.status == 200:
            self.tokens[key] = (digest, answer)
            if call.parameters.get("DisableApiTermination") == "true":
                for instance in _launched(call.region, answer):
                    instance.disable_api_termination = True
        return answer

    def _moto(self, environ: dict[str, Any], call: Call) -> Answer:
        received: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
            received.update(status=int(status.split()[0]), headers=dict(headers))

        body = b"".join(self._aws(environ, start))
        if call.action == "RunInstances" and received["status"] == 200:
            self._record_spot(call, body)
        if call.action in ("RunInstances", "DescribeInstances"):
            body = _INSTANCE.sub(self._with_request, body)
        return Answer(received["status"], received["headers"].get("Content-Type", "text/xml"), body)

    def _record_spot(self, call: Call, body: bytes) -> None:
        if call.parameters.get("InstanceMarketOptions.MarketType") == "spot":
            for instance in _INSTANCE.findall(body):
                self.fleet.spot.created(call, instance.decode())

    def _with_request(self, found: re.Match[bytes]) -> bytes:
        """Add the id of its spot request to an instance."""
        request = self.fleet.spot.of(found[1].decode())
        added = f"<spotInstanceRequestId>{request.id}</spotInstanceRequestId>" if request else ""
        return found[0] + added.encode()


def backend(region: str) -> Any:
    """Return moto's EC2 backend of a region, with the image size that the rig enforces."""
    region_backend = ec2_backends[DEFAULT_ACCOUNT_ID][region]
    for image in region_backend.amis.values():
        image.ebs_snapshot.volume.size = ROOT_GB
    return region_backend


def _regions(names: list[str]) -> Answer:
    items = "".join(
        f"<item><regionName>{name}</regionName><regionEndpoint>ec2.{name}.amazonaws.com</regionEndpoint>"
        "<optInStatus>opt-in-not-required</optInStatus></item>"
        for name in names
    )
    text = f'<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><regionInfo>{items}'
    return Answer(200, body=f"{text}</regionInfo></DescribeRegionsResponse>".encode())


def _call(environ: dict[str, Any], body: bytes) -> Call:
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    region, service = scope.groups() if scope else ("us-east-1", "")
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    parameters = {} if target else dict(urllib.parse.parse_qsl(body.decode("latin1")))
    action = target or parameters.get("Action", "")
    by_gpujob = "gpujob" in environ.get("HTTP_USER_AGENT", "")
    return Call(
        service, region, action, parameters, _zone(region, parameters), by_gpujob, _type(region, parameters)
    )


def _type(region: str, parameters: dict[str, str]) -> str | None:
    """Return the type that a call launches or, of StartInstances, that its instance has."""
    instance = backend(region).get_instance_by_id(parameters.get("InstanceId.1", ""))
    return parameters.get("InstanceType") or (str(instance.instance_type) if instance else None)


def _zone(region: str, parameters: dict[str, str]) -> str | None:
    subnet = parameters.get("SubnetId") or parameters.get("NetworkInterface.1.SubnetId")
    if subnet:
        with contextlib.suppress(Exception):  # moto itself rejects an unknown subnet
            return str(backend(region).get_subnet(subnet).availability_zone)
    return parameters.get("Placement.AvailabilityZone") or parameters.get("AvailabilityZone")


def _send(answer: Answer, environ: dict[str, Any], start: Start) -> Body:
    if answer.cut:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start(f"{answer.status} Rig", headers)
    return [answer.body]


def _parameter(name: str, value: str) -> Answer:
    region_backend = {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
        "DataType": "aws:ec2:image",
    }
    return Answer(200, "application/x-amz-json-1.1", json.dumps({"Parameter": region_backend}).encode())


def _console(instance_id: str, text: bytes) -> Answer:
    body = (
        '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>rig</requestId>'
        f"<instanceId>{escape(instance_id)}</instanceId><timestamp>2026-01-01T00:00:00.000Z</timestamp>"
        f"<output>{base64.b64encode(text).decode()}</output></GetConsoleOutputResponse>"
    )
    return Answer(200, body=body.encode())


def _launched(region: str, answer: Answer) -> list[Any]:
    ids = re.findall(rb"<instanceId>(i-[0-9a-f]+)<", answer.body)
    every = [i for reservation in backend(region).reservations.values() for i in reservation.instances]
    return [instance for instance in every if instance.id.encode() in ids]


def _all_ended(region: str, answer: Answer) -> bool:
    return all(instance._state.name == "terminated" for instance in _launched(region, answer))


def _attribute(call: Call) -> Answer | None:
    """Change the two attributes that moto cannot change: it decodes user-data twice."""
    instance = backend(call.region).get_instance_by_id(call.parameters.get("InstanceId", ""))
    data = call.parameters.get("UserData.Value")
    behaviour = call.parameters.get("InstanceInitiatedShutdownBehavior.Value")
    if instance is None or (data is None and behaviour is None):
        return None
    if data is not None:
        instance.user_data = Base64EncodedString(data)
    if behaviour is not None:
        instance.instance_initiated_shutdown_behavior = behaviour
    body = b"<ModifyInstanceAttributeResponse><return>true</return></ModifyInstanceAttributeResponse>"
    return Answer(200, body=body)
