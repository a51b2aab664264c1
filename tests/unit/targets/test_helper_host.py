"""Requests to a helper over a fake pipe."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.errors import Unreachable
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Reader
from tests.support import Client, new_client


class Pipe:
    """Answers each request with its fields; `cut`: closes the connection instead."""

    def __init__(self, cut: bool) -> None:
        self._cut = cut
        self._answer = b""

    def write(self, data: bytes) -> None:
        question = json.loads(data)
        self._answer = json.dumps({"id": question["id"], "answer": question}).encode() + b"\n"

    def receive(self) -> bytes:
        if self._cut:
            raise Unreachable("the connection broke")
        return self._answer

    def close(self) -> None: ...


class Host(HelperHost):
    label = "ec2://i-1"

    def __init__(self, client: Client, cuts: int = 0) -> None:
        super().__init__(client.context(sleep=lambda _: None))
        self._cuts = cuts

    def open(self, verb: str, *words: str) -> Any:
        self._cuts -= 1
        pipe = Pipe(cut=self._cuts >= 0)
        return pipe, Reader(pipe)  # type: ignore[arg-type]

    def drop(self) -> None: ...


def test_every_request_has_the_lease_also_over_a_new_connection() -> None:
    with new_client() as client:
        host = Host(client, cuts=1)
        host.lease = 1200.0
        assert host.ask("ensure_environment")["lease"] == 1200.0
        host.lease = None
        assert "lease" not in host.ask("status")
