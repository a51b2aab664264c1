"""Kills a client at any point of a command that calls EC2, and looks for what it left."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import files
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.records import InstanceStore
from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

Trials = Callable[[int, int], int]


class Killed(BaseException):
    """Acts like SIGKILL: no further code of the command runs, and nothing is closed."""


class Killer:
    """Kills a command at its Nth point: before and after each EC2 call and each write or removal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.passed = 0, list[str]()
        for where, name in (
            (Cloud, "_once"),
            (files, "write_json"),
            (InstanceStore, "_save"),
            (InstanceStore, "close_attempt"),
        ):
            monkeypatch.setattr(where, name, self._around(getattr(where, name)))

    def set(self, at: int) -> None:
        """Set the point at which to kill; 0: never."""
        self.at, self.passed = at, []

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def around(*words: Any, **more: Any) -> Any:
            what = " ".join(word for word in words if isinstance(word, str)) or real.__name__
            self._point(what)
            result = real(*words, **more)
            self._point(what)
            return result

        return around

    def _point(self, what: str) -> None:
        self.passed.append(what)
        if len(self.passed) == self.at:
            raise Killed


class Arrived(BaseException):
    """Raised when the launch is complete: the instance is running and recorded."""


def empty(ec2: FakeEC2) -> None:
    ec2.reset()
    ec2.set(machines=False, pending=0.0, stopping=0.0)


def untracked(ec2: FakeEC2, client: Client, before: set[str]) -> set[str]:
    """Return instances launched since `before` that neither a record nor an open attempt tracks."""
    known = {one.id for one in user.store(client).all()}
    return set() if user.store(client).attempts() else set(ec2.states()) - before - known


def chosen(trials: Trials, points: list[str], few: int) -> list[int]:
    """Return the points to try: `few` after the last RunInstances was sent, and one other; or every point."""
    total = len(points)
    made = max(at for at, what in enumerate(points, 1) if "run_instances" in what)
    sample = random.Random(7).sample(range(1, total + 1), min(trials(1, total), total))
    return sorted({*range(made, made + few), *sample})
