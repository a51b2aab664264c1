"""What a deploy is made of: its command line, and what the client knows before a host was asked anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from orchestrator.commands.jobs import Job
from orchestrator.core.inputs import PlanInputs
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
