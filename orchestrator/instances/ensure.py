"""Provides an instance for a job: an existing one, started if it is stopped, or a new one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from msgspec.structs import replace
from msgspec.structs import replace as changed

from orchestrator.core.text import duration
from orchestrator.errors import GpujobError, NotFound, UsageError
from orchestrator.instances import boot, changes, contention, errors, keys, launch, lifecycle, prices, region
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Ended
from orchestrator.instances.instance import STOPPED, Instance, label
from orchestrator.instances.quote import Quote
from orchestrator.instances.records import Change, LaunchAttempt
from orchestrator.instances.region import Ingress
from orchestrator.instances.spec import DEFAULT_HOURS, OWNER, LaunchSpec

_CAPACITY_PAUSES = (30.0, 60.0, 120.0, 300.0)  # seconds between two attempts; the last one is repeated


def ensure(account: Account, offer: Quote, ingress: Ingress) -> Instance:
    """Returns a ready instance for a job: the existing one, else a new one at a price the user confirms.

    An interrupted launch is resumed with the same request, so there is never a second instance.
    """
    if ingress.cidr:
        region.parse_cidr(ingress.cidr, ingress.world)  # before EC2 gets any request
    job = offer.spec.job
    with account.records.launch_lock(job) as locked:
        if not locked:
            what = f"another command is launching an instance for {job}"
            raise GpujobError(what, "", "wait for it, or use another name")
        settle(account)
        attempt = _open_attempt(account, job)
        instance = _on_record(account, job)
        if not instance and not attempt:
            instance = _find_by_tag(account, offer.spec)
        if instance and (usable := _use(account, instance, offer.hours, offer.wait_hours)):
            return usable
        if attempt:
            return _resume(account, attempt)
        return _launch(account, "launching an instance:", offer, ingress)


def settle(account: Account) -> None:
    """Records the instances that interrupted launches created, and completes deletions that were decided.

    Calls EC2 only if there is something to do.
    """
    changes.complete(account)
    if not account.records.attempts():
        return
    for instance in launch.settle(account):
        account.ctx.talk(
            f"an interrupted launch created {instance.label} ({instance.type} in {instance.zone})"
        )


def _resume(account: Account, attempt: LaunchAttempt) -> Instance:
    account.ctx.talk("resuming the launch that was interrupted")
    instance = _ready(account, launch.resume(account, attempt))
    contention.require_first(account, instance, attempt.spec.regions, attempt.others)
    return instance


def _use(account: Account, instance: Instance, hours: float, wait_hours: float = 0.0) -> Instance | None:
    """Makes the job's instance ready, starting it if it is stopped; returns None if it has ended."""
    ctx = account.ctx
    instance = lifecycle.refresh(account, instance)
    if instance.state == "stopping":
        ctx.talk(f"waiting until {instance.label}, the instance of this job, is stopped")
        instance = lifecycle.wait_until(account, instance, STOPPED)
    if instance.is_interrupted:
        changes.release(account, instance)
        return None
    if instance.state == STOPPED:
        what = f"{instance.label} ({instance.type}) is stopped"
        ctx.confirm(f"{what}; starting it for {hours:.4g} h: {prices.at_most(instance, hours)}.")
        return _until_capacity(account, wait_hours, lambda: start(account, instance, hours))
    if instance.state in ("pending", "running"):
        _require_gpus(account, instance)
        remaining = duration(max(0.0, instance.deadline - ctx.now()))
        ctx.talk(
            f"using {instance.label}, {instance.type} in {instance.zone}, the instance of this job; "
            f"it shuts down in {remaining} (gpujob hosts extend)"
        )
        return _ready(account, instance)
    return None


def wake(
    account: Account,
    instance: Instance,
    hours: float | None,
    budget_usd: float | None,
    wait_hours: float = 0.0,
) -> None:
    """Starts an instance that is stopped, for as long as the limits allow, at a price the user confirms."""
    if instance.has_ended:
        return
    instance = lifecycle.refresh(account, instance)
    if instance.gpu_type and instance.volume and not instance.has_ended:
        account.ctx.talk(f"terminating {instance.label}, which has no GPUs; volume {instance.volume} is kept")
        changes.terminate(account, instance)
        return
    if instance.state not in (STOPPED, "stopping"):
        _require_gpus(account, instance)
        return
    if instance.is_interrupted:
        changes.release(account, instance)
        return
    affordable = None
    if budget_usd is not None:
        affordable = prices.hours(instance, budget_usd)
        if affordable is None:
            why = f"the price of {instance.type} in {instance.region} is not known"
            raise UsageError("the budget cannot be converted to hours", why, "--max-hours H")
    known = [limit for limit in (hours, affordable) if limit is not None]
    _use(account, instance, min(known, default=DEFAULT_HOURS), wait_hours)


def _require_gpus(account: Account, instance: Instance) -> None:
    """Raises GpujobError for an instance that was started without its GPUs, to fetch from it."""
    if instance.gpu_type:
        what = f"{instance.label} runs as {instance.type}, without GPUs, to fetch from it"
        seconds = duration(max(0.0, instance.deadline - account.ctx.now()))
        why = f"it stops within {seconds}; then it is started as {instance.gpu_type} again"
        raise GpujobError(what, why, "gpujob hosts list")


def _open_attempt(account: Account, job: str) -> LaunchAttempt | None:
    return next((one for one in account.records.attempts() if one.spec.job == job), None)


def _on_record(account: Account, job: str) -> Instance | None:
    """Returns the latest instance of this job on record that has not ended."""
    return next((one for one in reversed(account.records.current()) if one.job == job), None)


def _find_by_tag(account: Account, launch_spec: LaunchSpec) -> Instance | None:
    """Returns the user's instance of this job, found by its tags, if its record was lost."""
    for name, other in contention.find(account, launch_spec.job, launch_spec.regions):
        if other.tags.get(OWNER, "") == account.ctx.who:
            return lifecycle.adopt(account, other.id, [name])
    return None


def start(account: Account, instance: Instance, hours: float, type_: str = "") -> Instance:
    """Starts a stopped instance, with its disk, for `hours`; returns it once it is ready.

    type_: the type to change it to before; "" for that of its launch.
    """
    instance = lifecycle.set_type(account, instance, type_ or instance.gpu_type or instance.type)
    deadline = account.ctx.now() + hours * 3600
    launch_spec = LaunchSpec(
        types=(),
        regions=(),
        spot=instance.spot,
        deadline=deadline,
        job=instance.job,
        owner=account.ctx.who,
        login_user=instance.login_user,
    )
    user_data = boot.user_data(account.ctx, launch_spec, keys.new_host_key())
    instance = lifecycle.start(account, instance, user_data, deadline)
    return boot.wait_until_ready(account, instance)


def _launch(account: Account, title: str, offer: Quote, ingress: Ingress) -> Instance:
    """Launches an instance after the user confirmed its price; returns it once it is ready."""
    ctx, regions = account.ctx, offer.spec.regions
    others = [other for _, other in contention.find(account, offer.spec.job, regions)]
    known = [
        f"{label(other.id)} of {other.tags.get(OWNER, '')} was launched for a job with the same name"
        for other in others
    ]
    lines = [*offer.lines(ingress.resolve(ctx)), *known]
    ctx.confirm("\n".join([title, *(f"  {line}" for line in lines)]))
    ids = tuple(other.id for other in others)
    return _until_capacity(account, offer.wait_hours, lambda: _launch_once(account, offer, ingress, ids))


def _launch_once(account: Account, offer: Quote, ingress: Ingress, others: tuple[str, ...]) -> Instance:
    """Launches an instance; if EC2 ends it for lack of capacity, the remaining candidates are tried."""
    ctx = account.ctx
    deadline, client = ctx.now() + offer.hours * 3600, account.records.client_id(ctx)
    launch_spec = changed(offer.spec, deadline=deadline, client=client)
    host_key = keys.new_host_key()
    user_data = boot.user_data(ctx, launch_spec, host_key)
    attempt = launch.begin(account, launch_spec, user_data, host_key.public, ingress.cidr, others)
    while True:
        instance = launch.resume(account, attempt)
        try:
            instance = _ready(account, instance)
        except Ended as ended:
            _discard(account, instance)
            if not ended.no_capacity:
                raise
            ctx.talk(f"{instance.type} in {instance.zone}: {ended.why}")
            attempt = launch.begin_elsewhere(account, attempt, instance)
            continue
        contention.require_first(account, instance, launch_spec.regions, others)
        return instance


def _until_capacity(account: Account, hours: float, attempt: Callable[[], Instance]) -> Instance:
    """Repeats an attempt for some hours while EC2 has no capacity for it."""
    ctx = account.ctx
    until = ctx.now() + hours * 3600
    pauses = itertools.chain(_CAPACITY_PAUSES, itertools.repeat(_CAPACITY_PAUSES[-1]))
    while True:
        try:
            return attempt()
        except GpujobError as error:
            left = until - ctx.now()
            if left <= 0 or not errors.is_shortage(error):
                raise
            pause = min(next(pauses), left)
            ctx.talk(f"{error.what}; trying again in {duration(pause)}, for {duration(left)} at most")
            ctx.sleep(pause)


def _discard(account: Account, instance: Instance) -> None:
    """Ends what is left of a new instance that ended before it was ready: nothing is on it.

    That is its spot request, for which EC2 would launch another, its data volume, and the instance itself if
    it is only stopped.
    """
    instance = account.records.find(instance.id) or instance
    if instance.ready:
        return
    if instance.spot or not instance.has_ended:
        changes.request(account, Change("terminate", instance.id, instance.region, instance.id))
    if instance.volume and not instance.volume_to_attach:
        changes.request(account, Change("delete-volume", instance.volume, instance.region, instance.id))
    changes.complete(account)


def _ready(account: Account, instance: Instance) -> Instance:
    return instance if instance.ready else boot.wait_until_ready(account, instance)


def ensure_with_volume(account: Account, former: Instance, offer: Quote, ingress: Ingress) -> Instance:
    """Returns a ready instance with the data volume of `former`, which has ended, in the same zone.

    NotFound if the volume does not exist.
    """
    settle(account)
    volume = former.volume
    size = lifecycle.find_volume(account.cloud, former.region, volume) if volume else None
    if not volume or size is None:
        if volume:
            changes.forget_volume(account, former)
        why = f"its volume {volume} does not exist any more" if volume else "it had no data volume"
        next_step = "gpujob deploy JOB --on ec2 starts a new run"
        raise NotFound(f"the runs of {former.label} are deleted with it", why, next_step)
    instance = _resume_with_volume(account, volume, bool(offer.spec.rescue_of))
    if not instance:
        launch_spec = changed(
            offer.spec,
            regions=(former.region,),
            zone=former.zone,
            volume=volume,
            volume_gb=size,
            data_gb=0,
            root_gb=0,
        )
        title = f"launching an instance for volume {volume}:"
        instance = _launch(account, title, replace(offer, spec=launch_spec), ingress)
    changes.forget_volume(account, former)
    return instance


def _resume_with_volume(account: Account, volume: str, is_rescue: bool) -> Instance | None:
    """Returns the instance that an earlier command launched, or tried to, for this volume; else None.

    One without GPUs is terminated, and the volume is kept, unless it is to be fetched from (`is_rescue`).
    """
    for attempt in account.records.attempts():
        if attempt.spec.volume == volume and (is_rescue or not attempt.spec.rescue_of):
            return _resume(account, attempt)
    for instance in account.records.current():
        if instance.volume_to_attach != volume:
            continue
        if is_rescue or not instance.gpu_type:
            return _ready(account, lifecycle.refresh(account, instance))
        changes.terminate(account, instance)
    return None
