"""What the companions of a run did, as `status` shows it: its alerts, and the copy of its results in S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.core.runfacts import AlertDelivery, MirrorState
from orchestrator.core.text import counted, size
from orchestrator.core.values import iso
from orchestrator.view import answers


def alerts_to_json(deliveries: Sequence[AlertDelivery]) -> tuple[answers.Alert, ...]:
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


def alert_lines(deliveries: Sequence[AlertDelivery]) -> Iterator[str]:
    """How many were delivered, and each that was not, with the reason."""
    delivered = sum(one.state == "delivered" for one in deliveries)
    if delivered:
        yield f"  alerts: {delivered} delivered"
    for one in deliveries:
        if one.state != "delivered":
            tries = counted(one.attempts, "attempt")
            what = "not delivered" if one.state == "failed" else "not delivered yet"
            yield f"  alert {what}: {one.event}, over the {one.channel}, {tries}: {one.error or 'sending'}"


def mirror_to_json(state: MirrorState | None) -> answers.Mirror | None:
    if state is None:
        return None
    return answers.Mirror(
        place=state.place, state=state.state, error=state.error, files=state.count, bytes=state.bytes
    )


def mirror_line(state: MirrorState) -> str:
    """What was copied, and why not all of it."""
    done = f"{counted(state.count, 'file')}, {size(state.bytes)} copied to {state.place}"
    if state.error:
        return f"  warning: copying to S3 fails: {state.error} ({done})"
    return f"  {done}{'' if state.state == 'complete' else ', goes on'}"
