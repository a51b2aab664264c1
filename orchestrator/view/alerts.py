"""The alerts of a run, as `status` shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.core.hostfacts import AlertDelivery
from orchestrator.core.when import iso
from orchestrator.view import answers


def to_json(deliveries: Sequence[AlertDelivery]) -> tuple[answers.Alert, ...]:
    return tuple(
        answers.Alert(
            event=one.event,
            channel=one.channel,
            title=one.title,
            t=iso(one.t),
            state=one.state,
            attempts=one.attempts,
            error=one.error,
        )
        for one in deliveries
    )


def lines(deliveries: Sequence[AlertDelivery]) -> Iterator[str]:
    """How many were delivered, and each that was not, with the reason."""
    delivered = sum(one.state == "delivered" for one in deliveries)
    if delivered:
        yield f"  alerts: {delivered} delivered"
    for one in deliveries:
        if one.state != "delivered":
            tries = f"{one.attempts} attempt{'' if one.attempts == 1 else 's'}"
            what = "not delivered" if one.state == "failed" else "not delivered yet"
            yield f"  alert {what}: {one.event}, over the {one.channel}, {tries}: {one.error or 'sending'}"
