"""What a deploy is made of: its command line, and what the client knows before a host was asked anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from orchestrator.commands.jobs import Job
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.values import require_positive
from orchestrator.errors import UsageError
from orchestrator.source import Source

if TYPE_CHECKING:
    from orchestrator.commands.launch import Options


class Request(msgspec.Struct, frozen=True):
    """The command line of a deploy.

    `job`: a path or a name, None only with `resume`. `on`: the target, None for the settings'.
    """

    job: str | None
    on: str | None = None
    name: str | None = None
    sets: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    init_from: str | None = None
    resume: str | None = None
    follow: bool = False
    dry_run: bool = False
    share_gpu: bool = False
    max_hours: float | None = None
    budget: float | None = None
    ssh_cidr: str | None = None
    open_to_the_world: bool = False
    wait_for_capacity: float | None = None
    queue: bool = False
    regions: tuple[str, ...] = ()

    def require_valid(self) -> None:
        """UsageError for options that exclude each other, and without a JOB for a new run."""
        if self.queue and self.share_gpu:
            why = "a run either waits for GPUs of its own, or shares one with others"
            again = f"--resume {self.resume}" if self.resume else self.job
            what = "--queue and --share-gpu exclude each other"
            raise UsageError(what, why, f"gpujob deploy {again} --queue")
        if self.resume and (self.sets or self.data or self.name or self.init_from or self.regions):
            what = "--resume continues a run with its original settings"
            options = "--set, --data, --init-from, --name or --region"
            why = f"it takes no {options}; --max-hours and --budget replace its limits"
            raise UsageError(what, why, f"gpujob deploy --resume {self.resume}")
        if self.job is None and not self.resume:
            why = "a job file or the name of a job starts a run; --resume RUN alone continues one"
            raise UsageError("JOB is missing", why, "gpujob deploy --help")

    def overrides(self) -> list[str]:
        """KEY=VALUE of each key of the job file that an option sets."""
        regions = [f"resources.ec2.regions={json.dumps(self.regions)}"] if self.regions else []
        limits = []
        for option, key, value in (
            ("--max-hours", "max_hours", self.max_hours),
            ("--budget", "budget_usd", self.budget),
        ):
            if value is not None:
                require_positive(option, value)
                limits.append(f"limits.{key}={value}")
        return [*self.sets, *regions, *limits]

    def require_no_launch(self, target: str) -> None:
        """UsageError for an option that only the launch of an instance uses."""
        options = {
            "--region": self.regions,
            "--wait-for-capacity": self.wait_for_capacity,
            "--ssh-cidr": self.ssh_cidr,
            "--open-to-the-world": self.open_to_the_world,
        }
        if option := next((option for option, value in options.items() if value), None):
            why = f"the target is {target}"
            raise UsageError(f"{option} is for a launch", why, f"gpujob deploy {self.job} --on ec2")

    def launch_options(self) -> Options:
        from orchestrator.commands import launch  # noqa: PLC0415 - other targets load nothing of EC2

        return launch.launch_options(
            self.ssh_cidr, self.open_to_the_world, self.wait_for_capacity, self.dry_run
        )


class Deployment(msgspec.Struct, frozen=True):
    """A deploy of a job that is ready on the client. `word`: the job as typed."""

    request: Request
    word: str
    job: Job
    trees: Mapping[str, Source]
    known: PlanInputs
    secrets: Mapping[str, str]
