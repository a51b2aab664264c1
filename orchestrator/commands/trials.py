"""One trial of a sweep: its run is started or found again, watched, and stopped where it cannot win."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from orchestrator.commands import deploy as deploying
from orchestrator.commands import study
from orchestrator.commands.deployment import Request
from orchestrator.commands.follow import RunEvents
from orchestrator.commands.study import Terms
from orchestrator.context import Context
from orchestrator.core import events, runstate
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import counted
from orchestrator.errors import GpujobError, Unreachable
from orchestrator.targets import helper
from orchestrator.targets.base import Host
from orchestrator.view import answers

if TYPE_CHECKING:
    import optuna

_ATTEMPTS = 6  # of a trial whose host is interrupted again and again


class Active(msgspec.Struct):
    """A trial that has no result yet. `values`: its metric, in the order in which they were reported.
    `metrics`: the names of all metrics that it reported."""

    trial: optuna.Trial
    host: Host
    name: str
    run_id: str | None = None
    events: RunEvents = msgspec.field(default_factory=RunEvents)
    values: list[float] = msgspec.field(default_factory=list)
    metrics: set[str] = msgspec.field(default_factory=set)

    @property
    def number(self) -> int:
        return int(self.trial.number)


def deploy(ctx: Context, request: Request) -> str:
    """Starts a run as `gpujob deploy` does, without its notes; the run's ID."""
    delivered: list[Any] = []
    deploying.deploy(replace(ctx, json=True, quiet=True, deliver=delivered.append, made={}), request)
    started = delivered[-1]
    assert isinstance(started, answers.Started)
    return started.run


def adopt(opened: optuna.Study, hosts: Sequence[Host], name: str) -> list[Active]:
    """The trials that an interrupted sweep left, with their runs where those had been started."""
    left = study.unfinished(opened)
    if not left:
        return []
    by_job: dict[str, tuple[Host, RunFacts]] = {}
    for host in hosts:
        for run in helper.snapshot(host, 0).runs:
            if run.job and run.state:  # a run without was not started: its deploy is repeated
                by_job[run.job] = (host, run)
    labels = {host.label: host for host in hosts}
    trials = []
    for trial, frozen in left:
        job = f"{name}-t{frozen.number}"
        known = by_job.get(job)
        host = known[0] if known else labels.get(frozen.user_attrs.get(study.HOST, ""), hosts[0])
        active = Active(trial, host, job, known[1].id if known else None)
        if active.run_id:
            active.trial.set_user_attr(study.RUN, active.run_id)
        active.values = [value for _, value in sorted(frozen.intermediate_values.items())]
        trials.append(active)
    return trials


def update(ctx: Context, opened: optuna.Study, one: Active, terms: Terms) -> str | None:
    """Reads what is new of a trial; how it ended, in words, or None while it goes on."""
    if one.run_id is None:
        return None
    run = helper.find_run(one.host, one.run_id, 0)
    if run is None:
        study.end(opened, one.number, "FAIL")
        return f"{one.run_id} was removed"
    _report(one, terms, run)
    state = runstate.fold(run, ctx.now())
    if is_interrupted(run, state):
        return _continue(ctx, opened, one, state)
    if not isinstance(state, runstate.GOING):
        return _tell(opened, one, terms, state)
    if one.values and one.trial.should_prune():
        helper.stop(one.host, one.run_id, ctx.who, now=False)
        study.end(opened, one.number, "PRUNED")
        values = counted(len(one.values), "value")
        return f"pruned after {values} of {terms.metric}, the last {one.values[-1]:.4g}"
    return None


def is_interrupted(run: RunFacts, state: runstate.RunState) -> bool:
    """Its host was taken away or went down: that says nothing of the values that are tried."""
    attempt = (run.state.attempt if run.state else None) or 1
    return isinstance(state, runstate.Preempted | runstate.Lost) and attempt < _ATTEMPTS


def _continue(ctx: Context, opened: optuna.Study, one: Active, state: runstate.RunState) -> str | None:
    """Resumes an interrupted trial from its last checkpoint. Unreachable if its host does not answer yet."""
    what = f"{one.run_id} was interrupted ({runstate.word(state)})"
    try:
        deploy(ctx, Request(None, one.host.label, resume=one.run_id))
    except Unreachable:
        raise
    except GpujobError as error:
        study.end(opened, one.number, "FAIL")
        return f"{what} and cannot be continued: {error.what}: gpujob status {one.run_id}"
    ctx.talk(f"trial {one.number}: {what} and goes on")
    return None


def _report(one: Active, terms: Terms, run: RunFacts) -> None:
    """Passes new values of the metric to the study. After a restart all events are read again."""
    split, _, name = terms.metric.partition(".")
    reported, count = len(one.values), 0
    new, is_first = one.events.read(one.host, run)
    for event in new:
        values = _values(event)
        one.metrics |= {".".join(key) for key in values}
        value = values.get((split, name))
        if value is None:
            continue
        count += 1
        if is_first and count <= reported:
            continue
        one.trial.report(value, len(one.values))
        one.values.append(value)


def _values(event: events.Event) -> dict[tuple[str, str], float]:
    """The finite values of an event, by split and name. The loss of a training's progress is train.loss."""
    values: dict[tuple[str, str], float | None] = {}
    if isinstance(event, events.Metrics):
        values = {(event.split, name): value for name, value in event.values.items()}
    elif isinstance(event, events.Progress) and event.phase == "train":
        values = {("train", "loss"): event.loss}
    return {key: value for key, value in values.items() if value is not None and math.isfinite(value)}


def _tell(opened: optuna.Study, one: Active, terms: Terms, state: runstate.RunState) -> str:
    if not isinstance(state, runstate.Succeeded) or not one.values:
        study.end(opened, one.number, "FAIL")
        if isinstance(state, runstate.Succeeded):
            _require_metric(opened, one, terms)
            return f"it reported no value of {terms.metric}"
        return f"{runstate.word(state)}: gpujob status {one.run_id}"
    value = min(one.values) if terms.goal == "min" else max(one.values)
    opened.tell(one.number, value)
    return f"{terms.metric} {value:.4g}"


def _require_metric(opened: optuna.Study, one: Active, terms: Terms) -> None:
    """GpujobError if no trial ever reported the metric: more of them would be paid for without a result."""
    if any(trial.value is not None or trial.intermediate_values for trial in opened.trials):
        return
    what = f"trial {one.number} succeeded and reported no value of {terms.metric}"
    if not one.metrics:
        why = "it reported no metrics at all; docs/your-script.md shows how a script reports them"
        raise GpujobError(what, why, f"gpujob logs {one.run_id}")
    step = f"gpujob sweep {terms.job} --metric {min(one.metrics)} --name ANOTHER"
    raise GpujobError(what, f"it reported: {', '.join(sorted(one.metrics)[:10])}", step)
