"""`gpujob hosts orphans`: what gpujob created, in all regions, and nothing needs."""

from __future__ import annotations

import contextlib

from orchestrator import settings_files
from orchestrator.commands import rows
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.instances import connection, launching, survey
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Stopped, Terminated
from orchestrator.instances.instance import PREFIX
from orchestrator.instances.inventory import Resource
from orchestrator.instances.survey import Orphan
from orchestrator.targets import helper
from orchestrator.view import instances as view

_WITH_DISK = ("instance", "volume")


def orphans(ctx: Context, regions: list[str], end: bool) -> int:
    """Instances and volumes with gpujob's tag that this client does not know, or past their deadline.

    With `end` they are deleted, each instance and volume after a question of its own, which says what is
    known of the runs on it; but not those of other people, nor those of the user's other clients before
    their deadline. 1 while some are left; if none is known, 5 where a region did not answer.
    """
    account, home = Account(ctx), settings_files.load(ctx)["region"].value
    launching.settle(account)
    searched = survey.survey(account, home, regions)
    listed = survey.orphans(account, searched, regions)
    code_if_none = int(Exit.UNREACHABLE if searched.unsearched else Exit.DONE)
    view.print_orphans(ctx, [rows.orphan(one, ctx.now()) for one in listed])
    if not listed or not end:
        return 1 if listed else code_if_none
    kept = {one.resource.id: one.kept_because for one in listed if one.kept_because}
    own = [one for one in listed if not one.kept_because]
    without_disk = [one.resource.id for one in own if one.resource.kind not in _WITH_DISK]
    if without_disk:
        ctx.confirm(f"deleting {', '.join(without_disk)}.")
    left = False
    for one in own:
        if reason := _reason_to_keep(account, one):
            kept[one.resource.id] = reason
        else:
            left = not _end(account, one.resource) or left
    for id_, reason in kept.items():
        ctx.talk(f"{id_} is kept: {reason}")
    if any(one.resource.kind == "instance" for one in listed if one.resource.id in kept):
        ctx.talk(f"gpujob hosts down {PREFIX}i-… (asks an instance what runs on it), and fetches it first")
    if own:
        survey.survey(account, home, regions)
    return 1 if kept or left else code_if_none


def _reason_to_keep(account: Account, orphan: Orphan) -> str:
    """Returns why a resource is not deleted, "" if it may be; asks the instance, and then the user."""
    ctx, one = account.ctx, orphan.resource
    if one.kind not in _WITH_DISK:
        return ""
    if one.kind == "volume" and orphan.is_unknown_here and (ctx.yes or not ctx.can_ask):
        return (
            f"it may hold a run of another client of {one.owner}: without --yes, a terminal asks about it; "
            f"or aws ec2 delete-volume --region {one.region} --volume-id {one.id}"
        )
    runs, content = _runs_on(account, one) if one.kind == "instance" else ([], _on_volume(orphan))
    if runs:
        return f"it has {', '.join(runs)}"
    try:
        ctx.confirm(f"deleting {one.kind} {one.id} in {one.region} ({orphan.why}): {content}.")
    except UsageError as refusal:
        return refusal.why
    return ""


def _on_volume(orphan: Orphan) -> str:
    known = "of another client of yours, whose runs are not known here" if orphan.is_unknown_here else ""
    job = f"of job {orphan.resource.job}" if orphan.resource.job else "of no known job"
    return f"{orphan.resource.gb} GB {known or job}"


def _runs_on(account: Account, one: Resource) -> tuple[list[str], str]:
    """Returns the runs on an instance, each with its state, as the instance answers; else what is known."""
    known = account.records.find(one.id)
    if known is None:
        return [], "what runs on it is not known, since it is not on record here"
    try:
        with contextlib.closing(connection.connect(account, known)) as host:
            runs = helper.snapshot(host, lines=0).runs
    except (Stopped, Terminated):
        return [], "nothing runs on it"
    except GpujobError as error:
        return [], f"what runs on it is not known ({error.what})"
    now = account.ctx.now()
    return [f"{run.id} ({runstate.word(runstate.fold(run, now))})" for run in runs], "no run is on it"


def _end(account: Account, one: Resource) -> bool:
    is_deleted = survey.end(account, one)
    account.ctx.talk(
        f"{one.id} is deleted" if is_deleted else f"{one.id} is not deleted yet; the next command tries again"
    )
    return is_deleted
