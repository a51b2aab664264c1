"""Who sends files to a host."""

from __future__ import annotations

from orchestrator.targets.ssh import senders
from tests.support import new_client


def test_senders_at_the_same_time_have_names_of_their_own() -> None:
    with new_client() as client:
        ctx = client.context()
        with senders.own(ctx, "gpu", "tree") as one, senders.own(ctx, "gpu", "tree") as two:
            assert one != two
        with senders.own(ctx, "gpu", "tree") as again:
            assert again == one


def test_two_clients_have_names_of_their_own() -> None:
    with (
        new_client() as a,
        new_client() as b,
        senders.own(a.context(), "gpu", "tree") as one,
        senders.own(b.context(), "gpu", "tree") as two,
    ):
        assert one != two
