"""Runs the steps of a plan, its preflight check included. Every step may be interrupted and repeated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from orchestrator import process
from orchestrator.commands import gather, s3, trainer_errors
from orchestrator.context import Context
from orchestrator.core import decode, events, hostchecks
from orchestrator.core import plan as planning
from orchestrator.core.events import CheckReport
from orchestrator.core.hostfacts import GpuProcess, HostFacts
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import (
    CheckStep,
    CodeStep,
    DataStep,
    EnvironmentStep,
    ImageStep,
    Plan,
    StartStep,
    Step,
)
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.runjson import RunChanges, RunJson
from orchestrator.core.text import counted
from orchestrator.errors import GpujobError, Unreachable, UsageError
from orchestrator.source import Source
from orchestrator.store import Intent, Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Refused
from orchestrator.view import plans, transfer


class StartOptions(msgspec.Struct, frozen=True):
    """What the host needs to start a run. `live`: the runs with a process when it was planned; one that began
    since may not hold its GPU yet. `queue`: where its GPUs are in use it waits for them."""

    secrets: Mapping[str, str]
    live: tuple[str, ...]
    share_gpu: bool
    queue: bool = False


def start_options(
    facts: HostFacts, secrets: Mapping[str, str], share_gpu: bool, queue: bool = False
) -> StartOptions:
    return StartOptions(secrets, tuple(run.id for run in facts.live_runs), share_gpu, queue)


class Executor:
    """The steps of a plan on one host."""

    def __init__(self, ctx: Context, host: Host, store: Store, trees: Mapping[str, Source]) -> None:
        self.ctx = ctx
        self.host = host
        self.store = store
        self.trees = trees

    def prepare(self, plan: Plan, word: str) -> None:
        """All that comes before the start. `word`: the job as typed."""
        for step in plan.steps:
            if isinstance(step, StartStep):
                continue
            plans.announce(self.ctx, step)
            with self.ctx.timed(step.title):
                if isinstance(step, CheckStep):
                    require_passed(self.ctx, self.host, self.store, step, word)
                else:
                    self.take(step)

    def start(self, plan: Plan, options: StartOptions) -> RunFacts:
        step = plan.start
        assert step.spec is not None, "the plan is complete"
        plans.announce(self.ctx, step)
        with self.ctx.timed(step.title):
            self.ctx.step = f"the start of {plan.run_id}, which may have happened"
            return start(self.host, plan.job, step.spec, options)

    def take(self, step: Step) -> None:
        """One step that is neither a check nor the start."""
        if isinstance(step, CodeStep) and not step.done:
            self._send_tree(self.trees[step.role])
        elif isinstance(step, DataStep) and not step.done and step.listing:
            s3.fetch(self.ctx, self.host, step.name, step.listing)
        elif isinstance(step, DataStep) and not step.done:
            with transfer.bar(self.ctx, step.bytes) as on_bytes:
                self.host.send_data(step.name, step.fingerprint, Path(step.source), on_bytes)
        elif isinstance(step, EnvironmentStep):
            helper.ensure_environment(self.host, step.environment)
        elif isinstance(step, ImageStep) and not step.done:
            helper.ensure_image(self.host, step.image)

    def _send_tree(self, tree: Source) -> None:
        """Where other bytes arrive than were read here, the cached digests may be wrong: they are dropped."""
        try:
            self.host.send_tree(tree)
        except (Refused, UsageError):
            gather.digests(self.ctx).forget(tree.folder)
            raise


@contextlib.contextmanager
def recorded(store: Store, label: str, plan: Plan) -> Iterator[None]:
    """The intent to carry out a plan is on the disk from the beginning of the block on, until it has failed.

    The caller closes it once the run is known to be up. Where a host could not be reached, the run may have
    started or not: the intent stays open, and the same command continues.
    """
    store.save_intent(plan.job, label, Intent(plan.fingerprint, plan.identity))
    try:
        yield
    except GpujobError as error:
        if not isinstance(error, Unreachable):
            store.close_intent(plan.job, label)
        raise


@contextlib.contextmanager
def only_deploy(store: Store, job: str, target: str) -> Iterator[None]:
    """One deploy of a job to a target at a time, resumes included."""
    with store.lock(job, target) as locked:
        if not locked:
            what = f"another deploy of {job} to {target} is running"
            raise GpujobError(what, "", "wait for it, or deploy with --name")
        yield


def start(
    host: Host, job: str, spec: RunJson | RunChanges, options: StartOptions, resume: bool = False
) -> RunFacts:
    """Starts a run, or adds it to the queue. GpujobError, as of the plan, if another client was first."""
    waits = {"queue": True} if options.queue else {}
    try:
        return helper.start(
            host,
            spec,
            secrets=dict(options.secrets),
            share_gpu=options.share_gpu,
            known_runs=list(options.live),
            resume=resume,
            **waits,
        )
    except Refused as refused:
        if refused.kind == "running":
            raise hostchecks.already_running(job, str(refused.details.get("run"))) from None
        if refused.kind == "queued":
            raise hostchecks.already_queued(job, str(refused.details.get("run"))) from None
        if refused.kind == "gpu":
            processes = decode.structs(refused.details.get("processes"), GpuProcess)
            raise hostchecks.gpu_in_use(processes) from None
        raise


NO_USABLE_DATA = 65


class Outcome(msgspec.Struct, frozen=True):
    """A report, and whether it comes from the cache."""

    report: CheckReport
    cached: bool


def require_passed(ctx: Context, host: Host | None, store: Store, step: CheckStep, word: str) -> None:
    """GpujobError where the report has an error; findings are shown."""
    outcome = run(ctx, host, store, step)
    report = outcome.report
    if report.unusable:
        refused = report.data.refused[:5] if report.data else ()
        why = "; ".join(f"{file.file}: {file.why}" for file in refused)
        raise GpujobError("the data gives no usable sample", why, f"gpujob check {word}")
    plans.print_findings(ctx, report, outcome.cached)
    if errors := report.errors:
        codes = ", ".join(sorted({error.code for error in errors}))
        what = f"the check found {counted(len(errors), 'error')}: {codes}"
        raise GpujobError(what, errors[0].message, errors[0].fix)


def check_on_client(ctx: Context, store: Store, inputs: PlanInputs, word: str) -> None:
    """The checks that need no host: names, labels and splits."""
    if step := planning.check_on_client(inputs):
        require_passed(ctx, None, store, step, word)


def run(ctx: Context, host: Host | None, store: Store, step: CheckStep, fresh: bool = False) -> Outcome:
    """The report; from the cache where code, configuration, data and environment are the same."""
    cached = None if fresh else store.find_report(step.key)
    if cached:
        return Outcome(cached, cached=True)
    report = _run(ctx, host, step)
    store.save_report(step.key, report)
    return Outcome(report, cached=False)


def _run(ctx: Context, host: Host | None, step: CheckStep) -> CheckReport:
    progress = plans.Progress(ctx)
    python, words = step.python or ctx.python, ["check", step.trainer]
    request = {
        name: value for name, value in msgspec.structs.asdict(step.request).items() if value is not None
    }
    stdin = json.dumps(request).encode()
    with progress:
        if step.on_client or host is None:
            done = process.trainers(python, words, ctx.env, stdin=stdin, on_line=progress.line)
        else:
            cwd = step.pythonpath  # as process.trainers has it
            words, env = [python, "-m", "trainers", *words], {"PYTHONPATH": cwd}
            done = host.run(words, stdin, env, progress.line, cwd=cwd)
    report = events.find_report(progress.lines)
    if report is None:
        raise trainer_errors.check_failed(ctx, done.err)
    return msgspec.structs.replace(report, unusable=done.code == NO_USABLE_DATA)
