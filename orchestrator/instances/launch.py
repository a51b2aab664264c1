"""Launches an instance, or several by one request of which EC2 launches all or none.

The attempt is on disk before EC2 gets a request, and every request has a token.

After an interruption (a crash, or a lost answer), `settle` finds by tag what was launched, and `resume` sends
the same request again, which EC2 answers with the same instances. None is launched twice, none is lost.
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator import __version__
from orchestrator.errors import GpujobError
from orchestrator.instances import answers, catalog, errors, lifecycle, prices, region, spec
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Action, AwsError, NoCapacity
from orchestrator.instances.instance import Description, Instance
from orchestrator.instances.records import Failure, LaunchAttempt, SentRequest
from orchestrator.instances.spec import Candidate, LaunchSpec, Placement

ABANDONED_SECONDS = 600.0
"""Seconds after which a request counts as never carried out if EC2 shows no instance of it."""


def begin(
    account: Account,
    launch_spec: LaunchSpec,
    user_data: str,
    first_host_key: str,
    ssh_cidr: str | None,
    others: tuple[str, ...] = (),
) -> LaunchAttempt:
    """Saves and returns a new attempt; for its arguments see LaunchAttempt."""
    return account.records.save_attempt(
        LaunchAttempt(
            id=account.ctx.token()[:16],
            created=account.ctx.now(),
            spec=launch_spec,
            user_data=user_data,
            first_host_key=first_host_key,
            ssh_cidr=ssh_cidr,
            others=others,
        )
    )


def begin_elsewhere(account: Account, attempt: LaunchAttempt, instance: Instance) -> LaunchAttempt:
    """Saves and returns a new attempt with the remaining candidates, after EC2 ended `instance`.

    EC2 ended it for lack of capacity.
    """
    candidate = Candidate(instance.region, instance.zone, instance.type, instance.spot)
    return account.records.save_attempt(
        replace(
            attempt,
            id=account.ctx.token()[:16],
            created=account.ctx.now(),
            failures=(*attempt.failures, Failure(candidate, "Server.InsufficientInstanceCapacity")),
            request=None,
        )
    )


def resume(account: Account, attempt: LaunchAttempt) -> tuple[Instance, ...]:
    """Launches the instances of the attempt. GpujobError if no candidate has capacity, or EC2 refuses."""
    run = _Launch(account, attempt)
    instances = run.send_again() or run.try_regions()
    if instances:
        return instances
    account.records.close_attempt(run.attempt.id)
    raise _no_capacity(run.attempt)


class _Launch:
    """Carries out an attempt; `attempt` is its last saved version."""

    def __init__(self, account: Account, attempt: LaunchAttempt) -> None:
        self._account = account
        self.attempt = attempt

    def send_again(self) -> tuple[Instance, ...]:
        """Repeats the request whose outcome is not known; returns () if there is none, or it failed."""
        request = self.attempt.request
        return self._send(request) if request else ()

    def try_regions(self) -> tuple[Instance, ...]:
        """Tries the regions in order; one that a policy denies is named and skipped if another is left."""
        *others, last = self.attempt.spec.regions
        for name in others:
            try:
                if instances := self._try_region(name):
                    return instances
            except AwsError as error:
                if error.code not in errors.CLOSED or self.attempt.request:
                    raise
                self._account.ctx.warn(f"{name} is skipped: {error.what}: {error.why}")
        return self._try_region(last)

    def _try_region(self, name: str) -> tuple[Instance, ...]:
        ctx, cloud, launch_spec = self._account.ctx, self._account.cloud, self.attempt.spec
        subnets, group = self._network(name)
        image = region.find_image(cloud, name, launch_spec.images)
        if larger := prices.larger_disk(launch_spec, image, name, ctx.now()):
            ctx.confirm(larger)
        offerings = {
            type_: [zone for zone in zones if zone in subnets]
            for type_, zones in region.offerings(cloud, name, launch_spec.types).items()
        }
        for candidate in spec.candidates(launch_spec, name, offerings):
            placement = Placement(subnets[candidate.zone], group)
            attempt_id = ""
            while attempt_id != self.attempt.id and not self._has_failed(candidate):
                # Sent a second time, with a new id, if the instance of the first token has ended.
                attempt_id = self.attempt.id
                parameters = spec.run_instances_request(
                    launch_spec,
                    candidate,
                    image,
                    placement,
                    self.attempt.user_data,
                    attempt_id,
                    __version__,
                )
                if instances := self._send(SentRequest(candidate, parameters, ctx.now())):
                    return instances
        return ()

    def _network(self, name: str) -> tuple[dict[str, str], str]:
        """Returns zone → subnet, and the security group, which is open to this client if it is gpujob's."""
        account, launch_spec, vpc = self._account, self.attempt.spec, ""
        if launch_spec.subnet:
            zone, vpc = region.find_subnet(account.cloud, name, launch_spec.subnet)
            subnets = {zone: launch_spec.subnet}
        group = launch_spec.security_group
        if not group:
            cidr = region.ssh_range(account.ctx, self.attempt.ssh_cidr)
            job = launch_spec.job if launch_spec.nodes > 1 else ""
            group = region.ensure_group(account, name, vpc, job, launch_spec.extra_tags)
            region.allow_ssh(account, name, cidr, group, job)
        return (subnets if launch_spec.subnet else region.subnets(account.cloud, name)), group

    def _send(self, request: SentRequest) -> tuple[Instance, ...]:
        """Sends RunInstances; returns the instances, or () if the next candidate is to be tried."""
        is_repeated = self.attempt.request is not None
        self._save(request=replace(request, sent=self._account.ctx.now()))
        region_name = request.candidate.region
        try:
            answer = self._account.cloud.read(
                region_name, "run_instances", answers.Reservation, **request.parameters
            )
        except AwsError as error:
            self._handle(error, request.candidate, is_repeated)
            return ()
        instances = tuple(
            _record(self._account, self.attempt, one, region_name) for one in lifecycle.descriptions(answer)
        )
        self._account.records.close_attempt(self.attempt.id)
        return instances

    def _handle(self, error: AwsError, candidate: Candidate, is_repeated: bool) -> None:
        """Records a candidate that has no capacity; raises any other error.

        The request stays open if its outcome is not known, and also if a repeated one is refused, since the
        first may have launched an instance. If the instance of this token has ended meanwhile, the attempt
        gets a new id, and with it new tokens.
        """
        todo = errors.action(error.code, error.status)
        if todo not in (Action.NEXT_ZONE, Action.NEXT_FAMILY, Action.NEW_ATTEMPT):
            is_open = todo is Action.RETRY or error.code == "NoConnection" or is_repeated
            if not is_open:
                self._save(request=None)
                self._account.records.close_attempt(self.attempt.id)
            raise error from None
        self._account.ctx.talk(f"{candidate}: {error.code}")
        if todo is Action.NEW_ATTEMPT:
            former = self.attempt.id
            self._save(id=self._account.ctx.token()[:16], request=None)
            self._account.records.close_attempt(former)
        else:
            failure = Failure(candidate, error.code)
            self._save(failures=(*self.attempt.failures, failure), request=None)

    def _has_failed(self, candidate: Candidate) -> bool:
        """Returns whether a candidate has failed. A quota counts for a family of types in a whole region."""
        return any(
            failure.candidate == candidate
            or (
                errors.action(failure.code) is Action.NEXT_FAMILY
                and catalog.quota_of(failure.candidate, failure.code)
                == catalog.quota_of(candidate, failure.code)
            )
            for failure in self.attempt.failures
        )

    def _save(self, **changes: object) -> None:
        self.attempt = self._account.records.save_attempt(replace(self.attempt, **changes))


def _no_capacity(attempt: LaunchAttempt) -> GpujobError:
    types = ", ".join(attempt.spec.types)
    if not attempt.failures:
        return GpujobError(
            f"{types} cannot be launched", attempt.why_no_zone, "--region REGION, or resources.ec2.subnet"
        )
    reasons = "; ".join(f"{failure.candidate}: {failure.code}" for failure in attempt.failures)
    next_step = "--wait-for-capacity HOURS keeps trying; or other types or regions"
    used_up = [one for one in attempt.failures if errors.action(one.code) is Action.NEXT_FAMILY]
    if not used_up:
        return NoCapacity(f"no capacity for {types}", reasons, next_step)
    quota = catalog.quota_of(used_up[0].candidate, used_up[0].code)
    what = f"the quota {quota} is used up"
    kind = GpujobError if len(used_up) == len(attempt.failures) else NoCapacity
    return kind(what, reasons, quota.command)


def settle(account: Account) -> list[Instance]:
    """Records and returns the instances that interrupted launches created; closes attempts that created none.

    An attempt stays open while EC2 may not show all instances of its request yet.
    """
    instances = []
    for attempt in account.records.attempts():
        try:
            recorded = _record_launched(account, attempt)
        except AwsError as error:
            what = f"EC2 could not be asked about an interrupted launch for {attempt.spec.job}"
            account.ctx.warn(f"{what}: {error.what}: {error.why}")
            continue
        instances += recorded
        is_old = not attempt.request or account.ctx.now() - attempt.request.sent > ABANDONED_SECONDS
        if is_old or len(recorded) >= attempt.spec.count:
            account.records.close_attempt(attempt.id)
        else:
            count = f"{len(recorded)} of its {attempt.spec.count} instances"
            shown = count if recorded else "no instance of it"
            account.ctx.talk(
                f"a launch for {attempt.spec.job} was interrupted, and EC2 shows {shown} yet: "
                "the next command checks again"
            )
    return instances


def _record(account: Account, attempt: LaunchAttempt, of: Description, region_name: str) -> Instance:
    """Returns the record of an instance of the attempt, which is made if there is none."""
    records = account.records
    return records.find(of.id) or records.save(new_record(account, attempt, of, region_name))


def new_record(account: Account, attempt: LaunchAttempt, of: Description, region_name: str) -> Instance:
    """Returns a record of an instance of the attempt, which may have been found after an interruption."""
    assert attempt.request
    launch_spec, parameters = attempt.spec, attempt.request.parameters
    launched = min(of.launched, account.ctx.now())
    former = account.records.find(launch_spec.rescue_of) if launch_spec.rescue_of else None
    of_volume = account.records.of_volume(launch_spec.volume) if launch_spec.volume else []
    return replace(
        lifecycle.new_record(account, region_name, of, launch_spec.spot),
        launched=launched,
        checked=launched,
        started=launched,
        types=(former.types or (former.type,)) if former else launch_spec.types,
        gpu_type=(former.gpu_type or former.type) if former else "",
        run_spot=former is not None and (former.spot or former.run_spot),
        state=of.state,
        address=of.private_address if launch_spec.private_ip else of.address,
        private_ip=launch_spec.private_ip,
        owns_group=not launch_spec.security_group,
        subnet=launch_spec.subnet,
        extra_tags=launch_spec.extra_tags,
        login_user=launch_spec.login_user,
        job=launch_spec.job,
        run=next((one.run for one in reversed(of_volume) if one.run), None),
        launch=attempt.id,
        group=spec.group_of(launch_spec, attempt.id),
        security_group=parameters["NetworkInterfaces"][0]["Groups"][0],
        ssh_cidr=attempt.ssh_cidr,
        disk_gb=sum(disk["Ebs"]["VolumeSize"] for disk in parameters["BlockDeviceMappings"])
        + launch_spec.volume_gb,
        volume=launch_spec.volume or None,
        volume_gb=launch_spec.volume_gb or launch_spec.data_gb,
        volume_to_attach=launch_spec.volume or None,
        deadline=launch_spec.deadline,
        first_host_key=attempt.first_host_key,
    )


def _record_launched(account: Account, attempt: LaunchAttempt) -> list[Instance]:
    """Records and returns the attempt's instances, found by their tag; not those that ended unrecorded."""
    if not attempt.request:
        return []
    region_name, records = attempt.request.candidate.region, account.records
    filters = {f"tag:{spec.ATTEMPT}": [attempt.id]}
    return [
        _record(account, attempt, one, region_name)
        for one in lifecycle.described(account.cloud, region_name, filters)
        if records.find(one.id) or one.state not in ("shutting-down", "terminated")
    ]
