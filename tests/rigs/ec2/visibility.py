"""Eventual consistency: a new resource is unknown to the first calls that gpujob makes after its creation.

AWS's documentation of the EC2 API describes this ("Eventual consistency in the Amazon EC2 API"). Only calls
of gpujob are affected, so that a test sees the account as it is.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Iterator

from tests.rigs.ec2.faults import Answer, Call, ec2_error
from tests.rigs.ec2.settings import Settings

_CREATED = re.compile(rb"<(?:instanceId|groupId|volumeId)>((?:i|sg|vol)-[0-9a-f]+)<")
_CREATES = ("RunInstances", "CreateSecurityGroup", "CreateVolume")
_LISTS = {"DescribeInstances": "i-", "DescribeSecurityGroups": "sg-", "DescribeVolumes": "vol-"}
_CODES = {
    "i-": "InvalidInstanceID.NotFound",
    "sg-": "InvalidGroup.NotFound",
    "vol-": "InvalidVolume.NotFound",
}


class Visibility:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._calls: dict[str, int] = {}  # id → calls of gpujob in its region that do not see it yet
        self._regions: dict[str, str] = {}
        self._random = random.Random(1)
        self._local = threading.local()

    def reset(self) -> None:
        self._calls.clear()
        self._random.seed(1)

    def created(self, call: Call, answer: Answer) -> None:
        """Hide what a call created; an id that was seen before is an older resource."""
        if call.action in _CREATES and answer.status == 200:
            for found in _CREATED.findall(answer.body):
                self._calls.setdefault(found.decode(), self._random.randint(0, self._settings.hidden_calls))
                self._regions.setdefault(found.decode(), call.region)

    def refusal(self, call: Call) -> Answer | None:
        """Return EC2's error for a call that names a resource which is not visible yet."""
        if not call.by_gpujob:
            return None
        for name, value in call.parameters.items():
            if self._calls.get(value, 0) > 0 and not name.startswith("Filter."):
                self._calls[value] -= 1
                kind = value.partition("-")[0] + "-"
                return ec2_error(_CODES[kind], f"The ID '{value}' does not exist")
        return None

    @contextlib.contextmanager
    def seen_by(self, call: Call) -> Iterator[None]:
        """Leave out of a list what this call does not see yet."""
        prefix = _LISTS.get(call.action, "none") if call.by_gpujob else "none"
        hidden = {
            each
            for each, left in list(self._calls.items())
            if left > 0 and each.startswith(prefix) and self._regions[each] == call.region
        }
        for each in hidden:
            self._calls[each] -= 1
        self._local.hidden = hidden
        try:
            yield
        finally:
            self._local.hidden = set()

    def shows(self, resource_id: str) -> bool:
        return resource_id not in getattr(self._local, "hidden", ())
