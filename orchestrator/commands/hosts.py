"""`gpujob hosts …`: host keys, and EC2 instances from launch to termination."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator import registry, settings_files
from orchestrator.commands import group_fetch, launch, rows
from orchestrator.context import Context
from orchestrator.core import groups, runstate
from orchestrator.core.resources import Resources
from orchestrator.core.spec import JobSpec, Limits
from orchestrator.core.values import require_positive
from orchestrator.errors import AccessError, Exit, GpujobError, NotFound, Unreachable, UsageError
from orchestrator.instances import (
    changes,
    connection,
    ensure,
    inventory,
    launching,
    lifecycle,
    members,
    prices,
    survey,
)
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import PREFIX, STOPPED, Instance
from orchestrator.instances.quote import quote
from orchestrator.instances.target import Ec2Target
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.group import GroupTarget
from orchestrator.targets.ssh import address, hostkeys
from orchestrator.view import host_answers as answers
from orchestrator.view import instances as view


def attach(ctx: Context, word: str, fingerprint: str | None) -> int:
    """Records the key that the host shows, if its fingerprint is the one given, or is agreed to."""
    resolved = _resolve(ctx, word)
    key = hostkeys.offered(ctx, resolved)
    if key is None:
        why = "it does not answer, or a jump host refuses"
        raise Unreachable(f"{word} shows no host key", why, f"ssh {word}")
    if fingerprint is None:
        ctx.confirm(f"{word} ({resolved.hostname}) shows the host key {key.fingerprint} ({key.kind}).")
    elif fingerprint != key.fingerprint:
        why = f"--fingerprint is {fingerprint}, the host's is {key.fingerprint}; nothing was recorded"
        step = "on its console: for k in /etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $k; done"
        raise AccessError(f"{word} has another host key", why, step)
    hostkeys.record(ctx, resolved, key)
    if ctx.json:
        name = resolved.key_name
        ctx.answer(answers.Attached(host=word, name=name, fingerprint=key.fingerprint))
    else:
        ctx.out(f"{resolved.key_name} {key.fingerprint} is on record in {hostkeys.own_file(ctx)}")
    return 0


def _resolve(ctx: Context, word: str) -> address.Resolved:
    """Of an instance that is not on record the record is made, by its id."""
    if not word.startswith(PREFIX):
        return address.resolve(ctx, address.parse(word))
    instance = Ec2Target(ctx, word, [settings_files.load(ctx)["region"].value]).instance()
    if not instance.address:
        what = f"{word} is {instance.state} and has no public address"
        raise Unreachable(what, "", "gpujob hosts list")
    return connection.resolve(ctx, instance)


def list_hosts(ctx: Context, cached: bool) -> int:
    """The host keys on record, and what costs money in EC2: as EC2 reports it unless `cached`.

    EC2 is searched if it is the default target or was used from here. An instance that these credentials
    cannot see is shown as it was last seen; then the exit code is 4. So is what a region has that does not
    answer; then it is 5.
    """
    account, settings = Account(ctx), settings_files.load(ctx)
    launching.settle(account)
    listed, code = inventory.load(ctx.state_dir), 0
    is_used = settings["target"].value == "ec2" or listed.resources or account.records.all()
    if not cached and is_used:
        listed = survey.survey(account, settings["region"].value, of_user=not account.records.all())
        code = int(Exit.UNREACHABLE if listed.unsearched else Exit.ACCESS if listed.unseen else Exit.DONE)
    shown = [rows.instance(instance, ctx.now()) for instance in account.records.billed()]
    view.print_hosts(ctx, _host_keys(ctx), shown, rows.resources(listed, ctx.now()))
    return code


def _host_keys(ctx: Context) -> list[dict[str, str]]:
    host_keys = []
    for line in hostkeys.own_lines(ctx):
        name, _, rest = line.partition(" ")
        kind, _, blob = rest.partition(" ")
        if not blob:
            what = f"{hostkeys.own_file(ctx)} has a line that is not a host key: {line[:60]!r}"
            raise UsageError(what, "", "remove the line")
        host_keys.append({"name": name, "fingerprint": hostkeys.HostKey(kind, blob).fingerprint})
    return host_keys


def up(ctx: Context, name: str, resources: Resources, limits: Limits, options: launch.Options) -> int:
    """Launches an instance for several runs, which only `hosts down` and its own deadline end."""
    require_positive("--max-hours", limits.max_hours)
    require_positive("--budget", limits.budget_usd)
    account, region = Account(ctx), settings_files.load(ctx)["region"].value
    job = JobSpec(name=name, resources=resources, limits=limits)
    offer = quote(job, region, ctx.now(), ctx.who, 0)
    offer = replace(offer, wait_hours=options.wait_hours)
    if options.dry_run:
        view.print_quote(ctx, rows.launch(offer, options.ssh_cidr))
        return 0
    ctx.step = "the launch of an instance"
    instance = ensure.ensure(account, offer, options.ssh_cidr)
    account.records.save(replace(instance, ends_with_run=False))
    view.print_up(ctx, rows.instance(instance, ctx.now()))
    return 0


def extend(ctx: Context, word: str, hours: float) -> int:
    """Moves the deadline, of all instances of a run; on the instance first, which enforces it."""
    require_positive("--hours", hours)
    account = Account(ctx)
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(target.connect()) for target in _targets(ctx, account, word)]
        instances = [require_instance(account, host.label) for host in hosts]
        labels = " and ".join(host.label for host in hosts)
        verb = "runs" if len(hosts) == 1 else "run"
        ctx.confirm(f"{labels} {verb} {hours:g} h longer: {prices.all_at_most(instances, hours)} more.")
        extended = []
        for host, instance in zip(hosts, instances, strict=True):
            deadline = max(instance.deadline, ctx.now()) + hours * 3600
            # The tag first: the instance must not look overdue to other clients.
            lifecycle.tag_deadline(account.cloud, instance, deadline)
            helper.set_deadline(host, deadline)
            extended.append(account.records.save(replace(instance, deadline=deadline)))
    if any(instance.spot for instance in extended):
        why = "its spot request ends at the deadline of the launch; then: gpujob deploy --resume RUN"
        ctx.talk(f"note: interrupted after its former deadline, EC2 does not start it again: {why}")
    view.print_instances(ctx, [rows.instance(instance, ctx.now()) for instance in extended])
    return 0


def down(ctx: Context, word: str, discard: bool, purge: bool) -> int:
    """Terminates an instance once everything of its runs is fetched and verified; not with `discard`.

    Of several that train as one run, all are terminated. A stopped one is started for that, at a price that
    the user agrees to. `purge`: the data volumes, too.
    """
    account = Account(ctx)
    targets = _targets(ctx, account, word)
    current = [_managed(account, target.instance()) for target in targets]
    live = [target for target, one in zip(targets, current, strict=True) if not one.has_ended]
    for instance in current:
        if instance.has_ended:
            _clean_up(ctx, account, instance, purge)
    ids = [instance.id for instance in current if instance.has_ended]
    if live:
        ids += _terminate(ctx, account, live, discard, purge)
    ended = [account.records.get(one) for one in ids]
    for instance in ended:
        if instance.volume:
            usd = prices.disk_per_month(instance.volume_gb, instance.region)
            kept = f"its volume {instance.volume} is kept, ${usd:.2f} a month"
            ctx.talk(f"{kept}; gpujob fetch, or gpujob hosts down {instance.label} --purge")
    view.print_instances(ctx, [rows.instance(instance, ctx.now()) for instance in ended])
    return 0


def _targets(ctx: Context, account: Account, word: str) -> list[Ec2Target]:
    """The instances that `word` names, with all that train as one run with them."""
    settings = settings_files.load(ctx)
    target = registry.target(ctx, settings, word)
    by_label: dict[str, Ec2Target] = {}
    for one in target.targets if isinstance(target, GroupTarget) else (target,):
        if not isinstance(one, Ec2Target):
            raise _not_an_instance(word)
        instance = one.instance()
        for member in (instance, *account.records.members(instance)):
            by_label.setdefault(member.label, Ec2Target(ctx, member.label, [member.region]))
    return list(by_label.values())


def _managed(account: Account, instance: Instance) -> Instance:
    """As EC2 reports it. UsageError for one that gpujob did not launch."""
    if not instance.managed:
        why = "it has no tag of gpujob: whoever launched it terminates it"
        raise UsageError(f"{instance.label} was not launched by gpujob", why, "gpujob hosts orphans")
    return members.refresh_one(account, instance)


def _clean_up(ctx: Context, account: Account, instance: Instance, purge: bool) -> None:
    ctx.talk(f"{instance.label} had ended")
    lifecycle.clean_up(account, instance)
    if instance.volume and purge:
        ctx.confirm(f"deleting volume {instance.volume}, with the runs of {instance.label}.")
        changes.delete_volume(account, instance, instance.volume)


def _terminate(
    ctx: Context, account: Account, targets: Sequence[Ec2Target], discard: bool, purge: bool
) -> list[str]:
    """With a data volume once all that is on it is fetched, or with `purge`; the ids of what has ended."""
    instances = [target.instance() for target in targets]
    labels = ", ".join(instance.label for instance in instances)
    if not discard:
        ctx.step = f"the download of the runs of {labels}"
        instances = [_fetch_all(ctx, account, target) for target in targets]
    with_volumes = [one.volume is not None and (purge or not discard) for one in instances]
    what = "; ".join(
        _deletion(one, with_volume, discard) for one, with_volume in zip(instances, with_volumes, strict=True)
    )
    loss = [_loss(ctx, one) for one in instances]
    ctx.confirm(f"terminating {what}" + (f": {' '.join(dict.fromkeys(loss))}" if discard else "."))
    ctx.step = f"the termination of {labels}"
    for one, with_volume in zip(instances, with_volumes, strict=True):
        changes.decide(account, one, with_volume)
    ended = [
        changes.terminate(account, one, with_volume)
        for one, with_volume in zip(instances, with_volumes, strict=True)
    ]
    return [one.id for one in ended]


def _deletion(instance: Instance, with_volume: bool, discard: bool) -> str:
    disks = f"its disk and volume {instance.volume} are" if with_volume else "its disk is"
    type_ = "" if discard else f" ({instance.type})"
    return f"{instance.label}{type_}; {disks} deleted"


def _fetch_all(ctx: Context, account: Account, target: Ec2Target) -> Instance:
    """Fetches every run of an instance. GpujobError where one is active, or not all could be fetched.

    Returns the instance that it fetched from: of a spot instance that EC2 stopped, another with its volume.
    """
    instance = target.instance()
    if instance.state == STOPPED:
        ctx.talk(f"{instance.label} is stopped; its runs are fetched first (not with --discard)")
    fetch_dir = ctx.path(settings_files.load(ctx)["fetch_dir"].value)
    with target.connect_started() as host, host.keep_awake():
        for run in helper.snapshot(host, lines=0).runs:
            state = runstate.fold(run, ctx.now())
            if isinstance(state, runstate.GOING):
                what = f"{run.id} is {runstate.word(state)} on {host.label}"
                raise GpujobError(what, "", f"gpujob stop {run.id}")
            result = group_fetch.download_all(ctx, host, run, fetch_dir / run.id)
            if not result.is_complete(run, ctx.now()):
                next_step = f"gpujob ssh {run.id}, or gpujob hosts down {host.label} --discard"
                raise GpujobError(f"{host.label} is kept", f"not all of {run.id} was fetched", next_step)
        return account.records.find_label(host.label) or instance


def _loss(ctx: Context, instance: Instance) -> str:
    """What is lost with an instance that is not fetched from, as far as this client knows."""
    cached = Store(ctx.state_dir).runs()
    runs = [run_id for run_id, run in cached.items() if instance.label in groups.split(run.target)]
    return f"what was not fetched of {', '.join(runs)} is lost." if runs else "no run on it is known."


def require_instance(account: Account, label: str) -> Instance:
    """The record of an instance; NotFound for any other host."""
    instance = account.records.find_label(label)
    if instance is None:
        raise _not_an_instance(label)
    return instance


def _not_an_instance(label: str) -> NotFound:
    why = "only EC2 instances are launched, extended and terminated"
    return NotFound(f"{label} is not an EC2 instance", why, "gpujob hosts list, which shows the instances")
