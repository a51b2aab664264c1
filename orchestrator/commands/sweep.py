"""`gpujob sweep JOB`: trials of a job with other values, chosen by Optuna, each an ordinary run.

All state is in the sweep's folder and on the hosts, so the same command continues after any interruption.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator import files, registry, settings_files
from orchestrator.commands import deployment, jobs, study, trials
from orchestrator.commands.study import Terms
from orchestrator.commands.trials import Active
from orchestrator.context import Context
from orchestrator.core import groups
from orchestrator.core import space as spaces
from orchestrator.core.space import Sweep
from orchestrator.core.spec import NAME, JobSpec
from orchestrator.core.values import require_positive
from orchestrator.errors import Exit, GpujobError, Unreachable, UsageError
from orchestrator.targets.base import Host, Target
from orchestrator.view import sweeps as view

if TYPE_CHECKING:
    import optuna

_FAILURES = 3  # starts that fail one after the other end the sweep
_LONGEST_NAME = 34  # `-t12345` follows


class Request(msgspec.Struct, frozen=True):
    """The command line. `on`: targets with commas; None: the setting. `parallel`: None: one on each."""

    job: str
    trials: int
    on: str | None = None
    name: str | None = None
    sets: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    space: tuple[str, ...] = ()
    metric: str | None = None
    goal: str | None = None
    parallel: int | None = None
    max_hours: float | None = None
    seed: int = 0
    prune: bool = True
    share_gpu: bool = False
    interval: float = 2.0


def sweep(ctx: Context, request: Request) -> int:
    """0 when all trials have ended and one has a result; 1 when none has."""
    require_positive("--max-hours", request.max_hours)
    job = jobs.load(ctx, request.job, list(request.sets), list(request.data))
    jobs.require_data(job)
    terms = _terms(request, job.spec)
    name = _name(request, job.spec.name)
    folder = ctx.cwd / "sweeps" / name
    with contextlib.ExitStack() as stack:
        files.keep_out_of_git(folder)  # the record changes with each trial, the code of the trials must not
        if not stack.enter_context(files.lock(folder / "lock", wait=False)):
            raise GpujobError(f"the sweep in {ctx.short(folder)} is under way", "another command runs it")
        hosts = [stack.enter_context(target.connect()) for target in _targets(ctx, request)]
        opened = study.open_study(folder, terms, request.seed, request.prune)
        _enqueue_default(opened, terms, job.spec.config)
        progress = _Sweep(ctx, request, terms, name, opened, hosts)
        ctx.step = f"the sweep; the same command continues it from {ctx.short(folder)}"
        try:
            progress.run()
        except UsageError:
            if not any(study.RUN in trial.user_attrs for trial in opened.trials):
                study.discard(folder)
            raise
        except KeyboardInterrupt:
            if ctx.json:
                raise
            going = ", ".join(one.name for one in progress.active) or "no run"
            ctx.talk(f"\n{going} goes on; the same command continues the sweep, gpujob stop ends a run")
            return Exit.INTERRUPTED
    result = view.result(opened, terms.metric, terms.goal, study.importance(opened))
    view.print_sweep(ctx, result, ctx.short(folder))
    return Exit.DONE if result.best is not None else Exit.FAILED


def _terms(request: Request, spec: JobSpec) -> Terms:
    written, job = spec.sweep or Sweep(), spec.name
    goal = request.goal or written.goal
    metric = request.metric or written.metric
    if goal not in ("min", "max"):
        raise UsageError(f"--goal {goal}: min or max", "", "gpujob sweep JOB --goal max")
    if metric.count(".") != 1 or "" in metric.split("."):
        why = "a split and a name with a dot between them, as gpujob status --json shows them"
        raise UsageError(f"--metric {metric}: it is no metric", why, "--metric val.loss")
    return Terms(job, metric, goal, _space(request, spec))


def _space(request: Request, spec: JobSpec) -> dict[str, spaces.Dimension]:
    space = spaces.parse((spec.sweep or Sweep()).space, request.space, spec.config)
    for key in space:
        if key.partition(".")[0] in ("name", "sweep"):
            raise UsageError(f"space of {key}: it changes nothing of a trial", "", spaces.EXAMPLE)
        if key.partition(".")[0] not in JobSpec.__struct_fields__:
            step = f"gpujob sweep {request.job} --space config.{key}=LOW..HIGH"
            raise UsageError(f"space of {key}: a job has no key {key!r}", "", step)
    return space


def _name(request: Request, job: str) -> str:
    name = request.name or f"{job[: _LONGEST_NAME - 6]}-sweep"
    if not NAME.match(name) or len(name) > _LONGEST_NAME:
        why = f"letters, digits, - and _, at most {_LONGEST_NAME}"
        raise UsageError(f"--name {name}: it cannot name a sweep", why, "--name lr-search")
    return name


def _targets(ctx: Context, request: Request) -> list[Target]:
    settings = settings_files.load(ctx)
    words = settings["target"].value if request.on is None else request.on
    hosts = groups.require_each_once(words, "--on gpu1,gpu2")
    resolved = [registry.target(ctx, settings, word) for word in hosts]
    if any(target.launches for target in resolved):
        why = "each trial would launch an instance of its own"
        step = "gpujob hosts up, then gpujob sweep JOB --on ec2://ID"
        raise UsageError("a sweep runs on instances that are up", why, step)
    for target in resolved:
        registry.require_transfer(ctx, target)
    return resolved


def _enqueue_default(opened: optuna.Study, terms: Terms, configured: Mapping[str, object]) -> None:
    """The job as it is, as the first trial: no sweep ends with less than that."""
    values = {}
    for key, one in terms.space.items():
        value = spaces.default_of(key, configured)
        value = json.dumps(value) if isinstance(value, list) else value
        if value not in one:
            return
        values[key] = value
    if not opened.trials:
        opened.enqueue_trial(values)


class _Sweep:
    """The trials that are active, and what is left to start."""

    def __init__(
        self,
        ctx: Context,
        request: Request,
        terms: Terms,
        name: str,
        opened: optuna.Study,
        hosts: Sequence[Host],
    ) -> None:
        self.ctx = ctx
        self._request = request
        self._terms = terms
        self._name = name
        self._study = opened
        self._hosts = hosts
        self._spread = request.parallel or len(hosts)
        self._until = ctx.now() + request.max_hours * 3600 if request.max_hours else None
        self._failures = 0
        self.active: list[Active] = []

    def run(self) -> None:
        self.active = trials.adopt(self._study, self._hosts, self._name)
        for one in self.active:
            self.ctx.talk(f"continuing trial {one.number}: {one.run_id or one.name}")
        while True:
            self._update()
            while len(self.active) < self._spread and self._may_start():
                self._start()
            if not self.active:
                return
            self.ctx.sleep(self._request.interval)

    def _may_start(self) -> bool:
        in_time = self._until is None or self.ctx.now() < self._until
        return in_time and len(self._study.trials) - self._waiting() < self._request.trials

    def _waiting(self) -> int:
        return sum(trial.state.name == "WAITING" for trial in self._study.trials)

    def _update(self) -> None:
        for one in list(self.active):
            if one.run_id is None:
                self._deploy(one)  # its start was interrupted
            outcome = trials.update(self.ctx, self._study, one, self._terms)
            if outcome:
                self.active.remove(one)
                self.ctx.talk(f"trial {one.number}: {outcome}")

    def _start(self) -> None:
        trial = self._study.ask(study.distributions(self._terms.space))
        busy = Counter(one.host.label for one in self.active)
        host = min(self._hosts, key=lambda host: busy[host.label])
        trial.set_user_attr(study.HOST, host.label)
        one = Active(trial, host, f"{self._name}-t{trial.number}")
        self.active.append(one)
        values = ", ".join(f"{key} {view.number(value)}" for key, value in trial.params.items())
        self.ctx.talk(f"trial {trial.number} on {host.label}: {values}")
        self._deploy(one)

    def _deploy(self, one: Active) -> None:
        """Starts the trial's run. One that cannot be started has failed; several in a row end the sweep."""
        request = self._request
        sets = (*request.sets, *study.sets(one.trial.params))
        start = deployment.Request(
            request.job, one.host.label, one.name, sets, request.data, share_gpu=request.share_gpu
        )
        try:
            one.run_id = trials.deploy(self.ctx, start)
        except Unreachable:
            raise
        except GpujobError as error:
            self._failures += 1
            if self._failures >= _FAILURES or one.number == 0:
                raise
            study.end(self._study, one.number, "FAIL")
            self.active.remove(one)
            self.ctx.warn(f"warning: trial {one.number} was not started: {error.what}: {error.why}")
            return
        self._failures = 0
        one.trial.set_user_attr(study.RUN, one.run_id)
