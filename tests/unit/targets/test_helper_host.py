"""Requests to a helper over a fake pipe."""

from __future__ import annotations

import io
import json
from typing import Any

from orchestrator.errors import Unreachable
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Reader
from tests.support import Client, new_client


class Pipe:
    """Answers each request with its fields, after `beats`; `cut`: closes the connection instead."""

    def __init__(self, cut: bool, beats: list[Any]) -> None:
        self._cut, self._beats = cut, beats
        self._answer = b""

    def write(self, data: bytes) -> None:
        question = json.loads(data)
        replies = [
            {"heartbeat": True, **({} if hashed is None else {"hashed": hashed})} for hashed in self._beats
        ]
        replies.append({"answer": question})
        self._answer = b"".join(json.dumps({"id": question["id"], **r}).encode() + b"\n" for r in replies)

    def receive(self) -> bytes:
        if self._cut:
            raise Unreachable("the connection broke")
        return self._answer

    def close(self) -> None: ...


class Host(HelperHost):
    label = "ec2://i-1"

    def __init__(self, client: Client, cuts: int = 0, beats: tuple[Any, ...] = (), **changes: Any) -> None:
        super().__init__(client.context(sleep=lambda _: None, **changes))
        self._cuts, self._beats = cuts, [*beats]

    def open(self, verb: str, *words: str) -> Any:
        self._cuts -= 1
        pipe = Pipe(self._cuts >= 0, self._beats)
        return pipe, Reader(pipe)  # type: ignore[arg-type]

    def drop(self) -> None: ...


def test_every_request_has_the_lease_also_over_a_new_connection() -> None:
    with new_client() as client:
        host = Host(client, cuts=1)
        host.lease = 1200.0
        assert host.ask("ensure_environment")["lease"] == 1200.0
        host.lease = None
        assert "lease" not in host.ask("status")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_much_a_host_has_hashed_so_far() -> None:
    with new_client() as client:
        screen = Terminal()
        host = Host(client, beats=(None, "x", -1, 10**400, 3 << 30), stderr=screen)
        assert host.ask("stage")["op"] == "stage"
        assert "ec2://i-1 hashes its files: 3.0 GiB" in screen.getvalue()
        assert screen.getvalue().endswith("\r\x1b[K")


def test_progress_of_hashing_is_printed_on_no_pipe() -> None:
    with new_client() as client:
        stderr = io.StringIO()
        Host(client, beats=(3 << 30,), stderr=stderr).ask("stage")
        assert stderr.getvalue() == ""
