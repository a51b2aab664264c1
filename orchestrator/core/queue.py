"""When the runs in the queue of a host are expected to start, by what the runs before them report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import runstate
from orchestrator.core.runfacts import RunFacts

NEVER_KNOWN = float("inf")


def expected_starts(runs: Sequence[RunFacts], gpus: int | None, now: float) -> dict[str, float]:
    """Seconds until each waiting run starts, by run id; without those for which it is not known.

    `gpus`: how many the host has; None: unknown. A live run ends when it says so; how long a waiting run will
    take is not known, so what waits for the end of one has no expected start either.
    """
    if gpus is None:
        return {}
    free_at = _free_at(runs, gpus, now)
    earliest, expected = 0.0, dict[str, float]()
    for run in sorted(
        (run for run in runs if run.queue), key=lambda run: run.queue.place if run.queue else 0
    ):
        needed = _needs(run, gpus)
        if needed > len(free_at):
            break
        earliest = max([earliest, *free_at[:needed]])
        if earliest == NEVER_KNOWN:
            break
        expected[run.id] = earliest
        free_at = sorted([*free_at[needed:], *[NEVER_KNOWN] * needed])
    return expected


def _free_at(runs: Sequence[RunFacts], gpus: int, now: float) -> list[float]:
    """In how many seconds each GPU (or the slot of a host without one) is free, the first one first."""
    capacity = max(1, gpus)
    free_at, all_free_at = [0.0] * capacity, 0.0
    for run in runs:
        state = runstate.fold(run, now)
        if isinstance(state, runstate.Queued) or not isinstance(state, runstate.GOING):
            continue
        left = state.eta if isinstance(state, runstate.Running) and state.eta is not None else NEVER_KNOWN
        if gpus and run.leased is not None:
            free_at = sorted(free_at)[run.leased :] + [left] * min(run.leased, capacity)
        elif not gpus or _needs(run, gpus):
            all_free_at = max(all_free_at, left)
    return sorted(max(one, all_free_at) for one in free_at)


def _needs(run: RunFacts, gpus: int) -> int:
    """How many GPUs a run asks for; on a host without any its one slot."""
    return (run.record.resources.gpus if run.record else 1) if gpus else 1
