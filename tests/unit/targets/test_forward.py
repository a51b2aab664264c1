"""Ports of this machine that lead to a host."""

from __future__ import annotations

import pytest

from orchestrator.errors import GpujobError
from orchestrator.targets.forward import Forwarder, Port
from tests.support import ScriptedHost, new_client


def test_no_port_is_opened_for_a_host_that_forwards_none() -> None:
    with new_client() as client:
        forwarder = Forwarder(client.context(), ScriptedHost({}), [Port(0, 80)])
        with pytest.raises(GpujobError, match="scripted forwards no ports"), forwarder.listening():
            pass
