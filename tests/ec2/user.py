"""Runs commands of a user in this process against the simulated EC2."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from orchestrator.context import Context
from orchestrator.instances import connection
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.instance import Instance
from orchestrator.instances.records import InstanceStore
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.ec2.images import ROOT_GB
from tests.support import Client, Result, new_client

UP = ("hosts", "up", "--type", "g5.xlarge", "--max-hours", "2", "--yes")


@functools.cache
def _client(endpoint: str, service: str, region: str) -> Any:
    """Return a cached AWS client, since creating one takes 0.3 s."""
    with new_client() as client:
        return _real_client(Cloud(client.context()), service, region)


_real_client = Cloud._client


@functools.cache
def api(region: str) -> Any:
    """Return an AWS client of a test, which is no call of gpujob."""
    return boto3.client("ec2", region_name=region)


def share_clients(monkeypatch: pytest.MonkeyPatch, ec2: FakeEC2) -> None:
    monkeypatch.setattr(Cloud, "_client", lambda cloud, *which: _client(ec2.endpoint, *which))
    size_images(monkeypatch)


def size_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the image size to 35 GB: moto reports 15, and the rig rejects a smaller root disk than 35."""
    real = Cloud._once

    def once(cloud: Cloud, *words: Any) -> Any:
        answer = real(cloud, *words)
        for image in answer.get("Images", []):
            image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] = ROOT_GB
        return answer

    monkeypatch.setattr(Cloud, "_once", once)


def knock_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the connection probe: a local packet filter needs no time to respond."""
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.1)


class Clock:
    """A clock whose `sleep` returns almost at once and advances this clock by the full time."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._longest = 0.05

    def now(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._longest))
        self._longest = min(0.5, self._longest * 1.5)
        self.ahead += seconds


@contextlib.contextmanager
def new_user(ec2: FakeEC2) -> Iterator[Client]:
    with new_client() as client:
        client.env |= ec2.env | {"GPUJOB_CHECKIP": ec2.checkip_url}
        yield client


def run(client: Client, *words: str, **changes: Any) -> Result:
    clock = Clock()
    return client.run(*words, **{"sleep": clock.sleep, "now": clock.now, **changes})


def store(client: Client) -> InstanceStore:
    return InstanceStore(client.state_dir)


def only(client: Client) -> Instance:
    """Return the only recorded instance."""
    (instance,) = store(client).all()
    return instance


def context(client: Client, slept: list[float]) -> Context:
    return client.context(sleep=slept.append)
