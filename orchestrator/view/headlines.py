"""The state of a run in a few words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.text import duration

if TYPE_CHECKING:
    from orchestrator.view.status import RunReport


def headline(report: RunReport) -> str:
    """The state's own data in a few words, processes that outlived the run, and what of it is damaged."""
    left = len(report.facts.pids) if report.facts.ended is not None else 0
    remaining = f"{left} process{'es' if left > 1 else ''} left" if left else ""
    parts = [_headline(report), remaining, *(f"damaged: {fault}" for fault in report.facts.damage[:1])]
    return ", ".join(part for part in parts if part)


def _headline(report: RunReport) -> str:
    match report.state:
        case runstate.Running() as running:
            attempt = f", attempt {running.attempt}" if running.attempt > 1 else ""
            return (_absent(report) or progress(report, running)) + attempt
        case runstate.Failed(reason=reason):
            return reason
        case runstate.Stopped(by=by):
            return f"by {by}"
        case runstate.Preempted(step=None, is_last_known=is_last_known):
            return "resumable, as far as it got" if is_last_known else "without a checkpoint"
        case runstate.Preempted(step=step, is_last_known=is_last_known):
            return f"resumable from step {step}{' or a later one' if is_last_known else ''}"
        case runstate.Lost(heartbeat=None):
            return "never started"
        case runstate.Lost(resumable_from=step, host=host):
            return f"no process{' here, last on ' + host if host else ''} and no recorded end" + (
                f", resumable from step {step}" if step is not None else ""
            )
        case runstate.Elsewhere(host=host):
            return f"alive on {host}, which shares this folder"
        case runstate.Damaged():
            return ""
        case runstate.Unreachable():
            return "its host does not answer"
        case runstate.Orphaned():
            return "its supervisor is gone, the trainer is alive"
        case runstate.Queued() as queued:
            return place(queued)
        case runstate.Preparing():
            return "not started yet"
        case _:
            best = report.facts.checkpoints.best
            return f"best checkpoint {best}" if best is not None else ""


def _absent(report: RunReport) -> str:
    """The hosts that a run over several waits for; empty where it waits for none."""
    state = report.facts.state
    absent = state.group.absent if state and state.group else ()
    named = (f"{one.host} since {time.strftime('%H:%M:%S', time.localtime(one.since))}" for one in absent)
    return f"waiting for host {', '.join(named)}" if absent else ""


def place(queued: runstate.Queued) -> str:
    """`place 2 of 3, expected to start in 5 min 00 s`."""
    parts = [f"place {queued.place} of {queued.of}"]
    if queued.expected is not None:
        parts.append(f"expected to start in {duration(queued.expected)}")
    return ", ".join([*parts, *filter(None, [queued.blocker])])


def progress(report: RunReport, running: runstate.Running) -> str:
    """`step 40/100 (40 %, epoch 2)`; of a script as much of that as it reports."""
    latest = ev.last(report.facts.events, ev.Progress)
    epoch = f"epoch {report.epoch:g}" if report.epoch is not None else ""
    if latest and epoch and latest.epochs and not running.of:
        epoch += f"/{latest.epochs}"
    if not running.of:
        step = f"step {running.step}" if running.step is not None else ""
        return ", ".join(part for part in (epoch, step) if part) or "no progress reported"
    share = f"{100 * (running.step or 0) / running.of:.0f} %"
    if latest and latest.of_epoch:
        return f"step {running.step}/{running.of} of {epoch or 'an epoch'} ({share})"
    return f"step {running.step}/{running.of} ({', '.join(part for part in (share, epoch) if part)})"
