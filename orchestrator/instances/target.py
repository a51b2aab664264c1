"""The targets `ec2` and `ec2://i-…`: an instance is a host over SSH that may be launched, stopped or gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from orchestrator.context import Context
from orchestrator.errors import GpujobError, NotFound, UsageError
from orchestrator.instances import changes, connection, ensure, lifecycle, prices, revival, survey
from orchestrator.instances.cloud import Account
from orchestrator.instances.connection import InstanceHost
from orchestrator.instances.errors import Stopped, Terminated
from orchestrator.instances.instance import PREFIX, Instance
from orchestrator.instances.quote import FETCH_HOURS, for_fetch
from orchestrator.targets import helper
from orchestrator.targets.base import Target


class Ec2Target(Target):
    """An EC2 instance. `word`: ec2://i-…, or ec2 for the only instance on record that has not ended.

    regions: where an instance that is not on record is searched for.
    """

    is_instance = True

    def __init__(self, ctx: Context, word: str, regions: list[str]) -> None:
        self._account = Account(ctx)
        self._regions = regions
        self._word = word
        self.launches = word == "ec2"

    @property
    def label(self) -> str:
        return self._word

    @property
    def has_ended(self) -> bool:  # type: ignore[override]  # a value that is looked up
        record = self._account.records.find_label(self._word)
        return record is not None and record.has_ended

    def instance(self) -> Instance:
        """Returns the record of the instance; if there is none, creates it from what EC2 reports."""
        if not self._word.startswith(PREFIX):
            return self._only_instance()
        instance_id = self._word.removeprefix(PREFIX)
        if not instance_id.startswith("i-"):
            why = "an instance is named by its id, ec2://i-…"
            raise UsageError(f"{self._word!r} is not a target", why, "gpujob hosts list")
        record = self._account.records.find(instance_id)
        return record or lifecycle.adopt(self._account, instance_id, self._regions)

    def _only_instance(self) -> Instance:
        instances, searched = self._account.records.current(), ""
        if not instances:
            try:
                unsearched = survey.survey(self._account, self._regions[0], of_user=True).unsearched
                but = f" but {', '.join(unsearched)}, which did not answer" if unsearched else ""
                instances, searched = self._account.records.current(), f"searched all regions{but}"
            except GpujobError as error:
                searched = f"EC2 was not searched: {error.what}"
        if not instances:
            next_step = "gpujob hosts orphans (searches all regions), or gpujob deploy JOB --on ec2"
            raise NotFound("no EC2 instance is on record", searched, next_step)
        if len(instances) > len(self._account.records.members(instances[0])):
            labels = [instance.label for instance in instances]
            raise UsageError("'ec2' is ambiguous", ", ".join(labels), f"--on {labels[-1]}")
        return instances[0]

    @contextlib.contextmanager
    def connect(self) -> Iterator[InstanceHost]:
        with contextlib.closing(connection.connect(self._account, self.instance())) as host:
            yield host

    def wake(self, hours: float | None, budget_usd: float | None, wait_hours: float = 0.0) -> None:
        ensure.wake(self._account, self.instance(), hours, budget_usd, wait_hours)

    @contextlib.contextmanager
    def connect_started(self) -> Iterator[InstanceHost]:
        """Connects; starts a stopped instance, or launches another for the volume of one that has ended.

        Both are for an hour and at a price that the user confirms.
        """
        try:
            host = connection.connect(self._account, self.instance())
        except Stopped as stopped:
            host = self._start(stopped)
        except Terminated as terminated:
            if not terminated.volume:
                raise
            host = self._replace()
        with contextlib.closing(host):
            yield host

    def _start(self, stopped: Stopped) -> InstanceHost:
        instance, hours = self.instance(), FETCH_HOURS
        if instance.is_interrupted:
            changes.release(self._account, instance)
            return self._replace()
        self._account.ctx.confirm(
            f"{stopped.what}; {stopped.why}. Starting it for an hour: {prices.at_most(instance, hours)}."
        )
        instance = revival.start_to_fetch(self._account, instance)
        host = connection.connect(self._account, instance)
        helper.set_deadline(host, instance.deadline)  # with a full disk it cannot read the new user-data
        return host

    def _replace(self) -> InstanceHost:
        former = self.instance()
        offer = for_fetch(former, self._account.ctx.now(), self._account.ctx.who)
        instance = revival.ensure_with_volume(self._account, former, offer)
        host = connection.connect(self._account, instance)
        if former.run:
            host.assign_run(former.run)
        return host
