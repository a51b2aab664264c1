"""Spot requests of RunInstances, which moto does not record: one-time and persistent ones.

As AWS documents them ("Spot Instance interruptions", "Manage your Spot Instances"): EC2 starts an interrupted
instance of a persistent request again, and launches another when one is terminated before its request is
cancelled. Cancelling the request of an interrupted instance terminates that.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from tests.rigs.ec2.faults import Answer, Call, ec2_error

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass
class SpotRequest:
    """`state`: active, open (waits for capacity), disabled (its user stopped the instance) or cancelled."""

    id: str
    region: str
    instance: str
    is_persistent: bool
    stops: bool
    valid_until: str
    tags: dict[str, str]
    state: str = "active"

    @property
    def replaces(self) -> bool:
        """Whether EC2 launches another instance if its instance is terminated."""
        return self.is_persistent and self.state != "cancelled"


@dataclass
class SpotRequests:
    requests: dict[str, SpotRequest] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def of(self, instance: str) -> SpotRequest | None:
        return next((one for one in self.requests.values() if one.instance == instance), None)

    def created(self, call: Call, instance: str) -> None:
        """Record the request of a RunInstances call that launched this instance."""
        options = {
            key.rpartition(".")[2]: value
            for key, value in call.parameters.items()
            if key.startswith("InstanceMarketOptions.SpotOptions.")
        }
        id_ = f"sir-{next(self._numbers):08d}"
        self.requests[id_] = SpotRequest(
            id_,
            call.region,
            instance,
            options.get("SpotInstanceType") == "persistent",
            options.get("InstanceInterruptionBehavior") == "stop",
            options.get("ValidUntil", ""),
            _tags(call.parameters),
        )

    def refusal(self, call: Call) -> Answer | None:
        """Return EC2's error for a spot launch, or None."""
        options = "InstanceMarketOptions.SpotOptions."
        behaviour = call.parameters.get(options + "InstanceInterruptionBehavior")
        if call.parameters.get(options + "SpotInstanceType") == "persistent" and behaviour != "stop":
            message = "persistent requests need the interruption behavior stop or hibernate"
            return ec2_error("InvalidParameterCombination", message)
        return None

    def describe(self, call: Call) -> Answer:
        filters = {
            value: set(_listed(call.parameters, key.replace(".Name", ".Value.")))
            for key, value in call.parameters.items()
            if key.startswith("Filter.") and key.endswith(".Name")
        }
        ids = set(_listed(call.parameters, "SpotInstanceRequestId."))
        items = "".join(
            _item(one)
            for one in self.requests.values()
            if one.region == call.region and (not ids or one.id in ids) and _matches(one, filters)
        )
        return _answer(
            "DescribeSpotInstanceRequests", f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>"
        )

    def cancel(self, call: Call) -> tuple[Answer, list[SpotRequest]]:
        """Return the answer, and the requests whose interrupted instances EC2 terminates."""
        ids, stopped = _listed(call.parameters, "SpotInstanceRequestId."), []
        for id_ in ids:
            if id_ not in self.requests:
                message = f"The spot instance request ID '{id_}' does not exist"
                return ec2_error("InvalidSpotInstanceRequestID.NotFound", message), []
            if self.requests[id_].state == "open":
                stopped.append(self.requests[id_])
            self.requests[id_].state = "cancelled"
        items = "".join(
            f"<item><spotInstanceRequestId>{id_}</spotInstanceRequestId><state>cancelled</state></item>"
            for id_ in ids
        )
        body = f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>"
        return _answer("CancelSpotInstanceRequests", body), stopped


def _answer(action: str, body: str) -> Answer:
    text = f'<{action}Response xmlns="{NAMESPACE}"><requestId>rig</requestId>{body}</{action}Response>'
    return Answer(200, body=text.encode())


def _item(request: SpotRequest) -> str:
    tags = "".join(
        f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>"
        for key, value in request.tags.items()
    )
    kind = "persistent" if request.is_persistent else "one-time"
    return (
        f"<item><spotInstanceRequestId>{request.id}</spotInstanceRequestId><state>{request.state}</state>"
        f"<type>{kind}</type><instanceId>{request.instance}</instanceId><tagSet>{tags}</tagSet></item>"
    )


def _matches(request: SpotRequest, filters: dict[str, set[str]]) -> bool:
    for name, values in filters.items():
        actual = (
            request.tags.get(name[4:])
            if name.startswith("tag:")
            else {
                "instance-id": request.instance,
                "state": request.state,
            }.get(name)
        )
        if actual not in values:
            return False
    return True


def _listed(parameters: dict[str, str], prefix: str) -> list[str]:
    return [value for key, value in parameters.items() if key.startswith(prefix)]


def _tags(parameters: dict[str, str]) -> dict[str, str]:
    """Return the tags that a launch gives its spot request."""
    for key, value in parameters.items():
        if key.endswith(".ResourceType") and value == "spot-instances-request":
            start = key.replace("ResourceType", "Tag.")
            keys = {k: v for k, v in parameters.items() if k.startswith(start) and k.endswith(".Key")}
            return {name: parameters[k[:-3] + "Value"] for k, name in keys.items()}
    return {}
