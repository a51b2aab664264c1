"""Launches a small instance for some minutes, checks what every run relies on, and terminates it."""

from __future__ import annotations

from orchestrator.errors import GpujobError
from orchestrator.instances import changes, connection, ensure, orphans, quote, survey
from orchestrator.instances.cloud import Account
from orchestrator.instances.diagnostics import Row
from orchestrator.instances.instance import Instance
from orchestrator.instances.region import Ingress
from orchestrator.targets import helper

JOB = "gpujob-doctor"


def rows(account: Account, region: str) -> list[Row]:
    """Returns a row for each check, after the user confirmed the price. The instance is always terminated."""
    started, table = account.ctx.now(), list[Row]()
    try:
        offer = quote.for_trial(JOB, region, started, account.ctx.who)
        instance = ensure.ensure(account, offer, Ingress())
        seconds = account.ctx.now() - started
        where = f"{instance.label}, {instance.type} in {instance.zone}"
        table.append(("boot", "ok", f"{where}, was ready after {seconds:.0f} s", ""))
        table += _checks(account, instance)
    except GpujobError as error:
        if error.exit_code == 7:  # the price was not confirmed: nothing was launched
            raise
        table.append(("boot", "missing", f"{error.what}: {error.why}", error.next_step))
    finally:
        for left in account.records.current():
            if left.job == JOB:
                changes.terminate(account, left)
    return [*table, _clean_up(account, region)]


def _checks(account: Account, instance: Instance) -> list[Row]:
    host = connection.connect(account, instance)
    try:
        limits = helper.instance(host)
    finally:
        host.close()
    key = "verified at the first login, and replaced by one that is not in the user-data"
    is_limited = limits.deadline == int(instance.deadline) and bool(limits.lease)
    switches = (
        "deadline and lease are set" if is_limited else f"deadline {limits.deadline}, lease {limits.lease}"
    )
    return [
        ("network", "ok", f"port 22 of {instance.address} answers this address alone", ""),
        ("host key", "ok" if instance.host_key_rotated else "missing", key, "gpujob hosts list"),
        ("shutdown", "ok" if is_limited else "missing", switches, "docs/instance.md"),
    ]


def _clean_up(account: Account, region: str) -> Row:
    """Looks for what the trial left; its security group may stay for another instance of the user."""
    found = orphans.find(account, survey.survey(account, region, [region]), [region])
    left = [one.resource.id for one in found if one.resource.job == JOB]
    if left:
        return ("clean-up", "missing", f"left: {', '.join(left)}", "gpujob hosts orphans --end")
    return ("clean-up", "ok", "the instance is terminated, and nothing of it is left", "")
