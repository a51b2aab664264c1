"""The client waits until an instance has booted, whatever fails meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import AccessError, GpujobError, Unreachable
from orchestrator.instances import boot, connection
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.targets.base import Refused
from orchestrator.targets.ssh.hostkeys import UnknownHostKey
from tests.support import new_client
from tests.unit.instances.fake_account import FakeAccount


class BootingHost:
    """Answers each request with the next of `answers`: an error, or the facts of an instance."""

    answers: list[Any]

    def __init__(self, account: Account, instance: Instance) -> None:
        pass

    def ask(self, op: str, **_: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        pass


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Any:
    FakeAccount(monkeypatch).instance("i-1")
    monkeypatch.setattr(boot, "InstanceHost", BootingHost)
    monkeypatch.setattr(connection, "answers", lambda address: True)
    with new_client() as client:
        yield Account(client.context(now=lambda: 1000.0, sleep=lambda seconds: None))


def instance() -> Instance:
    return Instance(id="i-1", region="us-east-1", launched=1000.0, started=1000.0, host_key_rotated=True)


def test_whatever_fails_while_an_instance_boots_is_tried_again(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = [
        AccessError("accepts no key"),
        Refused("no-instance", "no timers yet"),
        GpujobError("cannot store the helper", "mkdir: .gpujob/onhost: Permission denied"),
        Unreachable("did not run a command"),
        {"ready": None},
    ]
    monkeypatch.setattr(BootingHost, "answers", [*failures, {"ready": {"v": 1}}], raising=False)
    assert isinstance(boot._wait_for_marker(account, instance()), BootingHost)
    assert BootingHost.answers == []


def test_another_host_key_ends_the_wait_for_a_boot(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BootingHost, "answers", [UnknownHostKey("another key")], raising=False)
    with pytest.raises(UnknownHostKey):
        boot._wait_for_marker(account, instance())
