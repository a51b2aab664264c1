"""The commands of gpujob as methods, which return what `--json` prints as objects of `gpujob.answers`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypedDict, TypeVar

from msgspec.structs import replace

from orchestrator.commands import (
    check,
    deploy,
    deployment,
    doctor,
    fetch,
    logs,
    monitor,
    status,
    stop,
    verify,
)
from orchestrator.context import Context, of_user
from orchestrator.errors import GpujobError, NotFound
from orchestrator.view import answers

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class DeployOptions(TypedDict, total=False):
    """The options of `Client.deploy` and `Client.plan`, which are those of `gpujob deploy`.

    `settings`: key of the job file → value. `data`: name → path, as with `--data`. `init_from`: a checkpoint
    or weights to start with. `budget` is in USD.
    """

    on: str | None
    name: str | None
    settings: Mapping[str, Any] | None
    data: Mapping[str, str | os.PathLike[str]] | None
    init_from: str | None
    max_hours: float | None
    budget: float | None
    share_gpu: bool
    queue: bool


class Client:
    """Runs gpujob's commands in a folder, with the settings and records of this user.

    A method raises a `gpujob.errors.GpujobError` where its command fails, with the command's `exit_code` and
    the `next_step` of its message. Nothing is asked: what costs money or deletes data raises
    `gpujob.errors.WantsYes`, whose `what` is the question, unless `yes` is given.

    A run is named by its ID, by a unique beginning of it, or by its job for the latest; without a name it is
    the active one. `on` is a target as after `--on`.
    """

    def __init__(self, folder: str | os.PathLike[str] = ".", *, progress: TextIO | None = None) -> None:
        """`folder`: where jobs and paths are looked up. `progress`: gets notes and warnings of commands."""
        self._folder = Path(folder).absolute()
        self._progress = progress

    def deploy(self, job: str, *, yes: bool = False, **options: Unpack[DeployOptions]) -> answers.Started:
        """Starts a job; `settings` overrides keys of the job file, such as `{"config.epochs": 3}`.

        Repeated after an error, it continues what was interrupted and starts nothing twice.
        """
        request = _request(job, options)
        return self._ask(answers.Started, lambda ctx: deploy.deploy(ctx, request), yes)

    def plan(self, job: str, **options: Unpack[DeployOptions]) -> answers.PlanDetails:
        """What a deploy would do, with the maximum cost of a launch. Nothing is changed."""
        request = replace(_request(job, options), dry_run=True)
        return self._ask(answers.Plan, lambda ctx: deploy.deploy(ctx, request)).plan

    def resume(
        self, run: str, *, max_hours: float | None = None, budget: float | None = None, yes: bool = False
    ) -> answers.Started:
        """Continues a run that has ended from its last checkpoint."""
        request = deployment.Request(None, resume=run, max_hours=max_hours, budget=budget)
        return self._ask(answers.Started, lambda ctx: deploy.deploy(ctx, request), yes)

    def check(
        self,
        job: str,
        *,
        on: str | None = None,
        settings: Mapping[str, Any] | None = None,
        data: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> answers.Check:
        """Tests data and configuration of an included trainer. An error among its findings is not raised."""
        sets, folders = _sets(settings), _data(data)
        return self._ask(answers.Check, lambda ctx: check.check(ctx, job, on, sets, folders, fresh=False))

    def status(self, *, on: str | None = None, cached: bool = False) -> answers.Status:
        """All hosts that have runs, and all runs. A host that does not answer has `unreachable` set."""
        query = status.Query(None, on, cached, limit=None)
        return self._ask(answers.Status, lambda ctx: status.status(ctx, query))

    def runs(
        self,
        *,
        on: str | None = None,
        states: Sequence[str] = (),
        job: str | None = None,
        cached: bool = False,
    ) -> tuple[answers.Run, ...]:
        """The runs in one of these states, or all."""
        query = status.Query(None, on, cached, limit=None, states=tuple(states), job=job)
        return self._ask(answers.Status, lambda ctx: status.status(ctx, query)).runs

    def run(self, run: str | None = None, *, on: str | None = None, lines: int = 5) -> answers.Run:
        """One run, with the last `lines` (0 to 100) of its log."""
        query = status.Query(run, on, lines=lines, limit=1)
        runs = self._ask(answers.Status, lambda ctx: status.status(ctx, query)).runs
        if not runs:
            raise NotFound("there is no run", "", "deploy a job first")
        return runs[-1]

    def wait(
        self, run: str | None = None, *, on: str | None = None, log: TextIO | None = None
    ) -> answers.Run:
        """Returns when the run has ended, in whatever state. `log` gets its log from the first byte."""
        return self._ask(
            answers.Monitor, lambda ctx: monitor.monitor(ctx, run, on, "stream", 1.0), progress=log
        ).run

    def logs(
        self,
        run: str | None = None,
        *,
        on: str | None = None,
        tail: int = 1000,
        grep: str | None = None,
        since: str | None = None,
        attempt: int | None = None,
    ) -> tuple[str, ...]:
        """The last `tail` lines of the log that match `grep`. `wait(log=...)` writes the whole log."""
        request = logs.Request(run, on, tail, grep, since, attempt, follow=False)
        return self._ask(answers.Logs, lambda ctx: logs.logs(ctx, request)).lines

    def stop(
        self,
        run: str | None = None,
        *,
        on: str | None = None,
        now: bool = False,
        clean: bool = False,
        yes: bool = False,
    ) -> answers.Stop:
        """Stops a run after a checkpoint, or `now`. `clean` deletes its working copy and temporary files."""
        return self._ask(answers.Stop, lambda ctx: stop.stop(ctx, run, on, now, clean, purge=False), yes)

    def fetch(
        self,
        run: str | None = None,
        *,
        on: str | None = None,
        which: str = "best",
        to: str | os.PathLike[str] | None = None,
        keep_instance: bool = False,
        source: str | None = None,
        yes: bool = False,
    ) -> answers.Fetch:
        """Downloads to `fetched/RUN` or `to`, every SHA-256 verified. `which`: best, last or all.

        An instance that was launched for this run is terminated when everything of it was downloaded.
        `source`: `s3`, or `s3://BUCKET/PREFIX/RUN`, for the copy that `outputs` made, without the host.
        """
        folder = None if to is None else os.fspath(to)
        return self._ask(
            answers.Fetch,
            lambda ctx: fetch.fetch(
                ctx, run, on, which, folder, follow=False, keep_instance=keep_instance, source=source
            ),
            yes,
        )

    def verify(self, path: str | os.PathLike[str]) -> answers.Verify:
        """Verifies every SHA-256 of a checkpoint or of a fetched run."""
        return self._ask(answers.Verify, lambda ctx: verify.verify(ctx, os.fspath(path)))

    def doctor(self, on: str | None = None) -> answers.Doctor:
        """What a target has and lacks. A row with the verdict `missing` is not raised."""
        return self._ask(answers.Doctor, lambda ctx: doctor.doctor(ctx, on))

    def _ask(
        self,
        kind: type[T],
        command: Callable[[Context], int],
        yes: bool = False,
        progress: TextIO | None = None,
    ) -> T:
        """The answer of a command, which runs in this process and prints nothing."""
        delivered: list[object] = []
        with Path(os.devnull).open("w") as nothing:
            ctx = of_user(self._folder, io.StringIO(), nothing, progress or self._progress or nothing)
            ctx = replace(ctx, json=True, yes=yes, deliver=delivered.append)
            try:
                command(ctx)
            except GpujobError:
                if not (delivered and isinstance(delivered[-1], kind)):
                    raise  # with an answer it is none, such as the rows of a target that lacks much
        answer = delivered[-1] if delivered else None
        if not isinstance(answer, kind):
            raise TypeError(f"the command answered with {type(answer).__name__}, not {kind.__name__}")
        return answer


def _request(job: str, options: DeployOptions) -> deployment.Request:
    """TypeError for an unknown option, as for any keyword."""
    if unknown := sorted(options.keys() - DeployOptions.__annotations__.keys()):
        known = ", ".join(DeployOptions.__annotations__)
        raise TypeError(f"deploy and plan take no {unknown[0]}; their options: {known}")
    others: dict[str, Any] = {**options}
    sets, data = _sets(others.pop("settings", None)), _data(others.pop("data", None))
    return deployment.Request(job, sets=tuple(sets), data=tuple(data), **others)


def _sets(settings: Mapping[str, Any] | None) -> list[str]:
    """As `--set` takes them: JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()]


def _data(data: Mapping[str, str | os.PathLike[str]] | None) -> list[str]:
    return [f"{name}={os.fspath(path)}" for name, path in (data or {}).items()]
