"""The EC2 instance that a deploy needs: quoted, previewed, launched once the user agreed to its price."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from msgspec.structs import replace as changed

from orchestrator.commands import execute, rows
from orchestrator.context import Context
from orchestrator.core import plan as planning
from orchestrator.core.inputs import PlanInputs
from orchestrator.core.plan import Step
from orchestrator.core.spec import JobSpec, require_positive
from orchestrator.instances.cloud import Account
from orchestrator.instances.ensure import ensure, ensure_with_volume
from orchestrator.instances.quote import Quote, quote
from orchestrator.instances.region import Ingress
from orchestrator.instances.target import Ec2Target
from orchestrator.store import Store
from orchestrator.targets.base import Target
from orchestrator.view import plans


class Options(msgspec.Struct, frozen=True):
    """How an instance is launched. wait_hours: how long to keep trying while there is no capacity."""

    ingress: Ingress
    wait_hours: float = 0.0
    dry_run: bool = False


def launch_options(cidr: str | None, world: bool, wait_hours: float | None, dry_run: bool) -> Options:
    """As on the command line. UsageError for hours that are not above 0."""
    require_positive("--wait-for-capacity", wait_hours)
    return Options(Ingress(cidr, world), wait_hours or 0.0, dry_run)


def launch(ctx: Context, region: str, inputs: PlanInputs, word: str, options: Options) -> Target | None:
    """A ready instance for the job, as a target; None for a dry run, which prints the plan.

    Names, labels and splits are checked first: that needs no GPU.
    """
    size = sum(data.bytes for data in inputs.data if data.is_stored)
    offer = replace(quote(inputs.job, region, ctx.now(), ctx.who, size), wait_hours=options.wait_hours)
    if options.dry_run:
        plan = planning.build(inputs)
        plan = replace(plan, steps=(_launch_step(offer), *plan.steps))
        plans.print_plan(ctx, plan, rows.launch(offer, options.ingress))
        return None
    ctx.begin("the check on this machine")
    execute.check_on_client(ctx, Store(ctx.state_dir), inputs, word)
    ctx.begin("the launch of an instance")
    instance = ensure(Account(ctx), offer, options.ingress)
    return Ec2Target(ctx, instance.label, [instance.region])


def _launch_step(offer: Quote) -> Step:
    bound = "price not known" if offer.worst_case is None else f"at most ${offer.worst_case:.2f}"
    return Step(f"launch {' or '.join(offer.spec.types)}", f"{bound}, as above")


def launch_with_volume(ctx: Context, former: Target, job: JobSpec, options: Options) -> Target | None:
    """A ready instance with the data volume of `former`, which has ended; None for a dry run (printed).

    It is bought as `former` was: in its region, of the types that its launch could choose from, spot or not.
    """
    account = Account(ctx)
    record = account.records.find_label(former.label)
    assert record
    types = job.resources.ec2.types or list(record.types) or [record.gpu_type or record.type]
    is_spot = record.spot or record.run_spot
    ec2 = changed(job.resources.ec2, types=types, regions=[record.region], spot=is_spot)
    job = changed(job, resources=changed(job.resources, ec2=ec2))
    offer = replace(quote(job, record.region, ctx.now(), ctx.who, 0), wait_hours=options.wait_hours)
    if options.dry_run:
        steps = [_launch_step(offer)]
        plans.print_steps(ctx, job.name, former.label, steps, rows.launch(offer, options.ingress))
        return None
    instance = ensure_with_volume(account, record, offer, options.ingress)
    return Ec2Target(ctx, instance.label, [instance.region])
