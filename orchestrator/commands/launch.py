"""The EC2 instances that a deploy needs: quoted, previewed, launched once the user agreed to their price."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from orchestrator.commands import execute, rows
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import Step
from orchestrator.core.spec import JobSpec
from orchestrator.core.values import require_positive
from orchestrator.instances import members, revival
from orchestrator.instances.cloud import Account
from orchestrator.instances.ensure import ensure_all
from orchestrator.instances.instance import Instance
from orchestrator.instances.quote import Quote, quote
from orchestrator.instances.region import parse_cidr
from orchestrator.instances.target import Ec2Target
from orchestrator.store import Store
from orchestrator.targets.base import Target
from orchestrator.targets.group import GroupTarget
from orchestrator.view import plans


class Options(msgspec.Struct, frozen=True):
    """How an instance is launched.

    ssh_cidr: the range that may reach port 22, in AWS's form; None for this client's own address. wait_hours:
    how long to keep trying while there is no capacity.
    """

    ssh_cidr: str | None = None
    wait_hours: float = 0.0
    dry_run: bool = False


def launch_options(cidr: str | None, world: bool, wait_hours: float | None, dry_run: bool) -> Options:
    """As on the command line. UsageError for hours that are not above 0, and for a range that is refused."""
    require_positive("--wait-for-capacity", wait_hours)
    return Options(parse_cidr(cidr, world) if cidr else None, wait_hours or 0.0, dry_run)


def launch(ctx: Context, region: str, inputs: PlanInputs, word: str, options: Options) -> Target | None:
    """The ready instances for the job, as a target; None for a dry run, which prints the plan.

    Names, labels and splits are checked first: that needs no GPU.
    """
    size = sum(data.bytes for data in inputs.data if data.is_stored)
    offer = replace(quote(inputs.job, region, ctx.now(), ctx.who, size), wait_hours=options.wait_hours)
    if options.dry_run:
        plan = planning.build(inputs)
        plan = replace(plan, steps=(_launch_step(offer), *plan.steps), notes=(*plan.notes, *_notes(offer)))
        plans.print_plan(ctx, plan, rows.launch(offer, options.ssh_cidr))
        return None
    ctx.step = "the check on this machine"
    execute.check_on_client(ctx, Store(ctx.state_dir), inputs, word)
    ctx.step = "the launch of an instance" if offer.spec.nodes == 1 else "the launch of instances"
    targets = [
        Ec2Target(ctx, one.label, [one.region]) for one in ensure_all(Account(ctx), offer, options.ssh_cidr)
    ]
    return targets[0] if len(targets) == 1 else GroupTarget(ctx, targets)


def _notes(offer: Quote) -> tuple[str, ...]:
    if offer.spec.nodes == 1:
        return ()
    return (f"the same steps on each of {offer.spec.nodes} instances; an attempt begins on all together",)


def _launch_step(offer: Quote) -> Step:
    bound = "price not known" if offer.worst_case is None else f"at most ${offer.worst_case:.2f}"
    count = f"{offer.spec.count} times " if offer.spec.count > 1 else ""
    return Step(f"launch {count}{' or '.join(offer.spec.types)}", f"{bound}, as above")


def _as_before(ctx: Context, record: Instance, job: JobSpec, options: Options) -> Quote:
    types = job.resources.ec2.types or list(record.types) or [record.gpu_type or record.type]
    is_spot = record.spot or record.run_spot
    ec2 = replace(job.resources.ec2, types=types, regions=[record.region], spot=is_spot)
    job = replace(job, resources=replace(job.resources, ec2=ec2))
    return replace(quote(job, record.region, ctx.now(), ctx.who, 0), wait_hours=options.wait_hours)


class Revived(msgspec.Struct, frozen=True):
    """The instances of a run, all up. `started`: the labels of those that were not up before."""

    target: GroupTarget
    started: tuple[str, ...]


def revive(ctx: Context, target: GroupTarget, job: JobSpec, options: Options) -> Revived | None:
    """Starts, or replaces, the instances of a run over several; None for a dry run that is printed.

    Those that ended are replaced by such as `launch_with_volume` launches.
    """
    account = Account(ctx)
    former = [one.instance() for one in target.targets if isinstance(one, Ec2Target)]
    job = replace(job, resources=replace(job.resources, nodes=len(former)))
    offer = _as_before(ctx, former[0], job, options)
    if options.dry_run:
        steps = [Step(title, reason) for title, reason in revival.steps(account, former, offer)]
        if not steps:
            return Revived(target, ())
        plans.print_steps(ctx, job.name, target.label, [*steps, Step("resume the run", "on all together")])
        return None
    current, started = revival.revive(account, former, offer, options.ssh_cidr)
    targets = [Ec2Target(ctx, one.label, [one.region]) for one in current]
    return Revived(GroupTarget(ctx, targets), tuple(one.label for one in started))


def shut_down(ctx: Context, labels: Sequence[str]) -> None:
    """Stops instances that were started for a run which could not be started on all."""
    account = Account(ctx)
    members.shut_down(account, [one for label in labels if (one := account.records.find_label(label))])


def discard_unused(ctx: Context, labels: Sequence[str]) -> bool:
    """Ends instances that were launched together, as one is unusable; returns False if they have a run."""
    account = Account(ctx)
    launched = [account.records.find_label(label) for label in labels]
    unused = [one for one in launched if one and one.group and not one.run]
    if len(unused) < len(labels):
        return False
    members.discard(account, unused)
    return True


def launch_with_volume(ctx: Context, former: Target, job: JobSpec, options: Options) -> Target | None:
    """A ready instance with the data volume of `former`, which has ended; None for a dry run (printed).

    It is bought as `former` was: in its region, of the types that its launch could choose from, spot or not.
    """
    account = Account(ctx)
    record = account.records.find_label(former.label)
    assert record
    offer = _as_before(ctx, record, job, options)
    if options.dry_run:
        steps = [_launch_step(offer)]
        plans.print_steps(ctx, job.name, former.label, steps, rows.launch(offer, options.ssh_cidr))
        return None
    instance = revival.ensure_with_volume(account, record, offer, options.ssh_cidr)
    return Ec2Target(ctx, instance.label, [instance.region])
