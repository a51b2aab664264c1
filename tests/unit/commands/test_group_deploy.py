"""A deploy to several scripted hosts: what a cut or a refused one leaves for the next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import Unreachable
from orchestrator.targets.base import Refused, Target
from orchestrator.targets.group import GroupTarget
from tests.support import Client, Result, ScriptedHost
from tests.unit.commands.scripted import SEEN, client, scripted

__all__ = ["client"]

STOPPED = {"was_running": True, "remaining": [], "run": SEEN}


class ScriptedTarget(Target):
    needs_rsync = False

    def __init__(self, host: ScriptedHost) -> None:
        self.host = host

    @property
    def label(self) -> str:
        return self.host.label

    @contextlib.contextmanager
    def connect(self) -> Iterator[ScriptedHost]:
        yield self.host


def two_hosts(**answers: Any) -> list[ScriptedHost]:
    """`answers`: those of the second host."""
    hosts = [scripted(status={"runs": [SEEN]}), scripted(status={"runs": [SEEN]}, **answers)]
    for number, host in enumerate(hosts):
        host.label = f"gpu{number}"
    return hosts


def deploy(client: Client, hosts: list[ScriptedHost], monkeypatch: pytest.MonkeyPatch) -> Result:
    target = GroupTarget(client.context(), [ScriptedTarget(host) for host in hosts])
    monkeypatch.setattr("orchestrator.registry.target", lambda *_: target)
    return client.run("deploy", "job", "--on", target.label)


def run_id(host: ScriptedHost) -> str:
    started = [fields["spec"]["id"] for op, fields in host.requests if op == "start"]
    return str(started[-1])


def test_a_refused_step_leaves_an_interrupted_start_to_be_continued(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host that did not answer may have started the run: an error before the next start does not tell."""
    client.job("print(1)")
    cut = two_hosts(start=Unreachable("cut"), stop=Unreachable("cut"))
    cut[0].answers |= {"stop": STOPPED}
    result = deploy(client, cut, monkeypatch)
    assert result.code == 5, result.err

    def refuse(tree: Any) -> None:
        raise Refused("changed", "the code changed while it was sent")

    refusing = two_hosts()
    monkeypatch.setattr(refusing[1], "send_tree", refuse)
    result = deploy(client, refusing, monkeypatch)
    assert (result.code, "the code changed" in result.err) == (1, True), result.err

    again = two_hosts()
    result = deploy(client, again, monkeypatch)
    assert result.code == 0, result.err
    assert run_id(again[0]) == run_id(again[1]) == run_id(cut[0])


def test_a_refused_start_on_one_of_several_hosts_leaves_no_intent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job("print(1)")
    hosts = two_hosts(start=Refused("tmux", "tmux would not"), stop=Refused("no-run", "no such run"))
    hosts[0].answers |= {"stop": STOPPED}
    result = deploy(client, hosts, monkeypatch)
    assert (result.code, "tmux would not" in result.err) == (1, True), result.err
    assert [op for op, _ in hosts[0].requests][-2:] == ["stop", "clean"]
    assert list((client.state_dir / "intents").glob("*.json")) == []
