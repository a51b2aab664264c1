"""The table of runs, the detail of one, the machine below; and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.context import Context
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.hostfacts import Gpu, Machine
from orchestrator.core.runfacts import RunFacts, SupervisorState
from orchestrator.core.runstate import RunState
from orchestrator.core.text import duration, flow, size
from orchestrator.core.values import iso
from orchestrator.view import answers, companions
from orchestrator.view.console import Paint, harmless, print_table
from orchestrator.view.headlines import headline as headline
from orchestrator.view.host_answers import Resource
from orchestrator.view.instances import InstanceRow, print_resources

_GOING = (*runstate.GOING, runstate.Unreachable)
_STYLE = {
    "unreachable": "yellow",
    "running": "green",
    "succeeded": "green",
    "preparing": "cyan",
    "queued": "cyan",
    "failed": "red",
    "lost": "red",
    "damaged": "red",
    "orphaned": "yellow",
    "elsewhere": "yellow",
    "stopped": "yellow",
    "preempted": "yellow",
}


class RunReport(msgspec.Struct, frozen=True):
    """A run, and its state as far as the client knows. `cost_usd`: None where it runs on no instance."""

    facts: RunFacts
    state: RunState
    target: str | None = None
    cost_usd: float | None = None

    @property
    def is_going(self) -> bool:
        """Whether it may be going: also where its host does not answer."""
        return isinstance(self.state, _GOING)

    @property
    def epoch(self) -> float | None:
        progress = ev.last(self.facts.events, ev.Progress)
        return progress.epoch if progress else None

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """The latest values by split."""
        return {e.split: e.values for e in self.facts.events if isinstance(e, ev.Metrics)}

    @property
    def health(self) -> list[ev.Health]:
        """Warnings and errors."""
        events = self.facts.events
        return [event for event in events if isinstance(event, ev.Health) and event.severity != "info"]


class HostReport(msgspec.Struct, frozen=True):
    """A host and its runs; `reports` are those that are shown. `machine`: None where only the cache answers.

    `read_at`: when the cached facts were read. `unreachable`: why the host does not answer. `instance`: its
    row where it is an EC2 instance. `older`: how many ended runs the limit leaves out; `others`: how many
    were not asked for. `starts`: in how many seconds runs of the queue are expected to start, by their ids.
    `shown_with`: hosts with which its runs over several hosts are shown.
    """

    target: str
    runs: tuple[RunFacts, ...]
    machine: Machine | None = None
    read_at: float | None = None
    unreachable: str | None = None
    instance: InstanceRow | None = None
    reports: tuple[RunReport, ...] = ()
    older: int = 0
    others: int = 0
    starts: Mapping[str, float] = msgspec.field(default_factory=dict)
    shown_with: tuple[str, ...] = ()


def run_json(report: RunReport) -> answers.Run:
    """What JSON says of a run: the same keys in every state."""
    facts, state, now = report.facts, report.facts.state or SupervisorState(), report.state
    record, progress = facts.record, ev.last(facts.events, ev.Progress)
    steps = facts.checkpoints
    return answers.Run(
        id=facts.id,
        job=facts.job,
        trainer=record.trainer if record else None,
        who=record.who if record else None,
        target=report.target,
        host=getattr(now, "host", None),
        state=runstate.word(now),
        reason=getattr(now, "reason", None) or getattr(now, "why", None),
        by=getattr(now, "by", None),
        created=iso(facts.created),
        started=iso(state.first_started or state.started),
        ended=iso(facts.ended),
        heartbeat=iso(state.heartbeat),
        attempt=state.attempt,
        step=progress.step if progress else None,
        of=progress.of if progress else None,
        epoch=report.epoch,
        loss=progress.loss if progress else None,
        lr=progress.lr if progress else None,
        grad_norm=progress.grad_norm if progress else None,
        eta_seconds=getattr(now, "eta", None),
        used_seconds=state.used_seconds,
        exit_code=state.exit_code,
        signal=state.signal,
        resumable_from=None if isinstance(now, runstate.Succeeded) else steps.last,
        supervisor_pid=state.supervisor.pid if state.supervisor and facts.supervised else None,
        trainer_pid=state.child.pid if state.child else None,
        pids=facts.pids,
        session=facts.session,
        folder=facts.folder,
        log_bytes=facts.log.bytes,
        last_lines=facts.log.tail,
        metrics=report.metrics,
        checkpoints=answers.RunCheckpoints(steps=steps.steps, last=steps.last, best=steps.best),
        health=tuple(
            answers.Health(rule=e.rule, severity=e.severity, message=e.message) for e in report.health
        ),
        alerts=companions.alerts_to_json(facts.alerts),
        mirror=companions.mirror_to_json(facts.mirror),
        skipped_events=facts.skipped_events,
        from_log=tuple(answers.LogLine(what=e.what, format=e.format, line=e.line) for e in facts.from_log),
        damage=facts.damage,
        brief=facts.brief,
        queue=_queue_json(now),
        cost_usd=report.cost_usd,
    )


def _queue_json(state: RunState) -> answers.Queue | None:
    if not isinstance(state, runstate.Queued):
        return None
    return answers.Queue(
        place=state.place,
        of=state.of,
        since=iso(state.since),
        expected_seconds=state.expected,
        reason=state.blocker,
    )


def host_json(host: HostReport) -> answers.Host:
    machine = host.machine
    return answers.Host(
        target=host.target,
        hostname=machine.hostname if machine else None,
        gpus=machine.gpus if machine else None,
        disk=machine.disk if machine else None,
        memory=machine.memory if machine else None,
        read_at=iso(host.read_at),
        unreachable=host.unreachable,
        older=host.older,
        instance=host.instance.content if host.instance else None,
    )


def print_status(
    ctx: Context, hosts: Sequence[HostReport], detail: bool, resources: Sequence[Resource] = ()
) -> None:
    """Host after host: its runs, those that are going in detail, the machine; then what else costs money."""
    for number, host in enumerate(hosts):
        if number:
            ctx.out("")
        _print_host(ctx, host, detail, several=len(hosts) > 1)
    if resources:
        ctx.out("")
        ctx.out("in EC2, of no instance on record:")
        print_resources(ctx, list(resources))


def _print_host(ctx: Context, host: HostReport, detail: bool, several: bool) -> None:
    paint = Paint(ctx.env, ctx.stdout)
    label, reports = host.target, host.reports
    if several:
        ctx.out(paint(label, "bold", "blue"))
    _print_source(ctx, host)
    going = [report for report in reports if report.is_going]
    if not reports and host.others:
        ctx.out(f"none of the {host.others} runs on {label} is one of these")
    elif not reports and host.shown_with:
        ctx.out(f"its runs over several hosts are shown with {', '.join(host.shown_with)}")
    elif not reports:
        ctx.out(f"no run is going on {label}, and none was ever deployed there")
    elif not going and not detail:
        ctx.out(f"no run is going on {label}; the latest:")
    if host.older:
        ctx.out(f"  and {host.older} older: gpujob status --all")
    print_table(ctx, [_row(report, ctx.now()) for report in reports], _STYLE)
    for report in reports if detail else (going or reports[-1:]):
        _print_detail(ctx, paint, report)
    if host.machine:
        _print_machine(ctx, host.machine)


def _print_source(ctx: Context, host: HostReport) -> None:
    """The instance, and how old the facts are where they are cached."""
    row = host.instance
    if row:
        _out(ctx, f"  {row.content.type} in {row.content.zone}, {row.content.state}: {row.money}")
    if row and row.has_ended:
        ctx.talk(f"{host.target} has ended; these are its last known facts")
    elif host.unreachable:
        ctx.talk(f"{host.target} does not answer ({host.unreachable}); these facts are from the cache")
    if host.read_at:
        ctx.talk(f"cached {duration(ctx.now() - host.read_at)} ago")


def _row(report: RunReport, now: float) -> list[str]:
    return [report.facts.id, runstate.word(report.state), headline(report), _times(report.state, now)]


def _times(state: RunState, now: float) -> str:
    if isinstance(state, runstate.Running):
        left = f", {duration(state.eta)} left" if state.eta is not None else ""
        return f"{duration(now - state.since)}{left}"
    if isinstance(state, runstate.Queued):
        return f"waiting {duration(now - state.since)}" if state.since else ""
    if isinstance(state, runstate.Lost | runstate.Elsewhere):
        ended = state.heartbeat
    else:
        ended = getattr(state, "ended", None)
    return f"{duration(now - ended)} ago" if ended else ""


def _print_detail(ctx: Context, paint: Paint, report: RunReport) -> None:
    facts, room = report.facts, ctx.columns(ctx.stdout)
    who = facts.record.who if facts.record else None
    ctx.out("")
    ctx.out(paint(facts.id, "bold") + f"  {harmless(who or '')}")
    pids = " ".join(str(pid) for pid in facts.pids) or "none"
    cost = f" · about ${report.cost_usd:.2f}" if report.cost_usd is not None else ""
    _out(ctx, f"  session {facts.session or 'none'} · pids {pids} · log {size(facts.log.bytes or 0)}{cost}")
    for split, values in report.metrics.items():
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
        _out(ctx, harmless(f"  {split:6} {shown}"))
    if facts.skipped_events:
        ctx.out(paint(f"  {facts.skipped_events} lines of events.jsonl are no events", "yellow"))
    for fault in facts.damage[1:]:
        ctx.out(paint(harmless(f"  damaged: {fault}"), "red"))
    for event in report.health:
        for line in flow(harmless(f"  {event.severity} {event.rule}: {event.message}"), room):
            ctx.out(paint(line, "yellow"))
    for line in companions.alert_lines(facts.alerts):
        _out(ctx, harmless(line))
    if facts.mirror:
        _out(
            ctx,
            paint(harmless(companions.mirror_line(facts.mirror)), "yellow" if facts.mirror.error else "dim"),
        )
    for line in facts.log.tail:
        for part in flow(harmless(line), room and room - 4):
            ctx.out("  " + paint("│", "dim") + " " + part)


def _out(ctx: Context, line: str) -> None:
    for part in flow(line, ctx.columns(ctx.stdout)):
        ctx.out(part)


def _print_machine(ctx: Context, machine: Machine) -> None:
    disk, memory = machine.disk, machine.memory
    ctx.out("")
    _out(
        ctx,
        f"  {machine.hostname}: disk {size(disk.free)} free of {size(disk.total)}, "
        f"memory {size(memory.available)} free of {size(memory.total)}, {gpus(machine.gpus)}",
    )


def gpus(gpus: Sequence[Gpu] | None) -> str:
    """Each GPU's use and memory; `no GPU` where there is none."""
    if gpus is None:
        return "GPUs unknown"
    uses = (f"GPU {gpu.index} {gpu.use_percent} %, {gpu.used_mib}/{gpu.total_mib} MiB" for gpu in gpus)
    return ", ".join(uses) or "no GPU"
