"""`gpujob doctor`: what a deploy to this target would need, each with the command that fixes it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator import __version__, registry, settings_files
from orchestrator.commands import jobs
from orchestrator.context import Context
from orchestrator.core import containers, shell, tmux
from orchestrator.core.hostchecks import (
    LEAST_FREE,
    LINGER,
    can_use_gpus,
    describe_logout,
    has_torch,
    is_driver_too_old,
    missing_packages,
)
from orchestrator.core.hostfacts import HostFacts, PythonFacts
from orchestrator.core.spec import JobSpec
from orchestrator.core.text import duration, size
from orchestrator.errors import GpujobError, UsageError
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target
from orchestrator.targets.ssh import rsync
from orchestrator.view import answers
from orchestrator.view.console import print_table
from orchestrator.view.status import gpus

if TYPE_CHECKING:
    from orchestrator.instances.spec import LaunchSpec

_CLOCK_SECONDS = 120.0  # of difference, which the connection does not explain
Row = tuple[str, str, str, str]  # what, ok | warning | missing, detail, fix


def doctor(ctx: Context, on: str | None, job: str | None = None, launch: bool = False) -> int:
    """1 when something that every run needs is missing. `job`: whose instance type and market are checked.

    launch: a small instance is launched, checked and terminated, if nothing is missing before that.
    """
    settings = settings_files.load(ctx)
    rows = [("gpujob", "ok", f"{__version__} on Python {sys.version.split()[0]}", "")]
    target = registry.target(ctx, settings, on)
    if launch and not target.launches:
        raise UsageError(
            "--launch is for EC2", f"the target is {target.label}", "gpujob doctor --on ec2 --launch"
        )
    if job is not None and not target.launches:
        step = f"gpujob check {shell.join([job])} --on {target.label}"
        raise UsageError("doctor takes a job for --on ec2 only", "it tests the target, not the job", step)
    if target.needs_rsync:
        rows.append(rsync.row(ctx))
    if target.launches:
        label = "ec2"
        planned = _planned(ctx, settings["region"].value, job)
        rows += _launch_rows(ctx, planned)
        if launch and not any(row[1] == "missing" for row in rows):
            rows += _trial_rows(ctx, planned)
    else:
        with _leading_on(target), target.connect() as host:
            facts = helper.facts(host, host.pythons(), image="")
            rows += [*examine(facts), *_clock(facts.clock, ctx.now())]
            label = host.label
            rows += [] if host.is_local else [_rsync(facts.rsync), _connection(host)]
    if ctx.json:
        keys = ("what", "verdict", "detail", "fix")
        table = tuple(answers.DoctorRow(**dict(zip(keys, row, strict=True))) for row in rows)
        ctx.answer(answers.Doctor(target=label, rows=table))
    else:
        _print(ctx, rows)
    missing = [row for row in rows if row[1] == "missing"]
    if missing and not ctx.json:
        where = "" if missing[0][0] == rsync.NAME else f" on {label}"
        raise GpujobError(f"{missing[0][0]} is missing{where}", missing[0][2], missing[0][3])
    return 1 if missing else 0


def _trial_rows(ctx: Context, planned: LaunchSpec) -> list[Row]:
    from orchestrator.instances import diagnostics  # noqa: PLC0415 - other targets load nothing of EC2
    from orchestrator.instances.cloud import Account  # noqa: PLC0415

    return diagnostics.trial_rows(Account(ctx), planned)


def _launch_rows(ctx: Context, planned: LaunchSpec) -> list[Row]:
    from orchestrator.instances import diagnostics  # noqa: PLC0415 - other targets load nothing of EC2

    return diagnostics.rows(ctx, planned)


def _planned(ctx: Context, region: str, word: str | None) -> LaunchSpec:
    """Returns the launch of a job, or of one that asks for nothing."""
    from orchestrator.instances.quote import quote  # noqa: PLC0415 - other targets load nothing of EC2

    job = JobSpec("job") if word is None else jobs.load(ctx, word, [], []).spec
    return quote(job, region, ctx.now(), ctx.who, 0).spec


@contextlib.contextmanager
def _leading_on(target: Target) -> Iterator[None]:
    """Errors whose next command is this one name what shows more."""
    try:
        yield
    except GpujobError as error:
        if error.next_step.startswith("gpujob doctor"):
            label = target.label
            is_ssh = not target.is_local and not label.startswith("ec2:")
            error.next_step = (
                shell.join(["ssh", "-v", label])
                if is_ssh
                else "gpujob hosts list"
                if not target.is_local
                else ""
            )
        raise


def examine(facts: HostFacts) -> list[Row]:
    """Facts of a host → rows. Pure."""
    return [
        _tmux(facts.tmux),
        _torch(facts.pythons),
        _disk(facts),
        _gpu(facts),
        *_driver(facts),
        containers.row(facts),
        *_logout(facts),
    ]


def _rsync(path: str | None) -> Row:
    """The row of the rsync on the host."""
    fix = "on the host: sudo apt-get install -y rsync"
    return ("rsync", "ok", path, "") if path else ("rsync", "missing", "not installed", fix)


def _connection(host: Host) -> Row:
    try:
        return ("connection", "ok", host.describe_connection(), "")
    except GpujobError as error:
        return ("connection", "missing", f"{error.what}: {error.why}", error.next_step)


def _tmux(version: str | None) -> Row:
    if version is None:
        return ("tmux", "missing", "not installed", "sudo apt-get install -y tmux")
    if not tmux.is_usable(version):
        return ("tmux", "missing", f"{version} is too old", "2.6 or newer is needed")
    return ("tmux", "ok", version, "")


def _clock(there: float | None, here: float) -> list[Row]:
    """The row of a clock that differs from this machine's; none for one that is right."""
    if there is None or abs(there - here) < _CLOCK_SECONDS:
        return []
    side = "ahead of" if there > here else "behind"
    detail = f"{duration(abs(there - here))} {side} this machine's: ages and times left are wrong by that"
    return [("clock", "warning", detail, "set both by NTP: timedatectl set-ntp true")]


def _torch(pythons: Sequence[PythonFacts]) -> Row:
    with_torch = sorted((python for python in pythons if python.torch), key=lambda one: not has_torch(one))
    if with_torch:
        best = with_torch[0]
        missing = missing_packages(best)
        added = f"; deploy adds {' and '.join(missing)}" if missing else ""
        return ("PyTorch", "ok", f"{best.torch} in {best.path}{added}", "")
    detail = ", ".join(python.path for python in pythons) or "no Python answered"
    return (
        "PyTorch",
        "warning",
        f"not in {detail}: only jobs with a command run",
        "pip install torch numpy safetensors",
    )


def _disk(facts: HostFacts) -> Row:
    free = facts.disk.free
    detail = f"{size(free)} free below {facts.root}"
    return (
        ("disk", "ok", detail, "")
        if free >= LEAST_FREE * 2**30
        else ("disk", "missing", detail, "free 2 GiB")
    )


def _gpu(facts: HostFacts) -> Row:
    if facts.gpus is None:
        return ("GPU", "warning", "unknown: the GPUs could not be queried", "on the host: nvidia-smi")
    if not facts.gpus:
        return ("GPU", "warning", "none: runs use the CPU", "")
    return ("GPU", "ok", gpus(facts.gpus), "")


def _driver(facts: HostFacts) -> list[Row]:
    """Whether the first PyTorch that a run would use can use the GPUs."""
    with_torch = [python for python in facts.pythons if python.torch]
    best = min(with_torch, key=lambda one: not can_use_gpus(facts, one), default=None)
    if best is None or can_use_gpus(facts, best):
        return []
    if is_driver_too_old(facts, best):
        detail = f"it runs CUDA {facts.cuda_driver}; torch {best.torch} is built for CUDA {best.cuda}"
        return [("driver", "missing", detail, "a newer NVIDIA driver, or an older torch")]
    detail = f"torch {best.torch} in {best.path} is built without CUDA"
    return [("driver", "warning", detail, "install the CUDA build of torch")]


def _logout(facts: HostFacts) -> list[Row]:
    effect = describe_logout(facts)
    if not effect or not facts.logout:
        return []
    verdict = "missing" if facts.logout.kills else "warning"
    return [("logout", verdict, effect.partition(";")[0], f"{LINGER} {facts.logout.user}")]


def _print(ctx: Context, rows: list[Row]) -> None:
    print_table(ctx, rows, {"ok": "green", "warning": "yellow", "missing": "red"})
