"""Injected faults: errors by operation, zone and instance type; lost and malformed answers."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Call:
    """One request to the control plane. `zone` is the requested zone, given by name or by subnet.

    `by_gpujob`: it was made by gpujob, and not by a test. `type`: that of the instance to launch or start.
    """

    service: str
    region: str
    action: str
    parameters: dict[str, str]
    zone: str | None
    by_gpujob: bool = False
    type: str | None = None

    def matches(self, required: dict[str, str]) -> bool:
        actual = {"az": self.zone, "region": self.region, "type": self.type}
        return all(actual.get(key, self.parameters.get(key)) == value for key, value in required.items())


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `cut`: the connection is closed without one."""

    status: int
    content_type: str = "text/xml"
    body: bytes = b""
    cut: bool = False


@dataclass
class Rule:
    """`times` more calls get `answer`; with `after` the call itself is carried out first."""

    action: str
    answer: Answer
    times: int
    after: bool
    match: dict[str, str]


@dataclass
class Faults:
    rules: list[Rule] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rule: Rule) -> None:
        self.rules.append(rule)

    def take(self, call: Call, after: bool) -> Answer | None:
        """Return the answer of the first rule that matches this call, and decrement the rule's count."""
        with self.lock:
            for rule in self.rules:
                alike = rule.action in (call.action, "*") and rule.after is after and rule.times > 0
                if alike and call.matches(rule.match):
                    rule.times -= 1
                    return rule.answer
        return None


def usual_status(code: str) -> int:
    """The HTTP status that goes with an EC2 error code: capacity and internal errors are the server's."""
    if code.startswith(("Insufficient", "Internal", "ServerInternal", "Unfulfillable")):
        return 500
    if code in ("RequestLimitExceeded", "Unavailable", "ServiceUnavailable"):
        return 503
    return 400


def ec2_error(code: str, message: str, status: int | None = None) -> Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "</Error></Errors><RequestID>rig</RequestID></Response>"
    )
    return Answer(status or usual_status(code), body=body.encode())


def query_error(code: str, message: str, status: int | None = None) -> Answer:
    """Return an error in the format of STS and IAM."""
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code>"
        f"<Message>{escape(message)}</Message></Error><RequestId>rig</RequestId></ErrorResponse>"
    )
    return Answer(status or usual_status(code), body=body.encode())


def json_error(code: str, message: str, status: int | None = None) -> Answer:
    body = json.dumps({"__type": code, "message": message}).encode()
    return Answer(status or usual_status(code), "application/x-amz-json-1.1", body)


def error(service: str, code: str, message: str, status: int | None = None) -> Answer:
    """Return an error in the format of this service."""
    form = {"ec2": ec2_error, "sts": query_error, "iam": query_error}.get(service, json_error)
    return form(code, message, status)
