"""The helper of a host is sent if it is missing, as often as necessary."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import GpujobError, Unreachable
from orchestrator.targets.ssh import address
from orchestrator.targets.ssh.host import SshHost
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def opened(client: Client, monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> list[str]:
    """Start the helper of a host that gives `answers` to the attempts; return the actions taken."""
    actions: list[str] = []
    pipe = SimpleNamespace(close=lambda: None)

    def begin(_host: SshHost, _line: str) -> tuple[str, Any, Any]:
        actions.append(answers.pop(0))
        return actions[-1], pipe, None

    monkeypatch.setattr(SshHost, "_begin", begin)
    monkeypatch.setattr(SshHost, "_send_bundle", lambda _host: actions.append("sent"))
    typed = address.Typed("gpu", "127.0.0.1", "ubuntu", None, ())
    host = SshHost(client.context(), SimpleNamespace(typed=typed))  # type: ignore[arg-type]
    host.open("serve")
    return actions


def test_a_helper_that_a_volume_was_mounted_over_is_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the boot of a spot instance, its volume is mounted over the home."""
    assert opened(client, monkeypatch, ["missing", "missing", "ready"]) == [
        *("missing", "sent", "missing", "sent", "ready")
    ]


def test_a_helper_that_vanishes_is_distinguished_from_a_missing_python(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="does not keep the helper"):
        opened(client, monkeypatch, ["missing"] * 9)
    with pytest.raises(GpujobError, match="has no python3"):
        opened(client, monkeypatch, ["python"])
