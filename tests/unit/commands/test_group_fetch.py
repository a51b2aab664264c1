"""After the download of a run over several instances, each of them is terminated."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.commands import group_fetch
from orchestrator.errors import AccessError
from tests.support import new_client


class Instance:
    """A host whose termination is refused or done."""

    def __init__(self, name: str, is_refused: bool) -> None:
        self.name, self.is_refused, self.is_asked = name, is_refused, False

    def terminate(self) -> str:
        self.is_asked = True
        if self.is_refused:
            raise AccessError(f"{self.name} is not terminated yet")
        return f"{self.name} is terminated"


def test_an_instance_that_cannot_be_terminated_keeps_no_other() -> None:
    hosts: list[Any] = [Instance("one", True), Instance("two", False), Instance("three", True)]
    with new_client() as client:
        ctx = client.context()
        with pytest.raises(AccessError, match="one is not terminated yet"):
            group_fetch._terminate_all(ctx, hosts)
    assert all(host.is_asked for host in hosts)
    assert ctx.stderr.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "two is terminated",
        "three is not terminated yet",
    ]
