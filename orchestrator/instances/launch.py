"""Launches one instance. The attempt is on disk before EC2 gets a request, and every request has a token.

After an interruption (a crash, or a lost answer), `settle` finds by tag what was launched, and `resume` sends
the same request again, which EC2 answers with the same instance. So an attempt never launches two instances,
and none is lost.
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator import __version__
from orchestrator.errors import GpujobError
from orchestrator.instances import errors, lifecycle, prices, quotas, region, spec
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


def resume(account: Account, attempt: LaunchAttempt) -> Instance:
    """Launches the instance of the attempt. GpujobError if no candidate has capacity, or EC2 refuses."""
    run = _Launch(account, attempt)
    instance = run.send_again() or run.try_regions()
    if instance:
        return instance
    account.records.close_attempt(run.attempt.id)
    raise _no_capacity(run.attempt)


class _Launch:
    """Carries out an attempt; `attempt` is its last saved version."""

    def __init__(self, account: Account, attempt: LaunchAttempt) -> None:
        self._account = account
        self.attempt = attempt

    def send_again(self) -> Instance | None:
        """Repeats the request whose outcome is not known; returns None if there is none, or it failed."""
        request = self.attempt.request
        return self._send(request) if request else None

    def try_regions(self) -> Instance | None:
        """Tries the regions in order; one that a policy denies is named and skipped if another is left."""
        *others, last = self.attempt.spec.regions
        for name in others:
            try:
                if instance := self._try_region(name):
                    return instance
            except AwsError as error:
                if error.code not in errors.CLOSED or self.attempt.request:
                    raise
                self._account.ctx.warn(f"{name} is skipped: {error.what}: {error.why}")
        return self._try_region(last)

    def _try_region(self, name: str) -> Instance | None:
        ctx, cloud, launch_spec = self._account.ctx, self._account.cloud, self.attempt.spec
        subnets, group = self._network(name)
        image = region.find_image(cloud, name, launch_spec.images)
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
                if instance := self._send(SentRequest(candidate, parameters, ctx.now())):
                    return instance
        return None

    def _network(self, name: str) -> tuple[dict[str, str], str]:
        """Returns zone → subnet, and the security group, which is open to this client if it is gpujob's."""
        cloud, launch_spec, vpc = self._account.cloud, self.attempt.spec, ""
        if launch_spec.subnet:
            zone, vpc = region.find_subnet(cloud, name, launch_spec.subnet)
            subnets = {zone: launch_spec.subnet}
        group = launch_spec.security_group
        if not group:
            cidr = region.Ingress(self.attempt.ssh_cidr, world=True).resolve(self._account.ctx)
            group = region.allow_ssh(self._account, name, cidr, vpc=vpc)
        return (subnets if launch_spec.subnet else region.subnets(cloud, name)), group

    def _send(self, request: SentRequest) -> Instance | None:
        """Sends RunInstances; returns the instance, or None if the next candidate is to be tried."""
        is_repeated = self.attempt.request is not None
        self._save(request=replace(request, sent=self._account.ctx.now()))
        region_name = request.candidate.region
        try:
            answer = self._account.cloud.call(region_name, "run_instances", **request.parameters)
        except AwsError as error:
            self._handle(error, request.candidate, is_repeated)
            return None
        description = next(lifecycle.descriptions(answer))
        instance = _launched_instance(self._account, self.attempt, description, region_name)
        self._account.records.save(instance)
        self._account.records.close_attempt(self.attempt.id)
        return instance

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
                and quotas.of(failure.candidate, failure.code) == quotas.of(candidate, failure.code)
            )
            for failure in self.attempt.failures
        )

    def _save(self, **changes: object) -> None:
        self.attempt = self._account.records.save_attempt(replace(self.attempt, **changes))


def _no_capacity(attempt: LaunchAttempt) -> GpujobError:
    types, regions = ", ".join(attempt.spec.types), ", ".join(attempt.spec.regions)
    if not attempt.failures:
        return GpujobError(
            f"{types} cannot be launched", f"no zone of {regions} offers it", "--region REGION"
        )
    reasons = "; ".join(f"{failure.candidate}: {failure.code}" for failure in attempt.failures)
    next_step = "--wait-for-capacity HOURS keeps trying; or other types or regions"
    used_up = [one for one in attempt.failures if errors.action(one.code) is Action.NEXT_FAMILY]
    if not used_up:
        return NoCapacity(f"no capacity for {types}", reasons, next_step)
    quota = quotas.of(used_up[0].candidate, used_up[0].code)
    what = f"the quota {quota} is used up"
    kind = GpujobError if len(used_up) == len(attempt.failures) else NoCapacity
    return kind(what, reasons, quota.command)


def _launched_instance(
    account: Account, attempt: LaunchAttempt, description: Description, region_name: str
) -> Instance:
    """Returns the record of the attempt's instance, which may have been found after an interruption."""
    assert attempt.request
    launch_spec, parameters = attempt.spec, attempt.request.parameters
    launched = min(description.launched, account.ctx.now())
    spot = description.spot or launch_spec.spot
    former = account.records.find(launch_spec.rescue_of) if launch_spec.rescue_of else None
    return Instance(
        id=description.id,
        region=region_name,
        launched=launched,
        zone=description.zone,
        type=description.type,
        spot=spot,
        spot_request=description.spot_request,
        types=(former.types or (former.type,)) if former else launch_spec.types,
        gpu_type=(former.gpu_type or former.type) if former else "",
        run_spot=former is not None and (former.spot or former.run_spot),
        state=description.state,
        checked=launched,
        address=description.private_address if launch_spec.private_ip else description.address,
        private_ip=launch_spec.private_ip,
        owns_group=not launch_spec.security_group,
        subnet=launch_spec.subnet,
        extra_tags=launch_spec.extra_tags,
        login_user=launch_spec.login_user,
        job=launch_spec.job,
        launch=attempt.id,
        account=description.account,
        security_group=parameters["NetworkInterfaces"][0]["Groups"][0],
        ssh_cidr=attempt.ssh_cidr,
        usd_per_hour=prices.current(account.cloud, region_name, description.zone, description.type, spot),
        disk_gb=sum(disk["Ebs"]["VolumeSize"] for disk in parameters["BlockDeviceMappings"])
        + launch_spec.volume_gb,
        volume=launch_spec.volume or None,
        volume_gb=launch_spec.volume_gb or launch_spec.data_gb,
        volume_to_attach=launch_spec.volume or None,
        started=launched,
        deadline=launch_spec.deadline,
        first_host_key=attempt.first_host_key,
    )


def settle(account: Account) -> list[Instance]:
    """Records and returns instances that interrupted launches created; closes attempts that created none."""
    instances = []
    for attempt in account.records.attempts():
        if instance := _find_launched(account, attempt):
            if account.records.find(instance.id) is None:
                account.records.save(instance)
            account.records.close_attempt(attempt.id)
            instances.append(instance)
        elif not attempt.request or account.ctx.now() - attempt.request.sent > ABANDONED_SECONDS:
            account.records.close_attempt(attempt.id)
        else:
            account.ctx.talk(
                f"a launch for {attempt.spec.job} was interrupted, and EC2 shows no instance of it yet: "
                "the next command checks again"
            )
    return instances


def _find_launched(account: Account, attempt: LaunchAttempt) -> Instance | None:
    """Returns the attempt's instance, found by its tag; None if there is none, or only one that has ended."""
    if not attempt.request:
        return None
    region_name = attempt.request.candidate.region
    filters = [{"Name": f"tag:{spec.ATTEMPT}", "Values": [attempt.id]}]
    answer = account.cloud.all(region_name, "describe_instances", "Reservations", Filters=filters)
    for reservation in answer:
        for description in lifecycle.descriptions(reservation):
            if record := account.records.find(description.id):
                return record
            if description.state not in ("shutting-down", "terminated"):
                return _launched_instance(account, attempt, description, region_name)
    return None
