"""The copy of a run's results in S3, as `status` shows it."""

from __future__ import annotations

from orchestrator.core.s3facts import MirrorState
from orchestrator.core.text import size
from orchestrator.view import answers


def to_json(state: MirrorState | None) -> answers.Mirror | None:
    if state is None:
        return None
    return answers.Mirror(
        place=state.place, state=state.state, error=state.error, files=state.count, bytes=state.bytes
    )


def line(state: MirrorState) -> str:
    """What was copied, and why not all of it."""
    done = f"{state.count} file{'' if state.count == 1 else 's'}, {size(state.bytes)} copied to {state.place}"
    if state.error:
        return f"  warning: copying to S3 fails: {state.error} ({done})"
    return f"  {done}{'' if state.state == 'complete' else ', goes on'}"
